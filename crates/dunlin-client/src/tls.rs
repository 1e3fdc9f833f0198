//! Whom a client trusts, and who it says it is.

#![allow(
    clippy::disallowed_methods,
    reason = "the client is an edge: it reads the files that its user names"
)]

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, ClientConfig, RootCertStore};

/// TLS 1.3 to the nodes: the authority whose certificates are trusted, and, where nodes ask for one, a certificate
/// of the client's own. Made once, shared by all connections.
#[derive(Clone)]
pub struct Tls {
    authority: Arc<RootCertStore>,
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

/// Why TLS cannot be set up. Nothing was connected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file that cannot be read, or is not PEM of the right kind.
    #[error("cannot read the {what} from {path}: {reason}")]
    File {
        /// Which of the files.
        what: &'static str,
        /// Its path.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A name that no certificate can carry.
    #[error("{0:?} is neither a host name nor an address: a server name is what a node's certificate is for")]
    ServerName(String),
    /// The library refused it: key and certificate do not belong together, or similar.
    #[error("the certificate cannot be used: {0}")]
    Unusable(String),
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> TlsError {
        TlsError::Unusable(error.to_string())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Trusts nodes whose certificates were issued by one of the authorities in a PEM file: the `ca.crt` of
    /// `dunlin certs init`.
    pub fn from_ca_file(path: impl AsRef<Path>) -> Result<Tls, TlsError> {
        let path = path.as_ref();
        let authority = certificates("certificate authority", path)?;
        let mut roots = RootCertStore::empty();
        for certificate in authority {
            roots.add(certificate).map_err(|error| file("certificate authority", path, error))?;
        }
        Tls::trusting(roots)
    }

    fn trusting(roots: RootCertStore) -> Result<Tls, TlsError> {
        let authority = Arc::new(roots);
        let config = builder(&authority)?.with_no_client_auth();
        Ok(Tls { authority, config: Arc::new(config), server_name: None })
    }

    /// Shows nodes that ask for it a certificate (PEM, with its chain) and proves it by its key.
    pub fn with_identity_files(
        mut self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Tls, TlsError> {
        let chain = certificates("client certificate", certificate.as_ref())?;
        let key = PrivateKeyDer::from_pem_file(key.as_ref())
            .map_err(|error| file("client key", key.as_ref(), error))?;
        self.config = Arc::new(builder(&self.authority)?.with_client_auth_cert(chain, key)?);
        Ok(self)
    }

    /// Expects this name in every node's certificate, instead of the host or address that was dialled.
    pub fn with_server_name(mut self, name: &str) -> Result<Tls, TlsError> {
        let name =
            ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))?;
        self.server_name = Some(name);
        Ok(self)
    }

    /// Trusts nobody: only whether a peer speaks TLS can be found out with it.
    pub(crate) fn nobody() -> Option<Tls> {
        Tls::trusting(RootCertStore::empty()).ok()
    }

    pub(crate) fn connector(&self) -> tokio_rustls::TlsConnector {
        Arc::clone(&self.config).into()
    }

    /// The name that a node dialled as `host` has to prove.
    pub(crate) fn name_for(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => ServerName::try_from(host.to_owned()).map_err(|_| TlsError::ServerName(host.to_owned())),
        }
    }
}

fn builder(
    authority: &Arc<RootCertStore>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    Ok(builder.with_root_certificates(Arc::clone(authority)))
}

fn file(what: &'static str, path: &Path, reason: impl fmt::Display) -> TlsError {
    TlsError::File { what, path: path.display().to_string(), reason: reason.to_string() }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| file(what, path, error))?;
    if all.is_empty() {
        return Err(file(what, path, "there is no certificate in it"));
    }
    Ok(all)
}

/// What a failure of TLS on a connection means for whoever set it up; `None` for a failure below TLS.
pub(crate) fn meaning(error: &std::io::Error, name: &str) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        error if is_of_a_plain_port(error) => {
            "it does not speak TLS on this port: connect without --tls-ca, or to its TLS port".to_owned()
        }
        rustls::Error::InvalidCertificate(why) => certificate_meaning(why, name),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it wants a certificate of the client: give --tls-cert and --tls-key".to_owned()
        }
        rustls::Error::AlertReceived(alert) => format!("it refused the TLS connection ({alert:?})"),
        other => format!("TLS failed: {other}"),
    })
}

/// Whether a handshake failed so that the peer must speak TLS: it showed a certificate, or refused in the words of TLS.
pub(crate) fn is_of_tls(error: &std::io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    error.is_some_and(|error| !is_of_a_plain_port(error))
}

/// No TLS at all, or what a node's plain port answers to a greeting of TLS.
fn is_of_a_plain_port(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidMessage(_) | rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)
    )
}

fn certificate_meaning(why: &CertificateError, name: &str) -> String {
    let days = |from: u64, to: u64| match to.saturating_sub(from) / 86_400 {
        0 => "less than a day".to_owned(),
        1 => "a day".to_owned(),
        days => format!("{days} days"),
    };
    match why {
        // Two authorities may have one name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate was not issued by the authority that is trusted (--tls-ca)".to_owned()
        }
        CertificateError::Expired => "its certificate has expired".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("its certificate expired {} ago", days(not_after.as_secs(), time.as_secs()))
        }
        CertificateError::NotValidYet => {
            "its certificate is not valid yet: is this computer's clock right?".to_owned()
        }
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "its certificate is valid in {} only: is this computer's clock right?",
            days(time.as_secs(), not_before.as_secs())
        ),
        CertificateError::NotValidForName => {
            format!("its certificate is not for {name}: give a name that it is for with --tls-server-name")
        }
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "its certificate is for {} and not for {name}: give one of these with --tls-server-name",
            presented.iter().map(|name| bare(name)).collect::<Vec<_>>().join(", ")
        ),
        other => format!("its certificate cannot be trusted: {other}"),
    }
}

/// A name of a certificate out of the library's `DnsName("n1")` or `IpAddress(127.0.0.1)`.
fn bare(presented: &str) -> &str {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_without_their_kind() {
        for (presented, shown) in
            [("DnsName(\"n1\")", "n1"), ("IpAddress(127.0.0.1)", "127.0.0.1"), ("n1", "n1")]
        {
            assert_eq!(bare(presented), shown);
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let error = Tls::from_ca_file("/nonexistent/ca.crt").unwrap_err().to_string();
        assert!(error.contains("certificate authority") && error.contains("/nonexistent/ca.crt"), "{error}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        let error = Tls::from_ca_file(empty.path()).unwrap_err().to_string();
        assert!(error.contains("no certificate in it"), "{error}");
    }
}
