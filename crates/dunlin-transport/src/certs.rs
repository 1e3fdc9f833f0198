//! The cluster's certificate authority and the nodes' certificates, as PEM files in one directory.
//!
//! `ca.crt` goes to every node; `ca.key` stays where certificates are made; `<name>.crt` and
//! `<name>.key` belong to the node of that name, which the certificate carries as its first DNS
//! name. Keys are ECDSA P-256 in files that only their owner may read.

// A tool of the operator, not of a running node: it needs the real date and real files.
#![allow(clippy::disallowed_methods)]

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a CA is valid.
pub const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a node's certificate is valid.
pub const NODE_VALIDITY: Duration = Duration::from_secs(2 * 365 * 24 * 3600);

/// Why certificates could not be made. Files written before the failure stay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertsError {
    /// The directory holds a CA already; it is never overwritten.
    #[error("{} exists already; a cluster keeps its CA (remove the file to start a new one)", .0.display())]
    CaExists(PathBuf),
    /// A file that cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A name that cannot be a node's.
    #[error(
        "{0:?} cannot name a node: 1 to 63 of letters, digits, `-`, `_` and `.`, starting with a letter or digit, not `ca`"
    )]
    Name(String),
    /// A host that cannot stand in a certificate.
    #[error("{0:?} is neither an address nor a host name")]
    Host(String),
    /// The certificate could not be made from what is in the directory.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Where a node finds its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFiles {
    /// The cluster's CA.
    pub ca: PathBuf,
    /// The node's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Makes a new CA: `ca.crt` and `ca.key` in `dir`, which is created. Refuses to overwrite one.
pub fn init_ca(dir: &Path) -> Result<(), CertsError> {
    std::fs::create_dir_all(dir).map_err(failed("create", dir))?;
    let (cert_path, key_path) = (dir.join("ca.crt"), dir.join("ca.key"));
    for path in [&cert_path, &key_path] {
        if path.exists() {
            return Err(CertsError::CaExists(path.clone()));
        }
    }
    let key = KeyPair::generate()?;
    let mut params = params_valid_for(CA_VALIDITY);
    params.distinguished_name.push(DnType::CommonName, "Dunlin cluster CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let cert = params.self_signed(&key)?;
    write_secret(&key_path, &key.serialize_pem())?;
    write_public(&cert_path, &cert.pem())
}

/// Makes (or renews) the certificate of node `name`, signed by the CA in `dir`. `hosts` are further
/// addresses and host names it goes by.
pub fn issue(dir: &Path, name: &str, hosts: &[String]) -> Result<NodeFiles, CertsError> {
    check_name(name)?;
    let ca = dir.join("ca.crt");
    let ca_key = KeyPair::from_pem(&read(&dir.join("ca.key"))?)?;
    let issuer = Issuer::from_ca_cert_pem(&read(&ca)?, ca_key)?;

    let mut params = params_valid_for(NODE_VALIDITY);
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names.push(dns_name(name)?);
    for host in hosts {
        let san = match host.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => dns_name(host)?,
        };
        if !params.subject_alt_names.contains(&san) {
            params.subject_alt_names.push(san);
        }
    }
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, &issuer)?;

    let files = NodeFiles { ca, cert: dir.join(format!("{name}.crt")), key: dir.join(format!("{name}.key")) };
    write_secret(&files.key, &key.serialize_pem())?;
    write_public(&files.cert, &cert.pem())?;
    Ok(files)
}

fn params_valid_for(validity: Duration) -> CertificateParams {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // A day back, for nodes whose clocks are behind.
    params.not_before = epoch + now.saturating_sub(DAY);
    params.not_after = epoch + now + validity;
    params
}

fn check_name(name: &str) -> Result<(), CertsError> {
    let good = (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && !name.ends_with('.')
        && !name.contains("..")
        && name != "ca";
    if good { Ok(()) } else { Err(CertsError::Name(name.to_owned())) }
}

fn dns_name(name: &str) -> Result<SanType, CertsError> {
    let bad = name.is_empty() || name.bytes().any(|b| !b.is_ascii_graphic());
    match name.to_owned().try_into() {
        Ok(text) if !bad => Ok(SanType::DnsName(text)),
        _ => Err(CertsError::Host(name.to_owned())),
    }
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> CertsError + 'a {
    move |source| CertsError::File { action, path: path.to_owned(), source }
}

fn read(path: &Path) -> Result<String, CertsError> {
    std::fs::read_to_string(path).map_err(failed("read", path))
}

fn write_secret(path: &Path, text: &str) -> Result<(), CertsError> {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    write_with(options, path, text)
}

fn write_public(path: &Path, text: &str) -> Result<(), CertsError> {
    let mut options = OpenOptions::new();
    options.write(true);
    write_with(options, path, text)
}

/// Writes beside the file and renames over it, so that a reader sees the old or the new one whole.
fn write_with(mut options: OpenOptions, path: &Path, text: &str) -> Result<(), CertsError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed("replace", &beside)(error));
        }
        _ => {}
    }
    let mut file = options.create_new(true).open(&beside).map_err(failed("write", &beside))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write", &beside))?;
    std::fs::rename(&beside, path).map_err(failed("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::*;

    #[test]
    fn issues_what_the_ca_signed() {
        let dir = tempfile::tempdir().unwrap();
        init_ca(dir.path()).unwrap();
        let files = issue(dir.path(), "n1", &["127.0.0.1".into(), "db.example".into()]).unwrap();
        let pem = std::fs::read(&files.cert).unwrap();
        let (_, pem) = parse_x509_pem(&pem).unwrap();
        let cert = pem.parse_x509().unwrap();
        let names = cert.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 3);
        assert!(matches!(names.value.general_names[0], GeneralName::DNSName("n1")));
        assert!(cert.validity().is_valid());
        let days = cert.validity().not_after.timestamp() - cert.validity().not_before.timestamp();
        assert_eq!(days / 86_400, 731);
        assert!(!cert.is_ca());
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        init_ca(dir.path()).unwrap();
        issue(dir.path(), "n1", &[]).unwrap();
        for name in ["ca.key", "n1.key"] {
            let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_ca_is_never_overwritten_but_a_certificate_can_be_renewed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(issue(dir.path(), "n1", &[]), Err(CertsError::File { .. })));
        init_ca(dir.path()).unwrap();
        assert!(matches!(init_ca(dir.path()), Err(CertsError::CaExists(_))));
        issue(dir.path(), "n1", &[]).unwrap();
        issue(dir.path(), "n1", &[]).unwrap();
    }

    #[test]
    fn names_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        init_ca(dir.path()).unwrap();
        for bad in ["", "ca", "../x", "a b", "-a", "a..b", "é", &"x".repeat(64)] {
            assert!(matches!(issue(dir.path(), bad, &[]), Err(CertsError::Name(_))), "{bad:?}");
        }
        assert!(matches!(issue(dir.path(), "ok", &["not a host".into()]), Err(CertsError::Host(_))));
    }
}
