//! The file `rendezvous` in the data directory: the nodes that were joined, one URL with its pin a line.
//!
//! `gangline join` writes it, `gangline up` dials what is in it, beside what the settings name.

use std::fs;
use std::io;
use std::path::Path;

use gangline_transport::PeerUrl;

use crate::failure::{Exit, Failure};
use crate::private_file::write_private;

const FILE: &str = "rendezvous";
const HEAD: &str = "gangline-rendezvous 1";
/// Most nodes that one node joins.
const URLS_MAX: usize = 64;

/// Reads the URLs in `dir`; none where there is no file.
///
/// # Errors
/// When the file is damaged or cannot be read.
pub(crate) fn read(dir: &Path) -> Result<Vec<PeerUrl>, Failure> {
    let path = dir.join(FILE);
    let unusable = |what: String| {
        Failure::new(Exit::Failed, "rendezvous_unusable", format!("{} {what}", path.display()))
            .hint("put it right, or move it away and name the nodes with --peer or in gangline.toml")
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unusable(format!("cannot be read: {error}"))),
    };
    let mut lines = text.lines();
    if lines.next() != Some(HEAD) {
        return Err(unusable("is not a file of this version of gangline".to_owned()));
    }
    let urls: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
    if urls.len() > URLS_MAX {
        return Err(unusable(format!("names {} nodes, the limit is {URLS_MAX}", urls.len())));
    }
    urls.into_iter()
        .map(|url| url.parse().map_err(|error| unusable(format!("is damaged: {error}"))))
        .collect()
}

/// Adds URLs to those in `dir`. One that differs from another only in its pin takes its place.
///
/// # Errors
/// When the file is damaged or full, or cannot be written.
pub(crate) fn add(dir: &Path, urls: &[PeerUrl]) -> Result<(), Failure> {
    let address = |url: &PeerUrl| url.to_string().split('#').next().unwrap_or_default().to_owned();
    let mut all = read(dir)?;
    for url in urls {
        all.retain(|known| address(known) != address(url));
        all.push(url.clone());
    }
    if all.len() > URLS_MAX {
        let message = format!("this node has joined {URLS_MAX} others, the most that it takes");
        return Err(Failure::new(Exit::Failed, "rendezvous_full", message)
            .hint(format!("take some out of {}", dir.join(FILE).display())));
    }
    let lines: Vec<String> = all.iter().map(|url| format!("{url}\n")).collect();
    write_private(&dir.join(FILE), format!("{HEAD}\n{}", lines.concat()).as_bytes()).map_err(|error| {
        let message = format!("cannot write {}: {error}", dir.join(FILE).display());
        Failure::new(Exit::Failed, "rendezvous_not_written", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_kept_with_the_latest_pin() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap().is_empty());
        let url = |text: &str| text.parse::<PeerUrl>().unwrap();
        let pinned = |byte: &str| url(&format!("wss://a:1/crdt-sync#sha256={}", byte.repeat(32)));
        add(dir.path(), &[pinned("00"), url("ws://b:2/crdt-sync")]).unwrap();
        add(dir.path(), &[pinned("ff")]).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [url("ws://b:2/crdt-sync"), pinned("ff")]);
        fs::write(dir.path().join(FILE), format!("{HEAD}\nhttp://a\n")).unwrap();
        assert!(read(dir.path()).unwrap_err().message.contains("is damaged"));
        assert!(add(dir.path(), &[pinned("00")]).is_err());
        fs::write(dir.path().join(FILE), "ws://a\n").unwrap();
        assert!(read(dir.path()).is_err());
    }
}
