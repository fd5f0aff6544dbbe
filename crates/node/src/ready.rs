//! The ready lines: what a node says on stdout when it really serves. Scripts read them.

use std::net::SocketAddr;
use std::path::Path;

use bft_json_crdt::keypair::AuthorId;
use gangline_transport::CertPin;
use serde_json::{Value, json};

use crate::identity::{short_key, show_key};

/// What the lines say.
#[derive(Debug)]
pub(crate) struct Ready<'a> {
    /// The node's name.
    pub(crate) name: &'a str,
    /// The node's key.
    pub(crate) author: AuthorId,
    /// Where it listens, with the real port.
    pub(crate) listen: SocketAddr,
    /// The pin of its certificate, if it encrypts.
    pub(crate) pin: Option<CertPin>,
    /// Where it keeps its data.
    pub(crate) data_dir: &'a Path,
    /// Databases that its documents follow.
    pub(crate) sources: Vec<Followed<'a>>,
}

/// A database that documents follow.
#[derive(Debug)]
pub(crate) struct Followed<'a> {
    /// The source's name.
    pub(crate) name: &'a str,
    /// The database, without passwords.
    pub(crate) place: &'a str,
    /// The source's public key; none where the node only follows.
    pub(crate) key: Option<AuthorId>,
    /// Why the database cannot be read, if it cannot.
    pub(crate) unread: Option<String>,
}

impl Ready<'_> {
    fn board(&self) -> String {
        format!("{}://{}", if self.pin.is_some() { "https" } else { "http" }, self.listen)
    }

    fn sync(&self) -> String {
        let scheme = if self.pin.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.listen, gangline_transport::SYNC_PATH)
    }

    /// For people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "gangline {} · node {} ({})",
                env!("CARGO_PKG_VERSION"),
                self.name,
                short_key(&self.author)
            ),
            format!("board   {}", self.board()),
            format!("sync    {}", self.sync()),
        ];
        if let Some(pin) = self.pin {
            lines.push(format!("pin     sha256={pin}"));
        }
        for Followed { name, place, key, unread } in &self.sources {
            let but = match (key, unread) {
                (None, _) => ", only followed: its key is not here".to_owned(),
                (Some(_), Some(why)) => format!(", not followed before it can be read: {why}"),
                (Some(_), None) => String::new(),
            };
            lines.push(format!("source  {name} ({place}){but}"));
        }
        lines.extend([
            format!("data    {} (SQLite)", self.data_dir.display()),
            "Ctrl-C stops; nothing is lost.".to_owned(),
        ]);
        lines
    }

    /// For programs: one document.
    pub(crate) fn document(&self) -> Value {
        json!({
            "event": "ready",
            "version": env!("CARGO_PKG_VERSION"),
            "name": self.name,
            "node_id": self.author.to_string(),
            "key": show_key(&self.author),
            "board": self.board(),
            "sync": self.sync(),
            "listen": self.listen.to_string(),
            "pin": self.pin.map(|pin| format!("sha256={pin}")),
            "data_dir": self.data_dir,
            "store": "sqlite",
            "sources": self.sources.iter().map(|Followed { name, place, key, unread }| json!({
                "name": name, "place": place, "key": key.as_ref().map(show_key), "unread": unread,
            })).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_those_of_the_first_five_minutes() {
        let mut key = [0; 32];
        (key[0], key[1], key[31]) = (0x9f, 0x3a, 0xc1);
        let ready = Ready {
            name: "swift-otter",
            author: AuthorId(key),
            listen: "127.0.0.1:3001".parse().unwrap(),
            pin: None,
            data_dir: Path::new("./gangline-data"),
            sources: Vec::new(),
        };
        assert_eq!(
            ready.lines().join("\n"),
            "gangline 0.1.0 · node swift-otter (ed25519:9f3a…c1)\n\
             board   http://127.0.0.1:3001\n\
             sync    ws://127.0.0.1:3001/crdt-sync\n\
             data    ./gangline-data (SQLite)\n\
             Ctrl-C stops; nothing is lost."
        );
        let pin = CertPin([0x5e; 32]);
        let followed = |name, key, unread: Option<&str>| Followed {
            name,
            place: "sqlite:app.db",
            key,
            unread: unread.map(str::to_owned),
        };
        let (own, why) = (Some(AuthorId(key)), Some("it is not there"));
        let sources = vec![followed("a", own, None), followed("b", None, None), followed("c", own, why)];
        let ready = Ready { pin: Some(pin), sources, ..ready };
        let document = ready.document();
        assert_eq!(document["sources"][0]["key"], show_key(&AuthorId(key)));
        assert_eq!(document["sources"][1]["key"], Value::Null);
        let lines = ready.lines();
        assert_eq!(lines[4], "source  a (sqlite:app.db)");
        assert_eq!(lines[5], "source  b (sqlite:app.db), only followed: its key is not here");
        assert_eq!(
            lines[6],
            "source  c (sqlite:app.db), not followed before it can be read: it is not there"
        );
        assert_eq!(document["sources"][2]["unread"], "it is not there");
        assert_eq!(lines[1], "board   https://127.0.0.1:3001");
        assert_eq!(lines[2], "sync    wss://127.0.0.1:3001/crdt-sync");
        assert_eq!(lines[3], format!("pin     sha256={pin}"));
    }
}
