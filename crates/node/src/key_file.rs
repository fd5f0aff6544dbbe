//! A file with one private key: one line, `gangline-key 1 ed25519 <64 hex digits of the seed>`, for its owner alone.

use std::fs;
use std::io;
use std::path::Path;

use bft_json_crdt::keypair::Keypair;
use data_encoding::HEXLOWER;

use crate::failure::{Exit, Failure};
use crate::private_file::write_private;

const PREFIX: &str = "gangline-key 1 ed25519 ";
/// More than any key file has.
const BYTES_MAX: u64 = 1_024;

/// What to do about a file that cannot be used.
pub(crate) struct Remedies {
    /// Others may have read it; stands behind `chmod 600 FILE; `.
    pub(crate) loose: &'static str,
    /// It is something else.
    pub(crate) malformed: &'static str,
}

/// Writes a key, so that a crash leaves all of it or nothing.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(path: &Path, keypair: &Keypair) -> Result<(), Failure> {
    write_private(path, line(keypair).as_bytes()).map_err(|error| {
        Failure::new(Exit::Failed, "key_not_made", format!("cannot write {}: {error}", path.display()))
    })
}

/// Reads the key at `path`, if there is one.
///
/// # Errors
/// When the file is malformed, readable by others, or cannot be read.
pub(crate) fn read(path: &Path, remedies: &Remedies) -> Result<Option<Keypair>, Failure> {
    let shown = path.display();
    let refused = |message: String| Failure::new(Exit::Failed, "key_unusable", message);
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(format!("cannot read {shown}: {error}"))),
    };
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            return Err(refused(format!("{shown} can be read by others (mode {mode:03o})"))
                .hint(format!("chmod 600 {shown}; {}", remedies.loose)));
        }
    }
    let malformed = || refused(format!("{shown} is not a key file of gangline")).hint(remedies.malformed);
    if !metadata.is_file() || metadata.len() > BYTES_MAX {
        return Err(malformed());
    }
    let text =
        fs::read_to_string(path).map_err(|error| match error.kind() == io::ErrorKind::InvalidData {
            true => malformed(),
            false => refused(format!("cannot read {shown}: {error}")),
        })?;
    parse(&text).map(Some).ok_or_else(malformed)
}

/// The line of a key.
pub(crate) fn line(keypair: &Keypair) -> String {
    format!("{PREFIX}{}\n", HEXLOWER.encode(&*keypair.seed()))
}

/// Reads such a line.
pub(crate) fn parse(text: &str) -> Option<Keypair> {
    let seed = HEXLOWER.decode(text.strip_prefix(PREFIX)?.trim_end().as_bytes()).ok()?;
    let seed: [u8; 32] = seed.try_into().ok()?;
    Some(Keypair::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bft_json_crdt::keypair::make_keypair;

    const REMEDIES: Remedies = Remedies { loose: "look", malformed: "put it back" };

    #[test]
    fn a_line_reads_back_as_the_same_key() {
        let keypair = make_keypair();
        let text = line(&keypair);
        assert_eq!(parse(&text).unwrap().author(), keypair.author());
        assert_eq!(parse(text.trim_end()).unwrap().author(), keypair.author());
        assert_eq!(text.len(), PREFIX.len() + 65);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_private_and_loose_permissions_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        assert!(read(&path, &REMEDIES).unwrap().is_none());
        write(&path, &make_keypair()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(read(&path, &REMEDIES).unwrap().is_some());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = read(&path, &REMEDIES).unwrap_err();
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
            let path = dir.path().join("k");
            write_private(&path, content).unwrap();
            let refused = read(&path, &REMEDIES).unwrap_err();
            assert_eq!(refused.hint.as_deref(), Some("put it back"), "{refused}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }
}
