//! Addresses of peers, checked when they are read and not when they are dialled.

use std::fmt;
use std::str::FromStr;

use http::Uri;

use crate::tls::CertPin;

/// Where a node takes in peers, on its HTTP port.
pub const SYNC_PATH: &str = "/crdt-sync";

/// The address of a peer: `ws://host[:port][/path]`, by default port 80 and [`SYNC_PATH`]; or `wss://…`, by
/// default port 443. A `wss://` URL may end in `#sha256=` and the pin of the peer's certificate, which then is good
/// without anybody vouching for it.
///
/// ```
/// use gangline_transport::{PeerUrl, UrlError};
///
/// let url: PeerUrl = "ws://remote:3001".parse()?;
/// assert_eq!(url.to_string(), "ws://remote:3001/crdt-sync");
/// let pin = "5e".repeat(32);
/// let url: PeerUrl = format!("wss://remote#sha256={pin}").parse()?;
/// assert_eq!(url.to_string(), format!("wss://remote/crdt-sync#sha256={pin}"));
/// assert!(matches!("http://remote".parse::<PeerUrl>(), Err(UrlError::Scheme { .. })));
/// # Ok::<(), UrlError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerUrl {
    uri: Uri,
    host: String,
    port: u16,
    is_tls: bool,
    pin: Option<CertPin>,
}

/// Why a text is no address of a peer. Correct the setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// No URL at all.
    #[error("{url:?} is not a URL: {reason}")]
    NotAUrl {
        /// What was given.
        url: String,
        /// What the parser says.
        reason: String,
    },
    /// Peers are reached by `ws://` and `wss://`.
    #[error("{url:?}: peers are reached by ws:// or wss://, not by {scheme}://")]
    Scheme {
        /// What was given.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// What follows `#` is no pin, or pins nothing.
    #[error(
        "{url:?}: {reason}; a pin is written wss://host:port{SYNC_PATH}#sha256= and 64 hexadecimal digits"
    )]
    Pin {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The host is missing.
    #[error("{url:?} names no host; write ws://host:port{SYNC_PATH}")]
    NoHost {
        /// What was given.
        url: String,
    },
    /// The port is not from 1 to 65535.
    #[error("{url:?} has no valid port; write ws://host:port{SYNC_PATH}")]
    Port {
        /// What was given.
        url: String,
    },
    /// A user name or password in the URL would be sent and logged in the clear.
    #[error("a peer's URL takes no user name or password")]
    Credentials,
}

impl PeerUrl {
    /// Reads the address of a node as people know it, by its HTTP: `http://host[:port]` and `https://host[:port]`, the
    /// latter perhaps with a pin. A `ws://` or `wss://` URL is taken as it is.
    ///
    /// ```
    /// # use gangline_transport::PeerUrl;
    /// assert_eq!(PeerUrl::of_node("http://other:3001/")?.to_string(), "ws://other:3001/crdt-sync");
    /// assert_eq!(PeerUrl::of_node("https://other")?.to_string(), "wss://other/crdt-sync");
    /// # Ok::<(), gangline_transport::UrlError>(())
    /// ```
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn of_node(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => format!("ws://{rest}").parse(),
            (_, Some(rest)) => format!("wss://{rest}").parse(),
            _ => text.parse(),
        }
    }

    /// Returns the host, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns whether the connection is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Returns the pin of the peer's certificate, if there is one.
    #[must_use]
    pub fn pin(&self) -> Option<CertPin> {
        self.pin
    }

    /// Returns the same address with this pin.
    ///
    /// # Errors
    /// If the connection is not encrypted.
    pub fn with_pin(mut self, pin: CertPin) -> Result<Self, UrlError> {
        if !self.is_tls {
            return Err(UrlError::Pin {
                url: self.to_string(),
                reason: "there is no certificate to pin".into(),
            });
        }
        self.pin = Some(pin);
        Ok(self)
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }
}

