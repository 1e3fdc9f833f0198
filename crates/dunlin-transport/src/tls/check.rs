//! What is wrong with certificates, before anybody is refused because of them.

use super::{ClusterVerifier, TlsError, TlsIdentity, provider};
use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::Path;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate that ends within this time is worth a word.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// What was found in a node's three files.
#[derive(Debug, Default)]
pub struct Found {
    /// Why the node would not start, or be refused by the others.
    pub problems: Vec<String>,
    /// What will become one.
    pub notes: Vec<String>,
}

/// Reads the PEM files of the CA, of a node's certificate and of its key as [`TlsIdentity::from_files`] does, and looks
/// whether the three belong together, and are good at the given time.
pub fn check_files(ca: &Path, cert: &Path, key: &Path, now: UnixTime) -> (Option<TlsIdentity>, Found) {
    let mut found = Found::default();
    let identity = match TlsIdentity::from_files(ca, cert, key) {
        Ok(identity) => identity,
        Err(error) => {
            found.problems.push(error.to_string());
            return (None, found);
        }
    };
    dates(cert, &identity.chain, now, &mut found);
    dates(ca, &identity.ca, now, &mut found);
    match issued(&identity) {
        Ok(true) => {}
        Ok(false) => found.problems.push(format!(
            "{} was not issued by the authority in {}: nodes would refuse each other",
            cert.display(),
            ca.display()
        )),
        Err(error) => found.problems.push(format!("{}: {error}", ca.display())),
    }
    if let Err(error) = identity.server_config() {
        found.problems.push(format!("{} and {} do not go together: {error}", cert.display(), key.display()));
    }
    #[cfg(unix)]
    if let Ok(metadata) = std::fs::metadata(key) {
        use std::os::unix::fs::PermissionsExt;
        if metadata.permissions().mode() & 0o077 != 0 {
            found.notes.push(format!("{} can be read by others: chmod 600", key.display()));
        }
    }
    (Some(identity), found)
}

fn dates(file: &Path, certificates: &[CertificateDer<'_>], now: UnixTime, found: &mut Found) {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    for certificate in certificates {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            found.problems.push(format!("{} is no certificate that can be read", file.display()));
            continue;
        };
        let (first, last) = (certificate.validity().not_before, certificate.validity().not_after);
        let left = last.timestamp().saturating_sub(now);
        if now < first.timestamp() {
            found.problems.push(format!(
                "{} is valid from {first} on: is this computer's clock behind?",
                file.display()
            ));
        } else if left < 0 {
            found.problems.push(format!("{} ended on {last}: make a new one", file.display()));
        } else if left.unsigned_abs() < SOON.as_secs() {
            found.notes.push(format!("{} ends on {last}", file.display()));
        }
    }
}

/// Whether the CA signed the certificate, whatever the dates.
fn issued(identity: &TlsIdentity) -> Result<bool, TlsError> {
    let verifier = ClusterVerifier {
        roots: identity.roots()?,
        algorithms: provider().signature_verification_algorithms,
    };
    let Some((cert, rest)) = identity.chain.split_first() else { return Ok(false) };
    let Ok((_, parsed)) = X509Certificate::from_der(cert) else { return Ok(false) };
    let first = parsed.validity().not_before.timestamp();
    let then = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(first).unwrap_or(0)));
    let name = ServerName::try_from(super::SERVER_NAME).map_err(|e| TlsError::Unusable(e.to_string()))?;
    Ok(verifier.verify_server_cert(cert, rest, &name, &[], then).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs;

    #[allow(clippy::disallowed_methods, reason = "certificates are made for the present")]
    fn at(days: u64) -> UnixTime {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        UnixTime::since_unix_epoch(now + Duration::from_secs(days * 86_400))
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for dir in [&one, &other] {
            certs::init_ca(dir.path()).unwrap();
        }
        let files = certs::issue(one.path(), "n1", &[]).unwrap();
        let foreign = certs::issue(other.path(), "n1", &[]).unwrap();
        let check = |ca: &Path, key: &Path, now, problem: &str, note: &str| {
            let (_, found) = check_files(ca, &files.cert, key, now);
            let (problems, notes) = (found.problems.join("; "), found.notes.join("; "));
            assert_eq!(problems.is_empty(), problem.is_empty(), "{problems}");
            assert!(problems.contains(problem) && notes.contains(note), "{problems} | {notes}");
        };
        check(&files.ca, &files.key, at(0), "", "");
        check(&foreign.ca, &files.key, at(0), "not issued by", "");
        check(&files.ca, &foreign.key, at(0), "do not go together", "");
        check(&files.ca, Path::new("/nonexistent.key"), at(0), "/nonexistent.key", "");
        check(&files.ca, &files.key, at(710), "", "n1.crt ends on");
        check(&files.ca, &files.key, at(740), "n1.crt ended on", "");
        check(&files.ca, &files.key, UnixTime::since_unix_epoch(Duration::ZERO), "clock behind", "");
    }
}
