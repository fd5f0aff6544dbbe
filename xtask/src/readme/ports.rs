//! Gives each port that the README names a free port of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

use super::blocks::Block;

const HOST: &str = "127.0.0.1:";

/// Which free port stands for which port of the README.
pub(crate) struct Ports(BTreeMap<u16, u16>);

/// Where `gangline` listens if it is told nothing.
pub(crate) const DEFAULT: u16 = 3001;

impl Ports {
    /// Picks a free port for each one that the blocks name, and for the default one.
    pub(crate) fn pick(blocks: &[&Block]) -> Result<Ports> {
        let commands = blocks.iter().flat_map(|block| &block.commands);
        let texts = commands.flat_map(|command| command.promise.iter().chain([&command.text]));
        let mut named: BTreeSet<u16> = texts.flat_map(|text| find(text)).map(|(_, _, port)| port).collect();
        named.insert(DEFAULT);
        // All are held open until all are picked, so that no two are the same.
        let mut held = Vec::new();
        let mut free = BTreeMap::new();
        for port in named {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
            free.insert(port, listener.local_addr()?.port());
            held.push(listener);
        }
        Ok(Ports(free))
    }

    /// The free port that stands for `port`.
    pub(crate) fn free(&self, port: u16) -> u16 {
        self.0.get(&port).copied().unwrap_or(port)
    }

    /// `text` with each named port replaced by its free one.
    pub(crate) fn replace(&self, text: &str) -> String {
        let mut replaced = String::new();
        let mut rest = text;
        while let Some((at, end, port)) = find(rest).next() {
            replaced.push_str(rest.get(..at).unwrap_or_default());
            replaced.push_str(&self.free(port).to_string());
            rest = rest.get(end..).unwrap_or_default();
        }
        replaced + rest
    }
}

/// Where ports stand after `127.0.0.1:`, from first to last: start, end, number.
fn find(text: &str) -> impl Iterator<Item = (usize, usize, u16)> {
    text.match_indices(HOST).filter_map(move |(at, _)| {
        let start = at + HOST.len();
        let tail = text.get(start..)?;
        let digits = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        Some((start, start + digits, tail.get(..digits)?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readme::blocks;

    #[test]
    fn each_named_port_gets_its_own_everywhere() {
        let text =
            "<!-- readme: run -->\n```console\n$ a 127.0.0.1:3002\nb 127.0.0.1:3002/x 127.0.0.1:3003\n```\n";
        let blocks = blocks::parse(text).unwrap();
        let ports = Ports::pick(&blocks.iter().collect::<Vec<_>>()).unwrap();
        let (second, third) = (ports.free(3002), ports.free(3003));
        assert!(second != third && ports.free(DEFAULT) != second);
        assert_eq!(
            ports.replace("ws://127.0.0.1:3002/x, 127.0.0.1:3003 and 3002"),
            format!("ws://127.0.0.1:{second}/x, 127.0.0.1:{third} and 3002"),
        );
        assert_eq!(
            ports.replace("127.0.0.1:0 127.0.0.1:x 127.0.0.1:99999"),
            "127.0.0.1:0 127.0.0.1:x 127.0.0.1:99999"
        );
    }
}
