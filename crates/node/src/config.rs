//! Settings: flag > environment > file > default, every value with its origin.
//!
//! [`Settings::resolve`] is pure: it gets the flags, a way to look up variables and the file's text.
//! What is wrong is told all at once, each [`Mistake`] with its place and what to do.

mod file;
mod limits;
mod locate;
mod logs;
mod origin;
mod reconcile;
mod suggest;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use bft_json_crdt::keypair::AuthorId;
use gangline_transport::PeerUrl;
use gangline_trust::Listed;

#[cfg(test)]
pub(crate) use file::TOP;
#[cfg(test)]
pub(crate) use file::reconcile::{LIST, ROOT, SOURCE};
pub(crate) use file::reconcile::{MODES, POLICIES};
#[cfg(test)]
pub(crate) use limits::NAMES as LIMIT_NAMES;
pub(crate) use limits::{Limits, Unit};
pub(crate) use locate::{Found, locate};
pub(crate) use logs::{LeaseKeeper, LogBackend, LogSettings};
pub(crate) use origin::{Origin, Sourced};
pub(crate) use reconcile::{Database, KeyFrom, ReconcileSettings, check_shape};
pub(crate) use suggest::nearest;

/// What a node runs with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The address to listen on: `host:port`; port 0 lets the system pick.
    pub(crate) listen: Sourced<String>,
    /// Where the key, the tokens and the log live.
    pub(crate) data_dir: Sourced<PathBuf>,
    /// Nodes to connect to.
    pub(crate) rendezvous: Sourced<Vec<String>>,
    /// Names of the agents that work through this node.
    pub(crate) agents: Sourced<Vec<String>>,
    /// Serve off loopback without a trust list.
    pub(crate) insecure: Sourced<bool>,
    /// Keys that are let in, with names and rights.
    pub(crate) trusted: Sourced<BTreeMap<AuthorId, Listed>>,
    /// The certificate to serve with; none: not encrypted.
    pub(crate) tls: Sourced<Option<TlsSettings>>,
    /// Let nodes that cannot prove a key sync off loopback.
    pub(crate) allow_v1: Sourced<bool>,
    /// Let in no more changes of a key that signed two after the same one.
    pub(crate) stops_equivocators: Sourced<bool>,
    /// Where logs live, and who grants leases.
    pub(crate) logs: LogSettings,
    /// The bounds.
    pub(crate) limits: Limits,
    /// Databases that documents follow.
    pub(crate) reconcile: Vec<ReconcileSettings>,
}

/// Where the node's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TlsSettings {
    /// Files in PEM, which somebody else keeps fresh.
    Files {
        /// The certificate, and those that vouch for it.
        cert: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// The node makes one, and keeps it in the data directory.
    SelfSigned,
}

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    /// `--listen`.
    pub(crate) listen: Option<String>,
    /// `--data-dir`.
    pub(crate) data_dir: Option<PathBuf>,
    /// `--peer`, any number.
    pub(crate) peers: Vec<String>,
    /// `--insecure`.
    pub(crate) insecure: bool,
}

