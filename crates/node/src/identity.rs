//! The node's key: made on first start, kept in `node.key`, never shown.
//!
//! The file is one line, `gangline-key 1 ed25519 <64 hex digits of the seed>`.

mod name;

use std::fs;
use std::io;
use std::path::Path;

use bft_json_crdt::keypair::{AuthorId, Keypair, make_keypair};
use data_encoding::HEXLOWER;

use crate::failure::{Exit, Failure};
use crate::private_file::write_private;

pub(crate) use name::node_name;

/// The file inside the data directory.
pub(crate) const KEY_FILE: &str = "node.key";
const PREFIX: &str = "gangline-key 1 ed25519 ";

/// Makes a key in `dir`, which has none.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn create(dir: &Path) -> Result<Keypair, Failure> {
    let path = dir.join(KEY_FILE);
    let keypair = make_keypair();
    let line = format!("{PREFIX}{}\n", HEXLOWER.encode(&*keypair.seed()));
    write_private(&path, line.as_bytes()).map_err(|error| {
        Failure::new(Exit::Failed, "key_not_made", format!("cannot write {}: {error}", path.display()))
    })?;
    Ok(keypair)
}

/// Reads the key in `dir`, if there is one.
///
/// # Errors
/// When the file is malformed, readable by others, or cannot be read.
pub(crate) fn open(dir: &Path) -> Result<Option<Keypair>, Failure> {
    let path = dir.join(KEY_FILE);
    let shown = path.display();
    let refused = |message: String| Failure::new(Exit::Failed, "key_unusable", message);
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(format!("cannot read {shown}: {error}"))),
    };
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            return Err(refused(format!("{shown} can be read by others (mode {mode:03o})")).hint(format!(
                "chmod 600 {shown}; if others may have read it, move it away: the node makes a new key"
            )));
        }
    }
    let malformed = || {
        refused(format!("{shown} is not a key file of gangline")).hint(
            "put the right file back from a copy; or move it away, and the node makes a new key and is a new author",
        )
    };
    if !metadata.is_file() || metadata.len() > 1024 {
        return Err(malformed());
    }
    let text =
        fs::read_to_string(&path).map_err(|error| match error.kind() == io::ErrorKind::InvalidData {
            true => malformed(),
            false => refused(format!("cannot read {shown}: {error}")),
        })?;
    let seed = text.strip_prefix(PREFIX).and_then(|hex| HEXLOWER.decode(hex.trim_end().as_bytes()).ok());
    let seed: [u8; 32] = seed.and_then(|seed| seed.try_into().ok()).ok_or_else(malformed)?;
    Ok(Some(Keypair::from_seed(&seed)))
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
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, [KEY_FILE], "nothing temporary stays");
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_private_and_loose_permissions_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        create(dir.path()).unwrap();
        let path = dir.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = open(dir.path()).unwrap_err();
        assert!(refused.message.contains("mode 644"), "{refused}");
        assert!(refused.hint.unwrap().contains("chmod 600"));
    }

    #[test]
    fn a_malformed_file_is_refused_and_left_alone() {
        let good = format!("{PREFIX}{}\n", "ab".repeat(32));
        let bad: [&[u8]; 6] = [
            b"",
            b"hello\n",
            &good.as_bytes()[..80],
            &[0xff; 20],
            good.replace("ab", "aB").leak().as_bytes(),
            &[b'a'; 2000],
        ];
        for content in bad {
            let dir = tempfile::tempdir().unwrap();
            write_private(&dir.path().join(KEY_FILE), content).unwrap();
            let refused = open(dir.path()).unwrap_err();
            assert!(refused.hint.is_some(), "{refused}");
            assert_eq!(fs::read(dir.path().join(KEY_FILE)).unwrap(), content);
        }
    }
}
