//! The file `grants` in the data directory: the node's ledger, one record a line, with a checksum.
//!
//! ```text
//! gangline-grants 1 crc32 <8 hex digits, of all that follows the line>
//! <a record in base64url>
//! …
//! ```
//!
//! It is replaced whole, and changed by one process at a time. Signatures are checked when it is read, so what
//! somebody wrote into it counts for nothing; the checksum tells damage apart from that.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use gangline_trust::{Ledger, Record};

use crate::failure::{Exit, Failure};
use crate::private_file::{lock, make_private_dir, write_private};

const FILE: &str = "grants";
const HEAD: &str = "gangline-grants 1 crc32 ";
/// Longer than any ledger in base64.
const BYTES_MAX: u64 = 8 << 20;

/// Where the file is.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Reads the ledger in `dir`; empty where there is none.
///
/// # Errors
/// When the file is damaged or cannot be read.
pub(crate) fn read(dir: &Path) -> Result<Ledger, Failure> {
    let path = path(dir);
    let unusable = |what: &str| {
        Failure::new(Exit::Failed, "grants_unusable", format!("{} {what}", path.display())).hint(
            "put it back from a copy; or move it away: who was invited has to be invited again, and who was revoked \
             has to be revoked again",
        )
    };
    let text = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ledger::default()),
        Ok(metadata) if metadata.len() > BYTES_MAX => {
            return Err(unusable("is too long to be a file of grants"));
        }
        Ok(_) | Err(_) => fs::read_to_string(&path),
    };
    let text = text.map_err(|error| unusable(&format!("cannot be read: {error}")))?;
    let Some((checksum, body)) = text.strip_prefix(HEAD).and_then(|rest| rest.split_once('\n')) else {
        return Err(unusable("is not a file of grants of this version of gangline"));
    };
    if checksum != sum(body) {
        return Err(unusable("is damaged: its checksum does not fit"));
    }
    let mut records = Vec::new();
    for (at, line) in body.lines().enumerate() {
        let bytes = BASE64URL_NOPAD.decode(line.as_bytes()).map_err(|error| error.to_string());
        let record = bytes.and_then(|bytes| Record::decode(&bytes).map_err(|error| error.to_string()));
        records.push(record.map_err(|error| unusable(&format!("is damaged in line {}: {error}", at + 2)))?);
    }
    Ok(Ledger::restore(records))
}

/// Reads, changes and replaces the ledger in `dir`, one process at a time. What is not changed is not written.
///
/// # Errors
/// What `f` says; or when the file is damaged, or cannot be read or written.
pub(crate) fn change<R>(
    dir: &Path,
    f: impl FnOnce(Ledger) -> Result<(Ledger, R), Failure>,
) -> Result<(Ledger, R), Failure> {
    let failed = |error: io::Error| {
        let message = format!("cannot write {}: {error}", path(dir).display());
        Failure::new(Exit::Failed, "grants_not_written", message)
    };
    make_private_dir(dir).map_err(failed)?;
    let _lock = lock(&dir.join("grants.lock")).map_err(failed)?;
    let before = read(dir)?;
    let (after, result) = f(before.clone())?;
    if after != before {
        write_private(&path(dir), text(&after).as_bytes()).map_err(failed)?;
    }
    Ok((after, result))
}

fn text(ledger: &Ledger) -> String {
    let lines: Vec<String> =
        ledger.records().map(|record| format!("{}\n", BASE64URL_NOPAD.encode(record.bytes()))).collect();
    let body = lines.concat();
    format!("{HEAD}{}\n{body}", sum(&body))
}

fn sum(body: &str) -> String {
    format!("{:08x}", crc32fast::hash(body.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bft_json_crdt::keypair::Keypair;
    use gangline_trust::{Grant, Rights, Statement};

    use super::*;
    use crate::trust::DOCUMENT;

    fn learned(ledger: Ledger, n: u8) -> Ledger {
        let alice = Keypair::from_seed(&[1; 32]);
        let grant = Grant {
            document: DOCUMENT,
            issuer: alice.author(),
            subject: Keypair::from_seed(&[n; 32]).author(),
            rights: Rights::MEMBER,
            is_ticket: false,
            name: format!("n{n}"),
            expires_at_ms: 7,
            id: [n; 16],
        };
        let mut ledger = ledger;
        let roots = BTreeMap::from([(alice.author(), Rights::ALL)]);
        assert!(ledger.learn(Statement::Grant(grant).sign(&alice).unwrap(), &roots, 0).is_new());
        ledger
    }

    #[test]
    fn what_is_written_reads_back_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap().is_empty());
        for n in 2..5 {
            change(dir.path(), |ledger| Ok((learned(ledger, n), ()))).unwrap();
        }
        let ledger = read(dir.path()).unwrap();
        assert_eq!(ledger.len(), 3, "also what has expired since");
        assert_eq!(change(dir.path(), |ledger| Ok((ledger, 5))).unwrap(), (ledger, 5));
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &fs::metadata(path(dir.path())).unwrap().permissions(),
            );
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_file_is_a_clear_error_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        change(dir.path(), |ledger| Ok((learned(ledger, 2), ()))).unwrap();
        let good = fs::read_to_string(path(dir.path())).unwrap();
        let forged = |body: &str| format!("{HEAD}{}\n{body}", sum(body));
        for (bad, what) in [
            (String::new(), "not a file of grants"),
            (good.replace("grants 1", "grants 9"), "not a file of grants"),
            (good[..good.len() - 9].to_owned(), "its checksum does not fit"),
            (forged("nonsense!\n"), "damaged in line 2"),
        ] {
            fs::write(path(dir.path()), &bad).unwrap();
            let refused = read(dir.path()).unwrap_err();
            assert!(refused.message.contains(what) && refused.hint.is_some(), "{refused}");
            assert!(change(dir.path(), |ledger| Ok((ledger, ()))).is_err());
            assert_eq!(fs::read_to_string(path(dir.path())).unwrap(), bad);
        }
    }
}
