//! Chunks that no writer makes: bombs, references to nothing, columns at odds with each other.

use std::convert::Infallible;

use super::layout::{ChangeColumns, KindColumns};
use super::*;
use crate::columns::{Deflater, Numbers, put_bytes_column, zigzag};
use crate::encoding::put_varint;

/// A bundle of one chunk, put together by hand.
struct Forged {
    changes: ChangeColumns<Numbers>,
    kinds: KindColumns<Numbers>,
    /// By id.
    bytes: Vec<(u8, Vec<u8>)>,
    count: u64,
    change_bytes: u64,
    authors: Vec<[u8; 32]>,
    outside: Vec<[u8; 32]>,
}

impl Forged {
    /// One author, and columns that are empty.
    fn new(count: u64) -> Self {
        let Ok(changes) = ChangeColumns::make(0, |_, _| Ok::<_, Infallible>(Numbers::default()));
        let Ok(kinds) = KindColumns::make(|_, _| Ok::<_, Infallible>(Numbers::default()));
        let (bytes, authors, outside) = (Vec::new(), vec![[5; 32]], Vec::new());
        Self { changes, kinds, bytes, count, change_bytes: 1 << 30, authors, outside }
    }

    /// As many save marks as there are changes, of one author, with what comes of it in each column.
    fn of_marks(count: u64) -> Self {
        let mut forged = Self::new(count);
        for at in 0..count {
            let c = &mut forged.changes;
            for column in [&mut c.author, &mut c.seq, &mut c.lamport, &mut c.first_number] {
                column.push(0);
            }
            for column in [&mut c.deps, &mut c.named, &mut c.ops, &mut c.is_signed] {
                column.push(0);
            }
            if at > 0 {
                c.prev.push(0);
            }
        }
        forged
    }

    /// One change with an op of a kind at the root.
    fn of_op(kind: u64) -> Self {
        let mut forged = Self::of_marks(1);
        forged.changes.ops = Numbers::default();
        forged.changes.ops.push(1);
        forged.changes.kind.push(kind);
        forged.changes.rank.push(1);
        forged
    }

    fn of_set() -> Self {
        let mut forged = Self::of_op(1);
        for column in [&mut forged.kinds.set.node, &mut forged.kinds.set.path] {
            column.push(0);
        }
        forged.kinds.set.names.push(1);
        forged
    }

    fn build(&self) -> Vec<u8> {
        let mut payload = vec![CHUNK_OF_CHANGES];
        put_varint(&mut payload, self.count);
        for table in [&self.authors, &self.outside] {
            put_varint(&mut payload, table.len() as u64);
            table.iter().for_each(|entry| payload.extend_from_slice(entry));
        }
        put_varint(&mut payload, 0);
        let deflater = &mut Deflater::new();
        self.changes.each(0, |id, column| column.put_column(&mut payload, id, deflater));
        for (id, bytes) in &self.bytes {
            put_bytes_column(&mut payload, *id, bytes, deflater);
        }
        self.kinds.each(|id, column| column.put_column(&mut payload, id, deflater));
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        out.extend_from_slice(&[7; 32]);
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.change_bytes.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
        out.extend_from_slice(&payload);
        out
    }

    /// Decodes it, and says what is wrong.
    #[track_caller]
    fn check(&self, expect: &str) {
        let bundle = self.build();
        let decoded: Result<Vec<_>, _> = decode(&bundle).unwrap().collect();
        let error = decoded.map(|changes| changes.len()).expect_err(expect);
        let mut text = error.to_string();
        if let BundleError::Change { source, .. } = &error {
            text += &format!(": {source}");
        }
        assert!(text.contains(expect), "{text}");
    }
}

#[test]
fn what_is_forged_well_is_taken() {
    let mut forged = Forged::of_marks(3);
    let len = |bundle: &[u8]| {
        let changes = decode(bundle).unwrap().map_while(Result::ok);
        changes.map(|change| change.change.bytes().len() as u64).sum()
    };
    forged.change_bytes = len(&forged.build());
    assert_eq!(decode(&forged.build()).unwrap().map(Result::unwrap).count(), 3);
    let mut set = Forged::of_set();
    set.kinds.in_sets.tag.push(2);
    set.change_bytes = len(&set.build());
    assert_eq!(decode(&set.build()).unwrap().map(Result::unwrap).count(), 1);
}

#[test]
fn a_bundle_gives_no_more_than_its_head_says() {
    let mut forged = Forged::of_marks(3);
    forged.change_bytes = 200;
    forged.check("bytes of changes: 201, at most 200");
    forged.change_bytes = 1 << 40;
    forged.check("before what its head says");
}

#[test]
fn a_chunk_has_its_limits() {
    Forged::of_marks(CHUNK_CHANGES_MAX as u64 + 1).check("changes: 16385, at most 16384");
    Forged::of_marks(0).check("the count of changes: 0");
}

#[test]
fn a_bomb_goes_off_at_the_limit_of_a_change() {
    let mut forged = Forged::of_set();
    forged.kinds.in_sets.tag.push(7);
    forged.kinds.in_sets.count.push(CHANGE_BYTES_MAX as u64);
    (0..CHANGE_BYTES_MAX).for_each(|_| forged.kinds.in_sets.tag.push(0));
    assert!(forged.build().len() < 300);
    forged.check("a change in bytes");
}

