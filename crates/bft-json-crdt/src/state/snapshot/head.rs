//! The head: what the document is, who edits it, and what the next changes name.
//!
//! ```text
//! head      32 bytes   hash of the document's type
//!           32 bytes   document id
//!           varint     count of changes
//!           varint     the next op number of unsigned edits
//!           varint     count of authors, and as many keys
//!           varint     count of branches, each: varint author, varint 0 or 1 + branch and varint seq of its
//!                      parent, varint first seq
//!           varint     count of the changes that declare the source, and those
//!           varint     count of tips and heads, each: varint change, 32 bytes digest
//!           varint     count of forks, each: author's key, varint seq, 1 byte and 32 bytes prev, varint count and
//!                      digests
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Renumbering, Section, SnapshotError};
use crate::change::{Digest, DocumentId};
use crate::encoding::{DecodeError, Reader, put_varint};
use crate::hash::sha256;
use crate::keypair::AuthorId;
use crate::schema::{TypeIx, TypeTable};
use crate::state::State;
use crate::state::branch::Branch;
use crate::state::history::cold::Cold;

impl State {
    pub(super) fn save_head(&self, numbers: &Renumbering) -> Vec<u8> {
        let history = &self.history;
        let mut out = Vec::new();
        out.extend_from_slice(&fingerprint(&self.types));
        out.extend_from_slice(&history.document.0);
        put_varint(&mut out, history.len() as u64);
        put_varint(&mut out, history.counter_floor());
        put_varint(&mut out, history.author_count() as u64);
        (0..history.author_count())
            .for_each(|author| out.extend_from_slice(&history.author_id(author as u32).0));
        put_varint(&mut out, history.branches().len() as u64);
        for branch in history.branches() {
            put_varint(&mut out, branch.author.into());
            match branch.parent {
                None => put_varint(&mut out, 0),
                Some((parent, seq)) => {
                    put_varint(&mut out, u64::from(parent) + 1);
                    put_varint(&mut out, seq.into());
                }
            }
            put_varint(&mut out, branch.first_seq.into());
        }
        put_varint(&mut out, self.sources.len() as u64);
        self.sources.iter().for_each(|change| put_varint(&mut out, numbers.change(*change).into()));
        let tips = history.branches().iter().filter_map(|branch| branch.changes.last().copied());
        let kept: BTreeSet<_> = tips.chain(history.head_numbers()).collect();
        put_varint(&mut out, kept.len() as u64);
        for change in kept {
            put_varint(&mut out, numbers.change(change).into());
            out.extend_from_slice(&history.digest(change).0);
        }
        let forks = history.equivocations();
        put_varint(&mut out, forks.len() as u64);
        for fork in forks {
            out.extend_from_slice(&fork.author.0);
            put_varint(&mut out, fork.seq);
            out.push(fork.prev.is_some().into());
            out.extend(fork.prev.iter().flat_map(|prev| prev.0));
            put_varint(&mut out, fork.changes.len() as u64);
            fork.changes.iter().for_each(|change| out.extend_from_slice(&change.0));
        }
        out
    }

    pub(super) fn open_head(
        section: &Section<'_>,
        author: AuthorId,
        types: TypeTable,
        root: TypeIx,
        bundles: Vec<Arc<[u8]>>,
    ) -> Result<Self, SnapshotError> {
        if section.bytes.get(..32) != Some(&fingerprint(&types)[..]) {
            return Err(SnapshotError::OtherType);
        }
        let mut reader = Reader::new(section.bytes.get(32..).unwrap_or_default());
        let state = read(&mut reader, author, types, root, bundles);
        state.map_err(|error| section.decode_error(&error))
    }
}

fn read(
    reader: &mut Reader<'_>,
    editor: AuthorId,
    types: TypeTable,
    root: TypeIx,
    bundles: Vec<Arc<[u8]>>,
) -> Result<State, DecodeError> {
    let document = DocumentId(reader.array("the document")?);
    let changes = reader.varint("the changes")?;
    let floor = reader.varint("the next op number")?;
    let mut authors = Vec::new();
    for _ in 0..reader.count("authors", usize::MAX, 32)? {
        authors.push(AuthorId(reader.array("an author")?));
    }
    if authors.iter().collect::<BTreeSet<_>>().len() != authors.len() {
        return Err(DecodeError::Malformed("an author that is there twice"));
    }
    let mut branches: Vec<Branch> = Vec::new();
    for _ in 0..reader.count("branches", usize::MAX, 3)? {
        let author = reader.varint("an author")? as u32;
        let parent = match reader.varint("a branch")? {
            0 => None,
            above => Some(((above - 1) as u32, reader.varint("a seq")? as u32)),
        };
        let first_seq = reader.varint("a seq")? as u32;
        // That the parent has such a change is seen when the rows are read.
        let is_linked = match parent {
            None => first_seq == 1,
            Some((parent, seq)) => {
                let parent = branches.get(parent as usize);
                parent.is_some_and(|parent| parent.author == author) && seq.checked_add(1) == Some(first_seq)
            }
        };
        if author as usize >= authors.len() || !is_linked {
            return Err(DecodeError::Malformed("a branch of nobody or nothing"));
        }
        branches.push(Branch::new(author, parent, first_seq));
    }
    let mut sources = Vec::new();
    for _ in 0..reader.count("declarations", usize::MAX, 1)? {
        let change = reader.varint("a change")?;
        if change >= changes {
            return Err(DecodeError::Malformed("a declaration that is no change"));
        }
        sources.push(change as u32);
    }
    let mut kept = BTreeMap::new();
    for _ in 0..reader.count("tips", usize::MAX, 33)? {
        let change = reader.varint("a change")?;
        if change >= changes {
            return Err(DecodeError::Malformed("a tip that is no change"));
        }
        kept.insert(change as u32, Digest(reader.array("a digest")?));
    }
    let mut forks = BTreeMap::new();
    for _ in 0..reader.count("forks", usize::MAX, 34)? {
        let author = AuthorId(reader.array("an author")?);
        let seq = reader.varint("a seq")?;
        let prev = match reader.byte("a change")? {
            0 => None,
            _ => Some(Digest(reader.array("a change")?)),
        };
        let mut rivals = BTreeSet::new();
        for _ in 0..reader.count("changes", usize::MAX, 32)? {
            rivals.insert(Digest(reader.array("a change")?));
        }
        forks.insert((author, seq, prev), rivals);
    }
    reader.end()?;
    let rows = u32::try_from(changes).map_err(|_| DecodeError::Malformed("more changes than fit"))?;
    let cold = Cold::new(rows, bundles, kept);
    if cold.claims().0 != changes {
        return Err(DecodeError::Malformed("not as many changes as the history has"));
    }
    let mut state = State::with_types(document, editor, types, root);
    state.sources = sources;
    state.history.restore(authors, branches, forks, floor, cold);
    state.author = state.history.author(editor);
    Ok(state)
}

/// A hash of all that the types of a document say.
fn fingerprint(types: &TypeTable) -> [u8; 32] {
    sha256(&[types.description().as_bytes()])
}
