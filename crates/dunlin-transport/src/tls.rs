//! Whom a node trusts: TLS 1.3 only, both sides with a certificate of the cluster's CA.
//!
//! The dialling side checks that the peer's certificate comes from the CA, not that it carries the
//! address dialled: nodes are reached by addresses that change, and a node's name is bound to its
//! host id by membership, above. The accepting side hands the peer's name up with every call.

mod check;

pub use check::{Found, check_files};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::path::Path;
use std::sync::Arc;

/// Protocol name in the handshake; its number changes with the framing.
const ALPN: &[u8] = b"dunlin/1";
/// Sent as the server name, which nobody looks at.
pub(crate) const SERVER_NAME: &str = "dunlin";

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file that cannot be read, or is not PEM of the right kind.
    #[error("cannot read the {what} from {path}: {reason}")]
    File {
        /// Which of the three.
        what: &'static str,
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A certificate without a DNS name to know the node by.
    #[error("the certificate has no DNS name")]
    NoName,
    /// The library refused it: key and certificate do not belong together, or similar.
    #[error("the certificate cannot be used: {0}")]
    Unusable(String),
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> TlsError {
        TlsError::Unusable(error.to_string())
    }
}

/// A node's certificate with its key, and the CA it trusts.
#[derive(Debug)]
pub struct TlsIdentity {
    ca: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    name: Arc<str>,
}

impl TlsIdentity {
    /// Reads the PEM files of the CA, the node's certificate and its key.
    pub fn from_files(ca: &Path, cert: &Path, key: &Path) -> Result<TlsIdentity, TlsError> {
        let ca = read_certificates("CA", ca)?;
        let chain = read_certificates("certificate", cert)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::File {
            what: "key",
            path: key.display().to_string(),
            reason: error.to_string(),
        })?;
        let name = peer_name(&chain).ok_or(TlsError::NoName)?;
        Ok(TlsIdentity { ca, chain, key, name })
    }

    /// The node's name: the first DNS name of its certificate.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for cert in &self.ca {
            roots.add(cert.clone())?;
        }
        Ok(roots)
    }

    /// A key that only this node has and that outlives its process, for purpose `label`.
    pub(crate) fn derive_key(&self, label: &str) -> [u8; 32] {
        blake3::derive_key(label, self.key.secret_der())
    }

    pub(crate) fn server_config(&self) -> Result<QuicServerConfig, TlsError> {
        let provider = provider();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), provider.clone())
            .build()
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // No 0-RTT: what it carries can be replayed.
        config.max_early_data_size = 0;
        QuicServerConfig::try_from(config).map_err(|error| TlsError::Unusable(error.to_string()))
    }

    pub(crate) fn client_config(&self) -> Result<QuicClientConfig, TlsError> {
        let provider = provider();
        let verifier =
            ClusterVerifier { roots: self.roots()?, algorithms: provider.signature_verification_algorithms };
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_early_data = false;
        QuicClientConfig::try_from(config).map_err(|error| TlsError::Unusable(error.to_string()))
    }
}

/// The name of a peer: the first DNS name of its certificate.
pub(crate) fn peer_name(chain: &[CertificateDer<'_>]) -> Option<Arc<str>> {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let (_, cert) = X509Certificate::from_der(chain.first()?.as_ref()).ok()?;
    let names = cert.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => Some(Arc::from(*name)),
        _ => None,
    })
}

fn read_certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |reason: String| TlsError::File { what, path: path.display().to_string(), reason };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(|items| items.collect::<Result<Vec<_>, _>>())
        .map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() {
        return Err(failed("no certificate in it".to_owned()));
    }
    Ok(certificates)
}

/// aws-lc-rs with AES-128-GCM preferred: the fastest here, and as strong as the handshake needs.
fn provider() -> Arc<CryptoProvider> {
    use rustls::crypto::aws_lc_rs::{self, cipher_suite};
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(provider)
}

/// Accepts any certificate of the cluster's CA that may be a server's.
#[derive(Debug)]
struct ClusterVerifier {
    roots: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ClusterVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let cert = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &cert,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