#[test]
fn a_bomb_of_strings_goes_off_at_the_limit_of_a_change() {
    let mut forged = Forged::of_set();
    forged.bytes = vec![(0x1b, [&[0x80, 0x80, 4][..], &vec![b'a'; 1 << 16]].concat())];
    forged.kinds.in_sets.tag.push(7);
    forged.kinds.in_sets.count.push(1_000_000);
    for _ in 0..1_000_000 {
        forged.kinds.in_sets.tag.push(6);
        forged.kinds.in_sets.string.push(1);
    }
    forged.check("a change in bytes");
}

#[test]
fn a_column_that_inflates_to_more_than_a_chunk_may_is_not_inflated() {
    let mut forged = Forged::of_marks(1);
    let half = vec![0; CHUNK_INFLATED_BYTES_MAX / 2];
    forged.bytes = vec![(0x1a, half.clone()), (0x1b, [&half[..], &[0]].concat())];
    assert!(forged.build().len() < 100_000);
    forged.check("inflated bytes of columns: ");
    // At the limit it is inflated, and nothing uses it.
    forged.bytes = vec![(0x1a, half.clone()), (0x1b, half)];
    forged.check("shapes: ");
}

#[test]
fn nesting_is_bounded() {
    let mut forged = Forged::of_set();
    for _ in 0..100_000 {
        forged.kinds.in_sets.tag.push(7);
        forged.kinds.in_sets.count.push(1);
    }
    forged.check("the depth of a value");
    let mut forged = Forged::of_set();
    forged.bytes = vec![(0x18, vec![1, b'k']), (0x1a, vec![2, 1, 0])];
    for _ in 0..100_000 {
        forged.kinds.in_sets.tag.push(8);
        forged.kinds.in_sets.shape.push(0);
    }
    forged.check("the depth of a value");
}

#[test]
fn what_a_column_refers_to_must_be_there() {
    let mut forged = Forged::of_marks(2);
    forged.changes.prev = Numbers::default();
    forged.changes.prev.push(3);
    forged.check("prev: no such change");

    let mut forged = Forged::of_marks(1);
    forged.changes.seq = Numbers::default();
    forged.changes.seq.push(zigzag(4));
    forged.changes.prev.push(0);
    forged.check("prev: no such change");

    let mut forged = Forged::of_marks(1);
    forged.changes.deps = Numbers::default();
    forged.changes.deps.push(1);
    forged.changes.dep.push(0);
    forged.changes.outside.push(9);
    forged.check("outside: no such digest");

    let mut forged = Forged::of_set();
    forged.kinds.in_sets.tag.push(8);
    forged.kinds.in_sets.shape.push(0);
    forged.check("shapes: no such entry");

    let mut forged = Forged::of_set();
    forged.kinds.set.names = Numbers::default();
    forged.kinds.set.names.push(0);
    forged.check("names: nothing is expected here");

    let mut forged = Forged::of_marks(1);
    forged.authors.clear();
    forged.check("author: no such author");
}

#[test]
fn what_no_change_may_hold_is_refused_as_there() {
    Forged::of_op(11).check("op kind");
    let mut forged = Forged::of_set();
    forged.changes.rank = Numbers::default();
    forged.changes.rank.push(3);
    forged.kinds.in_sets.tag.push(0);
    forged.check("rank");

    let mut forged = Forged::of_set();
    forged.kinds.in_sets.tag.push(5);
    forged.kinds.in_sets.float.push(f64::NAN.to_bits());
    forged.check("NaN");

    // A dep twice.
    let mut forged = Forged::of_marks(1);
    forged.outside = vec![[3; 32]];
    forged.changes.deps = Numbers::default();
    forged.changes.deps.push(2);
    for _ in 0..2 {
        forged.changes.dep.push(0);
        forged.changes.outside.push(0);
    }
    forged.check("deps: out of order");

    // An author in the table that no op names.
    let mut forged = Forged::of_marks(1);
    forged.authors = vec![[5; 32], [6; 32]];
    forged.changes.named = Numbers::default();
    forged.changes.named.push(1);
    forged.changes.named_author.push(1);
    forged.check("an author that no op names");
}

#[test]
fn columns_are_used_up() {
    let mut forged = Forged::of_marks(2);
    forged.changes.lamport.push(0);
    forged.check("lamport: more numbers than are used");
    let mut forged = Forged::of_marks(2);
    forged.kinds.cut.amount.push(1);
    forged.check("amount: more numbers than are used");
    let mut forged = Forged::of_marks(2);
    forged.bytes = vec![(0x1f, vec![1])];
    forged.check("texts: more bytes than are used");
    let mut forged = Forged::of_marks(2);
    forged.bytes = vec![(0x17, vec![1])];
    forged.check("a column that this version does not know");
    let mut forged = Forged::of_marks(2);
    forged.changes.author = Numbers::default();
    forged.changes.author.push(0);
    forged.check("author: ends early");
}