impl FromStr for PeerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        let url = || text.to_owned();
        let not_a_url = |reason: String| UrlError::NotAUrl { url: url(), reason };
        let (address, pin) = match text.split_once('#') {
            None => (text, None),
            Some((address, fragment)) => {
                let wrong = |reason: String| UrlError::Pin { url: url(), reason };
                let pin = fragment
                    .strip_prefix("sha256=")
                    .ok_or_else(|| wrong(format!("#{fragment} is no pin")))?
                    .parse::<CertPin>()
                    .map_err(|error| wrong(error.to_string()))?;
                (address, Some(pin))
            }
        };
        let uri: Uri =
            address.parse().map_err(|error: http::uri::InvalidUri| not_a_url(error.to_string()))?;
        let authority = uri.authority().ok_or_else(|| UrlError::NoHost { url: url() })?;
        if authority.as_str().contains('@') {
            return Err(UrlError::Credentials);
        }
        let is_tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            Some(scheme) => return Err(UrlError::Scheme { url: url(), scheme: scheme.to_owned() }),
            None => return Err(not_a_url("it has no scheme; write ws://host:port".to_owned())),
        };
        if pin.is_some() && !is_tls {
            return Err(UrlError::Pin { url: url(), reason: "ws:// has no certificate to pin".to_owned() });
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(UrlError::NoHost { url: url() });
        }
        let rest = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        let port = match (rest, authority.port_u16()) {
            ("", _) => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
            (_, Some(port)) if port > 0 => port,
            _ => return Err(UrlError::Port { url: url() }),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = match path.strip_prefix('/').unwrap_or(path) {
            "" => SYNC_PATH.to_owned(),
            query if query.starts_with('?') => format!("{SYNC_PATH}{query}"),
            _ => path.to_owned(),
        };
        let uri = Uri::builder()
            .scheme(if is_tls { "wss" } else { "ws" })
            .authority(authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|error| not_a_url(error.to_string()))?;
        Ok(Self { uri, host, port, is_tls, pin })
    }
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)?;
        match &self.pin {
            Some(pin) => write!(f, "#sha256={pin}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let shown = match text.parse::<PeerUrl>() {
            Ok(url) => format!("{} {} {url}", url.host(), url.port()),
            Err(error) => error.to_string(),
        };
        assert!(shown.starts_with(expect), "{text:?}: expected {expect:?}, got {shown:?}");
    }

    #[test]
    fn urls_are_judged_up_front() {
        check("ws://remote:3001/crdt-sync", "remote 3001 ws://remote:3001/crdt-sync");
        check(" ws://remote ", "remote 80 ws://remote/crdt-sync");
        check("ws://[::1]:3001/", "::1 3001 ws://[::1]:3001/crdt-sync");
        check("ws://10.0.0.1:9?sync=2", "10.0.0.1 9 ws://10.0.0.1:9/crdt-sync?sync=2");
        check("ws://a/other", "a 80 ws://a/other");
        check("wss://remote:3001/crdt-sync", "remote 3001 wss://remote:3001/crdt-sync");
        check("wss://remote", "remote 443 wss://remote/crdt-sync");
        let pin = "5e".repeat(32);
        check(&format!("wss://a#sha256={pin}"), &format!("a 443 wss://a/crdt-sync#sha256={pin}"));
        check(&format!("wss://a/x?y=1#sha256={pin}"), &format!("a 443 wss://a/x?y=1#sha256={pin}"));
        check(&format!("ws://a#sha256={pin}"), &format!("\"ws://a#sha256={pin}\": ws:// has no certificate"));
        check("wss://a#sha256=5e", "\"wss://a#sha256=5e\": \"5e\" is no pin of a certificate");
        check("wss://a#top", "\"wss://a#top\": #top is no pin");
        check("http://remote/", "\"http://remote/\": peers are reached by ws:// or wss://, not by http://");
        check("remote:3001", "\"remote:3001\" is not a URL: it has no scheme");
        check("/crdt-sync", "\"/crdt-sync\" names no host");
        check("ws://", "\"ws://\" is not a URL");
        check("", "\"\" is not a URL");
        check("ws://a:0/", "\"ws://a:0/\" has no valid port");
        check("ws://a:70000/", "\"ws://a:70000/\" ");
        check("ws://me:secret@a/", "a peer's URL takes no user name");
        check("ws://a b/", "\"ws://a b/\" is not a URL");
    }
}
