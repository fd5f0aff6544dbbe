//! TLS between nodes: certificates by pin or by the machine's roots, and a name for each channel.
//!
//! TLS 1.3 only, by AWS-LC, which signs changes as well; the provider is passed explicitly. A certificate proves
//! which machine answers, never who somebody is: that is what keys are for. [`Channel`] ties the two together.

mod dial;
mod serve;

use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

pub use self::dial::TlsDialer;
pub use self::serve::TlsServer;
use crate::server::Channel;

/// What the name of a channel is derived with (RFC 8446, section 7.5).
const CHANNEL_LABEL: &[u8] = b"gangline-sync-2";

/// The SHA-256 of a server's certificate. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertPin(pub [u8; 32]);

/// The text is no pin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no pin of a certificate: 64 hexadecimal digits")]
pub struct NotAPin(pub String);

/// Why a TLS connection was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Another machine answers, or the node has a new certificate. Ask for the pin by a way that you trust.
    #[error(
        "the certificate there has sha256={found}, and sha256={pinned} was expected: another machine answers, or the \
         node has a new certificate; ask its operator for a new ticket (`gangline invite`)"
    )]
    WrongCertificate {
        /// Whose pin the URL has.
        pinned: CertPin,
        /// Whose certificate came.
        found: CertPin,
    },
    /// No authority that this machine knows vouches for the certificate. Pin it.
    #[error(
        "this machine does not trust the certificate there ({reason}); if the node made it itself, add its pin to the \
         URL, as `gangline up` prints it there: #sha256=…"
    )]
    Untrusted {
        /// What is wrong with it.
        reason: String,
    },
    /// The machine has no list of authorities. Install one, or pin the certificate.
    #[error(
        "this machine has no certificate authorities ({0}); install ca-certificates, or add a pin to the URL: #sha256=…"
    )]
    NoRoots(String),
    /// The certificate or key file is not usable. Correct it.
    #[error("{0}")]
    Unusable(String),
    /// What answers does not speak TLS 1.3, or the connection broke.
    #[error("no TLS there: {0}")]
    Handshake(#[source] std::io::Error),
}

impl CertPin {
    /// The pin of a certificate in DER.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate.as_ref()).into())
    }
}

impl fmt::Display for CertPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CertPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertPin({self})")
    }
}

impl FromStr for CertPin {
    type Err = NotAPin;

    fn from_str(text: &str) -> Result<Self, NotAPin> {
        let wrong = || NotAPin(text.chars().take(80).collect());
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut pin = [0; 32];
        for (byte, pair) in pin.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(pin))
    }
}

/// A connection, encrypted or not.
#[derive(Debug)]
pub struct Stream {
    io: Io,
    channel: Option<Channel>,
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// A connection that is not encrypted.
    #[must_use]
    pub fn plain(stream: TcpStream) -> Self {
        Self { io: Io::Plain(stream), channel: None }
    }

    fn tls(stream: impl Into<TlsStream<TcpStream>>, channel: Option<Channel>) -> Self {
        Self { io: Io::Tls(Box::new(stream.into())), channel }
    }

    /// Returns the channel's name, if it is encrypted.
    #[must_use]
    pub fn channel(&self) -> Option<Channel> {
        self.channel
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_hexadecimal() {
        let text = "0f".repeat(32);
        assert_eq!(text.parse(), Ok(CertPin([15; 32])));
        assert_eq!(CertPin([15; 32]).to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(CertPin([15; 32])));
        for bad in ["", "0f", "é", &"+f".repeat(32), &"0f".repeat(33), &"é".repeat(32)] {
            assert!(bad.parse::<CertPin>().is_err(), "{bad}");
        }
    }
}