/// One thing wrong in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Where it stands.
    pub(crate) origin: Origin,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl Mistake {
    fn line(&self) -> usize {
        match &self.origin {
            Origin::File { line, .. } => *line,
            Origin::Flag(_) | Origin::Env(_) | Origin::Default => 0,
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl Settings {
    /// Puts the layers together. `file` is the name and the text of a settings file.
    ///
    /// # Errors
    /// Every mistake found, never an empty list.
    pub(crate) fn resolve(
        flags: &Flags,
        env: &dyn Fn(&str) -> Option<String>,
        file: Option<(&str, &str)>,
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let layer = match file.map(|(path, text)| file::read(path, text, env)) {
            None => file::FileLayer::default(),
            Some(Ok(layer)) => layer,
            Some(Err(found)) => {
                mistakes.extend(found);
                file::FileLayer::default()
            }
        };
        let variable = |name: &str| {
            let value = env(name).filter(|value| !value.is_empty())?;
            Some(Sourced { value, origin: Origin::Env(name.to_owned()) })
        };
        let flag = |name, value: &Option<String>| {
            value.clone().map(|value| Sourced { value, origin: Origin::Flag(name) })
        };
        let data_dir_flag = flags.data_dir.as_ref().map(|dir| dir.to_string_lossy().into_owned());
        let data_dir = Sourced::pick(
            flag("--data-dir", &data_dir_flag),
            variable("GANGLINE_DATA_DIR"),
            layer.data_dir,
            "./gangline-data".to_owned(),
        );
        let peers = (!flags.peers.is_empty())
            .then(|| Sourced { value: flags.peers.clone(), origin: Origin::Flag("--peer") });
        let env_peers = variable("GANGLINE_RENDEZVOUS").map(|urls| Sourced {
            value: urls.value.split(',').map(|url| url.trim().to_owned()).collect(),
            origin: urls.origin,
        });
        let insecure_flag =
            flags.insecure.then_some(Sourced { value: true, origin: Origin::Flag("--insecure") });
        let env_insecure = variable("GANGLINE_INSECURE").and_then(|text| boolean(text, &mut mistakes));
        let mut settings = Self {
            listen: Sourced::pick(
                flag("--listen", &flags.listen),
                variable("GANGLINE_LISTEN"),
                layer.listen,
                "127.0.0.1:3001".to_owned(),
            ),
            data_dir: Sourced { value: PathBuf::from(data_dir.value), origin: data_dir.origin },
            rendezvous: Sourced::pick(peers, env_peers, layer.rendezvous, Vec::new()),
            agents: Sourced::pick(None, None, layer.agents, Vec::new()),
            insecure: Sourced::pick(insecure_flag, env_insecure, layer.insecure, false),
            trusted: Sourced::pick(None, None, layer.trusted, BTreeMap::new()),
            tls: match layer.tls {
                Some(tls) => Sourced { value: Some(tls.value), origin: tls.origin },
                None => Sourced::default(None),
            },
            allow_v1: Sourced::pick(None, None, layer.allow_v1, false),
            stops_equivocators: Sourced::pick(None, None, layer.stops_equivocators, false),
            logs: LogSettings::of(layer.logs),
            limits: Limits::default(),
            reconcile: layer.reconcile,
        };
        for (name, limit) in layer.limits {
            settings.limits.set(name, limit.value, limit.origin);
        }
        settings.check(&mut mistakes);
        if mistakes.is_empty() { Ok(settings) } else { Err(mistakes) }
    }

    /// Whether only this machine can reach the node.
    pub(crate) fn is_loopback(&self) -> bool {
        match self.addresses() {
            Ok(all) => !all.is_empty() && all.iter().all(|address| is_loopback(address.ip())),
            Err(_) => false,
        }
    }

    /// Looks the listen address up.
    ///
    /// # Errors
    /// When the text is no `host:port` or the name is not known.
    pub(crate) fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        Ok(self.listen.value.to_socket_addrs()?.collect())
    }

    /// What keeps these settings from being served, beyond what is wrong in each by itself. `has_grants`: somebody
    /// was invited, so there is a list of whom to let in.
    pub(crate) fn refusal(&self, has_grants: bool) -> Option<Mistake> {
        if self.is_loopback() || self.insecure.value || has_grants || !self.trusted.value.is_empty() {
            return None;
        }
        Some(Mistake {
            origin: self.listen.origin.clone(),
            message: format!(
                "{} can be reached from other machines, and anyone who reaches it could write",
                self.listen.value
            ),
            hint: Some(
                "invite somebody first: `gangline invite --url ws://HOST:PORT` prints a ticket;\n\
                 or name the keys that may write, in gangline.toml:\n\n    [trust]\n    \
                 alice = \"ed25519:<64 hex digits>\"   # as `gangline key show` prints it there\n\n\
                 or let anyone write: insecure = true (or --insecure); or listen on 127.0.0.1"
                    .into(),
            ),
        })
    }

    fn check(&self, mistakes: &mut Vec<Mistake>) {
        let addresses = self.addresses();
        let is_everywhere = |all: &Vec<SocketAddr>| all.iter().any(|address| address.ip().is_unspecified());
        self.logs.check(addresses.as_ref().is_ok_and(is_everywhere), mistakes);
        if let Err(error) = addresses {
            mistakes.push(Mistake {
                origin: self.listen.origin.clone(),
                message: format!("`listen` = \"{}\" is not an address: {error}", self.listen.value),
                hint: Some("write host:port, for example 127.0.0.1:3001".into()),
            });
        }
        if self.data_dir.value.as_os_str().is_empty() {
            mistakes.push(Mistake {
                origin: self.data_dir.origin.clone(),
                message: "`data_dir` is empty".into(),
                hint: Some("write a folder, for example ./gangline-data".into()),
            });
        }
        for url in &self.rendezvous.value {
            if let Err(error) = url.parse::<PeerUrl>() {
                let hint = match url.split_once("://") {
                    Some(("http", rest)) => Some(format!("did you mean ws://{rest}?")),
                    Some(("https", rest)) => Some(format!("did you mean wss://{rest}?")),
                    Some(("wss", _)) => None,
                    _ => Some("for example ws://127.0.0.1:3001/crdt-sync".to_owned()),
                };
                let origin = self.rendezvous.origin.clone();
                mistakes.push(Mistake { origin, message: error.to_string(), hint });
            }
        }
    }
}

/// Reads a public key as people write it: 64 hex digits, with or without `ed25519:`.
pub(crate) fn public_key(text: &str) -> Option<AuthorId> {
    text.strip_prefix("ed25519:").unwrap_or(text).parse().ok()
}

/// Whether an address is one that only this machine reaches, also when written as IPv4 in IPv6.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn boolean(text: Sourced<String>, mistakes: &mut Vec<Mistake>) -> Option<Sourced<bool>> {
    let value = match text.value.as_str() {
        "true" | "1" => true,
        "false" | "0" => false,
        other => {
            let message = format!("`{other}` is neither true nor false");
            mistakes.push(Mistake { origin: text.origin, message, hint: None });
            return None;
        }
    };
    Some(Sourced { value, origin: text.origin })
}

/// Reads a time from the command line: `10s`, `500ms`, `2m`.
///
/// # Errors
/// A sentence that says what was expected.
pub(crate) fn parse_time(text: &str) -> Result<std::time::Duration, String> {
    Unit::Time.parse(text).map(std::time::Duration::from_millis)
}
