//! Addresses of peers, checked when they are read and not when they are dialled.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// Where a node takes in peers, on its HTTP port.
pub const SYNC_PATH: &str = "/crdt-sync";

/// The address of a peer: `ws://host[:port][/path]`, by default port 80 and [`SYNC_PATH`].
///
/// ```
/// use gangline_transport::{PeerUrl, UrlError};
///
/// let url: PeerUrl = "ws://remote:3001".parse()?;
/// assert_eq!(url.to_string(), "ws://remote:3001/crdt-sync");
/// assert!(matches!("http://remote".parse::<PeerUrl>(), Err(UrlError::Scheme { .. })));
/// # Ok::<(), UrlError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerUrl {
    uri: Uri,
    host: String,
    port: u16,
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
    /// Peers are reached by `ws://`.
    #[error("{url:?}: peers are reached by ws://, not by {scheme}://")]
    Scheme {
        /// What was given.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// TLS is not supported for peers.
    #[error("{url:?}: wss:// is not supported, use ws:// over a private network or tunnel")]
    Tls {
        /// What was given.
        url: String,
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
        let uri: Uri = text.parse().map_err(|error: http::uri::InvalidUri| not_a_url(error.to_string()))?;
        let authority = uri.authority().ok_or_else(|| UrlError::NoHost { url: url() })?;
        if authority.as_str().contains('@') {
            return Err(UrlError::Credentials);
        }
        match uri.scheme_str() {
            Some("ws") => {}
            Some("wss") => return Err(UrlError::Tls { url: url() }),
            Some(scheme) => return Err(UrlError::Scheme { url: url(), scheme: scheme.to_owned() }),
            None => return Err(not_a_url("it has no scheme; write ws://host:port".to_owned())),
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(UrlError::NoHost { url: url() });
        }
        let rest = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        let port = match (rest, authority.port_u16()) {
            ("", _) => 80,
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
            .scheme("ws")
            .authority(authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|error| not_a_url(error.to_string()))?;
        Ok(Self { uri, host, port })
    }
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
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
        check("wss://remote:3001/crdt-sync", "\"wss://remote:3001/crdt-sync\": wss:// is not supported");
        check("http://remote/", "\"http://remote/\": peers are reached by ws://, not by http://");
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
