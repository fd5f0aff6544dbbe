//! Reading a loose object by its file. libgit2 never comes back from one whose data ends early, so it is shown none
//! that was not read here first.

use std::{fs, io, path::Path};

use git2::{ObjectType, Oid};
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

/// Room for an object's kind and length.
const HEADER_BYTES_MAX: usize = 32;

/// What a file is not.
#[derive(Debug, thiserror::Error)]
pub(super) enum LooseError {
    /// It cannot be read; it may have gone into a pack.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error("{0}")]
    Damaged(String),
}

/// Reads the object, and checks that it is the one that is asked for.
pub(super) fn read(objects: &Path, oid: Oid, bytes_max: usize) -> Result<(ObjectType, Vec<u8>), LooseError> {
    let name = oid.to_string();
    let (first, rest) = name.split_at(2);
    let packed = fs::read(objects.join(first).join(rest))?;
    let damaged = |what: &str| LooseError::Damaged(what.to_owned());
    let mut whole = decompress_to_vec_zlib_with_limit(&packed, bytes_max.saturating_add(HEADER_BYTES_MAX))
        .map_err(|error| LooseError::Damaged(format!("its data is broken: {:?}", error.status)))?;
    let end = whole.iter().take(HEADER_BYTES_MAX).position(|byte| *byte == 0);
    let end = end.ok_or_else(|| damaged("it has no header"))?;
    let bytes = whole.split_off(end + 1);
    let header = whole.get(..end).and_then(|header| std::str::from_utf8(header).ok());
    let (kind, length) =
        header.and_then(|header| header.split_once(' ')).ok_or_else(|| damaged("it has no header"))?;
    let kind = ObjectType::from_str(kind).ok_or_else(|| damaged("it is of no kind"))?;
    if length.parse() != Ok(bytes.len()) {
        return Err(damaged("it has another length"));
    }
    match Oid::hash_object(kind, &bytes) {
        Ok(found) if found == oid => Ok((kind, bytes)),
        _ => Err(damaged("it is not what was written (its hash differs)")),
    }
}
