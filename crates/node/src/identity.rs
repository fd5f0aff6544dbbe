//! The node's key: made on first start, kept in `node.key`, never shown.

mod name;

use std::path::Path;

use bft_json_crdt::keypair::{AuthorId, Keypair, make_keypair};

use crate::failure::Failure;
use crate::key_file::{self, Remedies};

pub(crate) use name::node_name;

/// The file inside the data directory.
pub(crate) const KEY_FILE: &str = "node.key";
const REMEDIES: Remedies = Remedies {
    loose: "if others may have read it, move it away: the node makes a new key",
    malformed: "put the right file back from a copy; or move it away, and the node makes a new key and is a new author",
};

/// Makes a key in `dir`, which has none.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn create(dir: &Path) -> Result<Keypair, Failure> {
    let keypair = make_keypair();
    key_file::write(&dir.join(KEY_FILE), &keypair)?;
    Ok(keypair)
}

/// Reads the key in `dir`, if there is one.
///
/// # Errors
/// When the file is malformed, readable by others, or cannot be read.
pub(crate) fn open(dir: &Path) -> Result<Option<Keypair>, Failure> {
    key_file::read(&dir.join(KEY_FILE), &REMEDIES)
}

/// A public key in full, as trust lists take it.
pub(crate) fn show_key(author: &AuthorId) -> String {
    format!("ed25519:{author}")
}

/// A public key for one glance: `ed25519:9f3a…c1`.
pub(crate) fn short_key(author: &AuthorId) -> String {
    let hex = author.to_string();
    let (head, tail) = (hex.get(..4).unwrap_or_default(), hex.get(hex.len() - 2..).unwrap_or_default());
    format!("ed25519:{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        assert!(open(dir.path()).unwrap().is_none());
        let made = create(dir.path()).unwrap();
        let read = open(dir.path()).unwrap().unwrap();
        assert_eq!(made.author(), read.author());
        assert!(show_key(&made.author()).starts_with("ed25519:"));
        let names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [KEY_FILE], "nothing temporary stays");
    }
}
