//! The client side of TLS: whom it believes.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{CHANNEL_LABEL, CertPin, Stream, TlsError, provider};
use crate::server::Channel;

/// Makes TLS connections to servers whose certificate it can check. Cheap to clone.
#[derive(Clone)]
pub struct TlsDialer {
    connector: TlsConnector,
}

impl TlsDialer {
    /// With a pin, that certificate and no other is good, whatever it says. Without one, the machine's own
    /// authorities decide; reading them takes some milliseconds of IO.
    ///
    /// # Errors
    /// If the machine has no authorities.
    pub fn new(pin: Option<CertPin>) -> Result<Self, TlsError> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Unusable(error.to_string()))?;
        let mut config = match pin {
            Some(pin) => {
                let algorithms = provider.signature_verification_algorithms;
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Pinned { pin, algorithms }))
                    .with_no_client_auth()
            }
            None => builder.with_root_certificates(roots()?).with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Nodes keep their connections; what a resumption saves is not worth keeping secrets around.
        config.resumption = Resumption::disabled();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Shakes hands with the server `host` over `stream`.
    ///
    /// # Errors
    /// If the certificate is not the right one, or there is no TLS.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> Result<Stream, TlsError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| TlsError::Unusable(format!("no certificate can name {host:?}: {error}")))?;
        let stream = self.connector.connect(name, stream).await.map_err(explain)?;
        let (_, connection) = stream.get_ref();
        let channel = connection.export_keying_material([0; 32], CHANNEL_LABEL, None).ok().map(Channel);
        Ok(Stream::tls(tokio_rustls::TlsStream::Client(stream), channel))
    }
}

impl fmt::Debug for TlsDialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsDialer").finish_non_exhaustive()
    }
}

fn roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        let reason = if errors.is_empty() { "none was found".to_owned() } else { errors.join(", ") };
        return Err(TlsError::NoRoots(reason));
    }
    Ok(roots)
}

/// Finds the reason of a failed handshake.
fn explain(error: std::io::Error) -> TlsError {
    let inner = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::Other(OtherError(other))) => match other.downcast_ref::<WrongPin>() {
            Some(WrongPin { pinned, found }) => TlsError::WrongCertificate { pinned: *pinned, found: *found },
            None => TlsError::Handshake(error),
        },
        Some(reason @ rustls::Error::InvalidCertificate(_)) => {
            TlsError::Untrusted { reason: reason.to_string() }
        }
        Some(_) | None => TlsError::Handshake(error),
    }
}

/// What the verifier says through the library.
#[derive(Debug, thiserror::Error)]
#[error("sha256={found} instead of sha256={pinned}")]
struct WrongPin {
    pinned: CertPin,
    found: CertPin,
}

/// Takes one certificate, and checks that the server has its key.
#[derive(Debug)]
struct Pinned {
    pin: CertPin,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = CertPin::of(end_entity);
        if found == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let wrong = WrongPin { pinned: self.pin, found };
        Err(rustls::Error::Other(OtherError(Arc::new(wrong))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
