//! Changes that are linked and signed as they should be, and whose ops say anything at all.

use std::collections::BTreeMap;

use bft_json_crdt::bundle::{self, Signatures};
use bft_json_crdt::json_crdt::{BaseCrdt, Change, OpState};
use bft_json_crdt::keypair::Keypair;
use bft_json_crdt::{AuthorId, Digest};

use crate::forge::{self, Header};
use crate::kinds::{self, Part};

/// More changes than this teach nothing new.
const CHANGES_MAX: usize = 24;

/// One change to be: who signs it, and its ops.
///
/// ```text
/// lie       1 byte     flags: author (2 bits); 04 all are told; 08 it competes with the author's last change;
///                      10 and 20 the first and the second of the other authors, by key, are in its table
///           1 byte     how far its first op number is above that of the author's change before it
///           2 bytes    length of the rest, little-endian
///           bytes      count of ops and ops, as a change has them
/// ```
struct Lie<'a> {
    author: usize,
    shares: bool,
    competes: bool,
    table: [bool; 2],
    gap: u8,
    ops: &'a [u8],
}

impl<'a> Lie<'a> {
    fn read(data: &mut &'a [u8]) -> Option<Self> {
        let ([flags, gap, low, high], rest) = data.split_first_chunk()?;
        let (ops, rest) = rest.split_at_checked(u16::from_le_bytes([*low, *high]).into())?;
        *data = rest;
        let is_set = |bit: u8| flags & bit != 0;
        Some(Self {
            author: usize::from(flags & 3) % 3,
            shares: is_set(4),
            competes: is_set(8),
            table: [is_set(0x10), is_set(0x20)],
            gap: *gap,
            ops,
        })
    }
}

/// The other authors, in the order of a change's table.
fn others(author: &AuthorId) -> Vec<AuthorId> {
    let mut others: Vec<AuthorId> =
        kinds::keys().iter().map(Keypair::author).filter(|key| key != author).collect();
    others.sort_unstable();
    others
}

/// A history of [`kinds`], each change with a number of ops that fits, as [`lies`] reads it.
///
/// # Panics
///
/// If a change is by a stranger, or longer than a lie can be.
#[must_use]
pub fn told(history: &[Change]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut firsts: BTreeMap<Digest, u64> = BTreeMap::new();
    let mut tips: BTreeMap<AuthorId, Digest> = BTreeMap::new();
    for change in history {
        let (header, body) = forge::taken_apart(change);
        let author = kinds::keys().iter().position(|key| key.author() == change.author());
        let mut flags = u8::try_from(author.expect("one of the authors")).unwrap_or_default() | 4;
        if tips.get(&change.author()).copied() != change.prev() {
            flags |= 8;
        }
        let (mut ops, count) = forge::table_of(body);
        for (other, bit) in others(&change.author()).iter().zip([0x10, 0x20]) {
            if ops.chunks_exact(32).take(count).any(|key| key == other.0) {
                flags |= bit;
            }
        }
        ops = ops.get(count * 32..).unwrap_or_default();
        let before = change.prev().and_then(|prev| firsts.get(&prev).copied()).unwrap_or(0);
        let gap = u8::try_from(header.counter - before).expect("a history with small numbers");
        out.extend([flags, gap]);
        out.extend(u16::try_from(ops.len()).expect("a short change").to_le_bytes());
        out.extend(ops);
        firsts.insert(change.digest(), header.counter);
        tips.insert(change.author(), change.digest());
    }
    out
}

/// Changes as `Lie` draws them, on a document with every kind of node. Whoever gets the same ones must show the
/// same, however they came: told one by one, as a batch whose signatures are covered, in a bundle, or half of them out
/// of a snapshot. And honest edits go on.
pub fn lies(mut data: &[u8]) -> bool {
    let keys = kinds::keys();
    let mut team = keys.clone().map(|key| kinds::open(&key));
    let (mut all, mut refused): (Vec<Change>, Vec<Change>) = (Vec::new(), Vec::new());
    let mut firsts: BTreeMap<Digest, u64> = BTreeMap::new();
    while let Some(lie) = Lie::read(&mut data) {
        let (Some(base), Some(key)) = (team.get_mut(lie.author), keys.get(lie.author)) else { break };
        let Some(change) = signed(&lie, base, key, &firsts) else { continue };
        match base.apply_changes(vec![change.clone()]).states.first() {
            Some(OpState::Ok | OpState::NoEffect(_)) => {
                firsts.insert(change.digest(), forge::taken_apart(&change).0.counter);
                all.push(change);
            }
            Some(OpState::Invalid(_)) => refused.push(change),
            Some(OpState::AlreadySeen) => {}
            state => panic!("a lawful lie: {state:?}"),
        }
        if lie.shares {
            team.iter_mut().for_each(|base| tell(base, all.clone()));
        }
        if all.len() + refused.len() >= CHANGES_MAX {
            break;
        }
    }
    team.iter_mut().for_each(|base| tell(base, all.clone()));
    check_newcomers(&team, &all, &refused);
    let [alice, bob, _] = &mut team;
    for n in 0..2 {
        alice.begin();
        kinds::edit(&alice.doc, n);
        let Ok(made) = alice.commit(&keys[0]) else { continue };
        tell(bob, made);
        assert_eq!(kinds::portrait(alice), kinds::portrait(bob));
    }
    !all.is_empty() && refused.is_empty() && data.is_empty()
}

