//! TLS towards servers.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::version::{TLS12, TLS13};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::ClientError;
use super::config::{TlsConfig, TlsVersion};

/// Certificates of the system, read at the first need: reading takes milliseconds and most targets speak plain HTTP.
static SYSTEM_ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();

/// What tells a file from its next version without reading it; `None` where it cannot be looked at.
pub(super) type Stamp = Option<(SystemTime, u64)>;

/// The stamps of all files that a configuration names: a few microseconds, none where it names none.
pub(super) fn stamps(config: &TlsConfig) -> Vec<Stamp> {
    let stamp = |file: &std::path::PathBuf| {
        let found = std::fs::metadata(file).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    [&config.ca_file, &config.cert_file, &config.key_file].into_iter().flatten().map(stamp).collect()
}

/// Builds what a connector needs. Reads the files that the configuration names.
pub(super) fn build(config: &TlsConfig) -> Result<rustls::ClientConfig, ClientError> {
    let provider = Arc::new(ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(config))
        .map_err(|error| ClientError::Tls(error.to_string()))?;
    let builder = if config.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustEverybody(provider)))
    } else if let Some(text) = pem(config.ca.as_deref(), config.ca_file.as_deref())? {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Trusted::new(&text, provider)?))
    } else {
        builder.with_root_certificates(Arc::clone(SYSTEM_ROOTS.get_or_init(system_roots)))
    };
    let Some(certificates) = pem(config.cert.as_deref(), config.cert_file.as_deref())? else {
        return Ok(builder.with_no_client_auth());
    };
    let key = pem(config.key.as_ref().map(|key| key.expose()), config.key_file.as_deref())?.unwrap_or_default();
    let chain = certificates_in(&certificates)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| ClientError::Tls(format!("key: {error}")))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| ClientError::Tls(error.to_string()))
}

/// The name that the server's certificate must have, where it is not the host of the URL.
pub(super) fn server_name(config: &TlsConfig) -> Result<Option<ServerName<'static>>, ClientError> {
    if config.server_name.is_empty() {
        return Ok(None);
    }
    ServerName::try_from(config.server_name.clone())
        .map(Some)
        .map_err(|_| ClientError::Tls(format!("server_name {:?} is not a host name", config.server_name)))
}

/// TLS 1.0 and 1.1 are not spoken; as a minimum they mean 1.2.
fn versions(config: &TlsConfig) -> &'static [&'static SupportedProtocolVersion] {
    let only_12 = config.max_version.is_some_and(|version| version < TlsVersion::Tls13);
    let only_13 = config.min_version == Some(TlsVersion::Tls13);
    static ONLY_12: [&SupportedProtocolVersion; 1] = [&TLS12];
    static ONLY_13: [&SupportedProtocolVersion; 1] = [&TLS13];
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match (only_12, only_13) {
        (true, _) => &ONLY_12,
        (false, true) => &ONLY_13,
        (false, false) => &BOTH,
    }
}

/// Certificates that the operator trusts: authorities, and servers that are their own authority. The library refuses the
/// latter where they say so (CA:TRUE, what `openssl req -x509` makes), Go does not.
#[derive(Debug)]
struct Trusted {
    authorities: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trusted {
    fn new(text: &[u8], provider: Arc<CryptoProvider>) -> Result<Self, ClientError> {
        let bad = |error: &dyn std::fmt::Display| ClientError::Tls(format!("ca: {error}"));
        let certificates = certificates_in(text)?;
        let mut store = RootCertStore::empty();
        for certificate in &certificates {
            store.add(certificate.clone()).map_err(|error| bad(&error))?;
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider);
        Ok(Self { authorities: authorities.build().map_err(|error| bad(&error))?, certificates })
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judged = self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        // The library looks at the validity first, so this is all that it has against the certificate.
        let is_own_authority = judged.as_ref().is_err_and(|error| error.to_string().contains("CaUsedAsEndEntity"));
        if is_own_authority && self.certificates.iter().any(|known| known == end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        judged
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

fn system_roots() -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    // Some systems carry certificates that cannot be read; the others serve all the same.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(store)
}

/// The PEM texts of a configuration, for libraries that build their own TLS.
#[derive(Debug)]
pub struct Pem {
    pub ca: Option<Vec<u8>>,
    /// Certificate chain and key of the client.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl TlsConfig {
    /// Reads the files that the configuration names.
    pub fn read_pem(&self) -> Result<Pem, ClientError> {
        let key = pem(self.key.as_ref().map(|key| key.expose()), self.key_file.as_deref())?;
        let cert = pem(self.cert.as_deref(), self.cert_file.as_deref())?;
        Ok(Pem { ca: pem(self.ca.as_deref(), self.ca_file.as_deref())?, identity: cert.zip(key) })
    }
}

fn pem(inline: Option<&str>, file: Option<&Path>) -> Result<Option<Vec<u8>>, ClientError> {
    match (inline, file) {
        (Some(text), _) => Ok(Some(text.as_bytes().to_vec())),
        (None, Some(file)) => std::fs::read(file)
            .map(Some)
            .map_err(|error| ClientError::File { file: file.to_owned(), message: error.to_string() }),
        (None, None) => Ok(None),
    }
}

fn certificates_in(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(certificates) if certificates.is_empty() => Err(ClientError::Tls("no certificate in the PEM text".into())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(ClientError::Tls(format!("certificate: {error}"))),
    }
}

/// `insecure_skip_verify`: the operator gave up knowing whom the client talks to. Signatures are still checked, so
/// that the peer at least owns the key of the certificate it shows.
#[derive(Debug)]
struct TrustEverybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustEverybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
