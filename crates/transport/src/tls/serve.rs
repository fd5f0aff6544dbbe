//! The server side of TLS: one certificate, from PEM.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{CHANNEL_LABEL, CertPin, Stream, TlsError, provider};
use crate::server::Channel;

/// Takes TLS connections in. Cheap to clone.
#[derive(Clone)]
pub struct TlsServer {
    acceptor: TlsAcceptor,
    pin: CertPin,
}

impl TlsServer {
    /// Serves with the certificates in `chain`, the server's own first, and the private key in `key`, all PEM.
    ///
    /// # Errors
    /// If there is no certificate or no key, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let unusable = |what: &str, error: &dyn fmt::Display| TlsError::Unusable(format!("{what}: {error}"));
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| unusable("the certificates are not PEM", &error))?;
        let Some(own) = chain.first() else {
            return Err(TlsError::Unusable("there is no certificate in PEM in it".to_owned()));
        };
        let pin = CertPin::of(own);
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| unusable("there is no private key in PEM in it", &error))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Unusable(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| unusable("the certificate and the key cannot be used", &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), pin })
    }

    /// Returns the pin of its certificate.
    #[must_use]
    pub fn pin(&self) -> CertPin {
        self.pin
    }

    /// Shakes hands with a client. The caller bounds the time.
    ///
    /// # Errors
    /// If the client does not speak TLS 1.3, or does not take the certificate.
    pub async fn accept(&self, stream: TcpStream) -> Result<Stream, TlsError> {
        let stream = self.acceptor.accept(stream).await.map_err(TlsError::Handshake)?;
        let (_, connection) = stream.get_ref();
        let channel = connection.export_keying_material([0; 32], CHANNEL_LABEL, None).ok().map(Channel);
        Ok(Stream::tls(tokio_rustls::TlsStream::Server(stream), channel))
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServer").field("pin", &self.pin).finish_non_exhaustive()
    }
}