/// Gives a lie the place that its author's next change has, and a signature.
fn signed(
    lie: &Lie<'_>,
    base: &BaseCrdt<Part>,
    key: &Keypair,
    firsts: &BTreeMap<Digest, u64>,
) -> Option<Change> {
    let author = key.author();
    let tip = base.version_vector().get(&author).and_then(|tips| tips.last().copied()).map(|(_, tip)| tip);
    let (prev, deps) = match tip.and_then(|tip| base.change(&tip)) {
        // It has seen the same as the change that it competes with.
        Some(rival) if lie.competes => (rival.prev(), rival.deps().to_vec()),
        _ => (tip, base.heads().into_iter().filter(|head| Some(*head) != tip).collect()),
    };
    let seen = |digest: &Digest| base.change(digest);
    let lamport =
        deps.iter().chain(&prev).filter_map(seen).map(|change| change.lamport()).max().unwrap_or(0) + 1;
    let header = Header {
        document: base.document(),
        author,
        seq: prev.as_ref().and_then(seen).map_or(0, |prev| prev.seq()) + 1,
        prev,
        lamport,
        counter: prev.and_then(|prev| firsts.get(&prev).copied()).unwrap_or(0) + u64::from(lie.gap),
        deps,
    };
    let table: Vec<AuthorId> =
        others(&author).into_iter().zip(lie.table).filter(|(_, is_in)| *is_in).map(|(key, _)| key).collect();
    let mut body = vec![u8::try_from(table.len()).unwrap_or_default()];
    body.extend(table.iter().flat_map(|key| key.0));
    body.extend(lie.ops);
    let change = forge::put_together(&header, &body).ok()?;
    Some(change.with_signature(key.sign(&change.digest().0)))
}

fn tell(base: &mut BaseCrdt<Part>, changes: Vec<Change>) {
    let states = base.apply_changes(changes).states;
    assert!(states.iter().all(|state| !state.is_refused()), "{states:?}");
}

fn check_newcomers(team: &[BaseCrdt<Part>; 3], all: &[Change], refused: &[Change]) {
    let stranger = Keypair::from_seed(&[9; 32]);
    let mut backwards = kinds::open(&stranger);
    for change in refused.iter().chain(all.iter().rev()) {
        let _ = backwards.apply_changes(vec![change.clone()]);
    }
    // What a bundle leaves out is covered by a later change of the same author.
    let bundled = bundle::encode(all, Signatures::Covering).expect("changes of one document");
    let bundled = bundle::decode(&bundled).expect("a bundle that was encoded");
    let mut covered = kinds::open(&stranger);
    tell(&mut covered, bundled.map(|change| change.expect("as it was encoded").change).collect());
    let (before, after) = all.split_at(all.len() / 2);
    let mut half = kinds::open(&stranger);
    tell(&mut half, before.to_vec());
    let snapshot = half.save().expect("what was taken in can be saved");
    let mut opened = BaseCrdt::<Part>::open(&stranger, &snapshot).expect("what was saved can be opened");
    assert_eq!(kinds::portrait(&opened), kinds::portrait(&half));
    tell(&mut opened, after.to_vec());
    tell(&mut half, after.to_vec());
    let expected = kinds::portrait(&backwards);
    for base in team.iter().chain([&covered, &opened, &half]) {
        assert_eq!(base.change_count(), all.len());
        assert_eq!(kinds::portrait(base), expected);
    }
    assert!(refused.iter().all(|change| !backwards.contains(&change.digest())));
}
