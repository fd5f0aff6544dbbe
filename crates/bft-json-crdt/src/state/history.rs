//! The changes of a document as dense numbers: chains, branches, heads, and what lies in whose past.
//!
//! Authors and changes are interned once. A branch is one line of an author who never forked; each fork
//! starts a branch of its own, so that (branch, seq) names a change although its author lies. Only the
//! bodies of changes are stored as bytes; the rest of the encoding is rebuilt from these columns.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use crate::change::{Change, Digest, DocumentId, Header};
use crate::keypair::AuthorId;
use crate::state::branch::Branch;
use crate::state::digest_index::DigestIndex;
use crate::state::past::Past;

pub(crate) mod cold;
mod naming;
mod order;
mod restoring;

use cold::Cold;
use order::Order;
pub(crate) use restoring::RowSeed;

/// A change's place in the columns. Also taken by edits that are not signed yet.
pub(crate) type ChangeIx = u32;
/// The lamport of an edit that is not signed: after everything that is.
pub(crate) const LAMPORT_UNSIGNED: u32 = u32::MAX;

/// A change's author and those of its table, as numbers; none for one that the document has never heard of.
pub(crate) type Cast = SmallVec<[Option<u32>; 2]>;

/// An op number without its author's key: which change, and which of the numbers that the change claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Made {
    pub(crate) change: ChangeIx,
    pub(crate) place: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Made here, not signed yet.
    Unsigned,
    /// Made here and given up.
    Undone,
    /// In the document's history.
    Signed,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) status: Status,
    /// `apply` has taken it in (a local change is signed first and recorded then).
    pub(crate) is_recorded: bool,
    /// Its own signature was checked and is valid.
    pub(crate) is_vouched: bool,
    pub(crate) branch: u32,
    pub(crate) seq: u32,
    pub(crate) lamport: u32,
    pub(crate) span: u32,
    pub(crate) first_counter: u64,
    body_start: u64,
    body_len: u32,
    deps: u32,
    pub(crate) past: Past,
}

#[derive(Clone)]
struct Author {
    id: AuthorId,
    branches: Vec<u32>,
}

/// Evidence that a key lied: two or more authentic changes after the same previous one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equivocation {
    /// The key that signed them all.
    pub author: AuthorId,
    /// The position in the chain that they compete for.
    pub seq: u64,
    /// The change that they all name; none where the whole chain was begun twice.
    pub prev: Option<Digest>,
    /// The competing changes, ascending.
    pub changes: Vec<Digest>,
}

/// Why a change is invalid: a verdict that follows from the change and its causal past alone, so that every
/// replica reaches the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalidity {
    /// The seq does not follow that of the previous change.
    #[error("seq does not follow the previous change")]
    Seq,
    /// The change named as previous is another author's.
    #[error("the previous change is another author's")]
    ForeignPrev,
    /// The lamport is not one more than the highest in the causal past.
    #[error("lamport does not follow from the causal past")]
    Lamport,
    /// An op number was used before in this chain.
    #[error("op numbers do not rise along the chain")]
    OpNumber,
    /// An op names something outside of its causal past.
    #[error("names something outside of its causal past")]
    NameOutsidePast,
    /// An op says that the document follows a source of its author's, and its id says otherwise.
    #[error("the document is not derived from this author and name")]
    NotTheSource,
    /// A change of the default document holds exactly one op.
    #[error("a change of the default document holds exactly one op")]
    OpsInDefaultDocument,
}

/// Where a change stands: enough to say what lies in its past.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) branch: BranchOf,
    pub(crate) seq: u32,
    pub(crate) lamport: u32,
    pub(crate) past: Past,
}

/// The branch that a change goes on, or the new one that it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BranchOf {
    Known(u32),
    New { author: u32, parent: Option<(u32, u32)> },
}

impl Standing {
    fn branch_number(&self) -> u32 {
        match self.branch {
            BranchOf::Known(branch) => branch,
            BranchOf::New { .. } => u32::MAX,
        }
    }
}

#[derive(Clone)]
pub(crate) struct History {
    pub(crate) document: DocumentId,
    rows: Vec<Row>,
    /// What of the first rows is not in the columns below.
    cold: Cold,
    digests: Vec<Digest>,
    signatures: Vec<[u8; 64]>,
    deps: Vec<Box<[ChangeIx]>>,
    bodies: Vec<u8>,
    by_digest: DigestIndex,
    authors: Vec<Author>,
    by_author: BTreeMap<AuthorId, u32>,
    branches: Vec<Branch>,
    heads: BTreeSet<ChangeIx>,
    signed: usize,
    order: Order,
    /// Above every op number that an unsigned edit has claimed.
    counter_floor: u64,
    forks: BTreeMap<(AuthorId, u64, Option<Digest>), BTreeSet<Digest>>,
}

#[expect(
    clippy::indexing_slicing,
    reason = "the numbers of changes, branches and authors are made here only"
)]
impl History {
    pub(crate) fn new(document: DocumentId) -> Self {
        Self {
            document,
            rows: Vec::new(),
            cold: Cold::default(),
            digests: Vec::new(),
            signatures: Vec::new(),
            deps: Vec::new(),
            bodies: Vec::new(),
            by_digest: DigestIndex::default(),
            authors: Vec::new(),
            by_author: BTreeMap::new(),
            branches: Vec::new(),
            heads: BTreeSet::new(),
            signed: 0,
            order: Order::default(),
            counter_floor: 1,
            forks: BTreeMap::new(),
        }
    }

    /// How many signed changes the document has.
    pub(crate) fn len(&self) -> usize {
        self.signed
    }

    /// The number that the next change or edit gets.
    pub(crate) fn next_row(&self) -> ChangeIx {
        self.rows.len() as ChangeIx
    }

    pub(crate) fn row(&self, change: ChangeIx) -> &Row {
        &self.rows[change as usize]
    }

    pub(crate) fn row_mut(&mut self, change: ChangeIx) -> &mut Row {
        &mut self.rows[change as usize]
    }

    pub(crate) fn branch_mut(&mut self, branch: u32) -> &mut Branch {
        &mut self.branches[branch as usize]
    }

    pub(crate) fn author_of(&self, change: ChangeIx) -> AuthorId {
        self.author_id(self.branches[self.row(change).branch as usize].author)
    }

    pub(crate) fn author_id(&self, author: u32) -> AuthorId {
        self.authors[author as usize].id
    }

    /// Interns an author.
    pub(crate) fn author(&mut self, id: AuthorId) -> u32 {
        if let Some(author) = self.by_author.get(&id) {
            return *author;
        }
        let author = self.authors.len() as u32;
        self.authors.push(Author { id, branches: Vec::new() });
        self.by_author.insert(id, author);
        author
    }

    /// How many rows there are, signed or not.
    pub(crate) fn row_count(&self) -> ChangeIx {
        self.rows.len() as ChangeIx
    }

    /// What some heads and their pasts contain.
    pub(crate) fn past_of(&self, heads: &[ChangeIx]) -> Past {
        let mut past = Past::default();
        for head in heads {
            let row = self.row(*head);
            past.merge(&row.past);
            past.raise(row.branch, row.seq);
        }
        past
    }

    /// The next op number of unsigned edits, at least.
    pub(crate) fn counter_floor(&self) -> u64 {
        self.counter_floor
    }

    pub(crate) fn author_count(&self) -> usize {
        self.authors.len()
    }

    pub(crate) fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// The other heads that a change names.
    pub(crate) fn deps_of(&self, change: ChangeIx) -> &[ChangeIx] {
        self.deps.get(self.row(change).deps as usize).map(|deps| &deps[..]).unwrap_or_default()
    }

    /// Whether a past contains a signed change.
    pub(crate) fn is_within(&self, past: &Past, change: ChangeIx) -> bool {
        let row = self.row(change);
        past.seq_of(row.branch) >= row.seq
    }

    /// Whether `change` lies at or before `standing`, which is not itself in the columns yet.
    pub(crate) fn reaches(&self, standing: &Standing, change: ChangeIx) -> bool {
        let row = self.row(change);
        row.status == Status::Signed
            && (if row.branch == standing.branch_number() {
                row.seq <= standing.seq
            } else {
                standing.past.seq_of(row.branch) >= row.seq
            })
    }

    /// The standing of a change that is in the columns.
    pub(crate) fn standing(&self, change: ChangeIx) -> Standing {
        let row = self.row(change);
        Standing {
            branch: BranchOf::Known(row.branch),
            seq: row.seq,
            lamport: row.lamport,
            past: row.past.clone(),
        }
    }

    /// Whether `earlier` lies in the past of `later`, or is it.
    pub(crate) fn is_in_past(&self, earlier: ChangeIx, later: ChangeIx) -> bool {
        let (a, b) = (self.row(earlier), self.row(later));
        earlier == later
            || (a.status == Status::Signed
                && if a.branch == b.branch { a.seq <= b.seq } else { b.past.seq_of(a.branch) >= a.seq })
    }

    /// Whether no author is known to have signed two changes after the same one: then every op number means
    /// one thing.
    pub(crate) fn is_without_forks(&self) -> bool {
        self.forks.is_empty()
    }

    /// The order of siblings: lamport descending, author, digest, place in the change.
    pub(crate) fn sibling_order(&self, a: Made, b: Made) -> Ordering {
        let (row_a, row_b) = (self.row(a.change), self.row(b.change));
        row_b
            .lamport
            .cmp(&row_a.lamport)
            .then_with(|| self.author_of(a.change).cmp(&self.author_of(b.change)))
            .then_with(|| self.compare_digests(a.change, b.change))
            // Only unsigned edits share a digest; the later one will have the higher lamport.
            .then_with(|| b.change.cmp(&a.change))
            .then_with(|| a.place.cmp(&b.place))
    }

    /// The register's order, after the rank: lamport, author, digest, place in the change.
    pub(crate) fn order(&self, a: Made, b: Made) -> Ordering {
        let (row_a, row_b) = (self.row(a.change), self.row(b.change));
        row_a
            .lamport
            .cmp(&row_b.lamport)
            .then_with(|| self.author_of(a.change).cmp(&self.author_of(b.change)))
            .then_with(|| self.compare_digests(a.change, b.change))
            // Only unsigned edits share a digest; the later one is the newer.
            .then_with(|| a.change.cmp(&b.change))
            .then_with(|| a.place.cmp(&b.place))
    }

    fn compare_digests(&self, a: ChangeIx, b: ChangeIx) -> Ordering {
        if a == b { Ordering::Equal } else { self.digest(a).cmp(&self.digest(b)) }
    }

    /// Judges a change whose prev and deps are all known: where it stands, or why it is invalid.
    pub(crate) fn place(&mut self, change: &Change) -> Result<Standing, Invalidity> {
        let header = change.header();
        if self.document == DocumentId::DEFAULT && change.op_count() != 1 {
            return Err(Invalidity::OpsInDefaultDocument);
        }
        let prev = header.prev.and_then(|digest| self.find(&digest));
        let deps: Vec<ChangeIx> = header.deps.iter().filter_map(|digest| self.find(digest)).collect();
        let author = self.author(header.author);
        if let Some(prev) = prev {
            let row = self.row(prev);
            if self.branches[row.branch as usize].author != author {
                return Err(Invalidity::ForeignPrev);
            }
            if header.first_counter < row.first_counter + u64::from(row.span) {
                return Err(Invalidity::OpNumber);
            }
        }
        let standing = self.standing_after(author, prev, &deps);
        if header.seq != u64::from(standing.seq) {
            return Err(Invalidity::Seq);
        }
        if header.lamport != u64::from(standing.lamport) {
            return Err(Invalidity::Lamport);
        }
        Ok(standing)
    }

    /// Where a change by `author` after `prev` and `deps` stands.
    pub(crate) fn standing_after(&self, author: u32, prev: Option<ChangeIx>, deps: &[ChangeIx]) -> Standing {
        let (branch, seq, mut past, mut lamport) = match prev {
            None => {
                // A branch without changes is one that unsigned edits have reserved.
                let mut branches = self.authors[author as usize].branches.iter();
                let reserved = branches.find(|branch| self.branches[**branch as usize].changes.is_empty());
                let branch = match reserved {
                    Some(branch) => BranchOf::Known(*branch),
                    None => BranchOf::New { author, parent: None },
                };
                (branch, 1, Past::default(), 0)
            }
            Some(prev) => {
                let row = self.row(prev);
                let mut past = row.past.clone();
                let branch = if self.branches[row.branch as usize].changes.last() == Some(&prev) {
                    BranchOf::Known(row.branch)
                } else {
                    past.raise(row.branch, row.seq);
                    BranchOf::New { author, parent: Some((row.branch, row.seq)) }
                };
                (branch, row.seq + 1, past, row.lamport)
            }
        };
        for dep in deps {
            let row = self.row(*dep);
            past.merge(&row.past);
            past.raise(row.branch, row.seq);
            lamport = lamport.max(row.lamport);
        }
        Standing { branch, seq, lamport: lamport + 1, past }
    }

    /// Takes in a change that `place` found valid.
    pub(crate) fn insert(&mut self, change: &Change, standing: Standing, is_vouched: bool) -> ChangeIx {
        let body = change.body_bytes();
        let body_start = self.bodies.len() as u64;
        self.bodies.extend_from_slice(body);
        let ix = self.rows.len() as ChangeIx;
        self.rows.push(Row {
            status: Status::Signed,
            is_recorded: true,
            is_vouched,
            branch: 0,
            seq: standing.seq,
            lamport: standing.lamport,
            span: change.span() as u32,
            first_counter: change.header().first_counter,
            body_start,
            body_len: body.len() as u32,
            deps: u32::MAX,
            past: standing.past.clone(),
        });
        self.digests.push(change.digest());
        self.signatures.push(*change.signature());
        self.link(ix, change, standing);
        ix
    }

    /// Enters a row into chains, heads and the index of digests.
    fn link(&mut self, ix: ChangeIx, change: &Change, standing: Standing) {
        let header = change.header();
        let branch = match standing.branch {
            BranchOf::Known(branch) => branch,
            BranchOf::New { author, parent } => {
                let branch = self.branches.len() as u32;
                self.branches.push(Branch::new(author, parent, standing.seq));
                if !self.authors[author as usize].branches.is_empty() {
                    self.note_fork(author, parent, header, change.digest());
                }
                self.authors[author as usize].branches.push(branch);
                branch
            }
        };
        let deps: Vec<ChangeIx> = header.deps.iter().filter_map(|digest| self.find(digest)).collect();
        let prev = header.prev.and_then(|digest| self.find(&digest));
        for seen in deps.iter().chain(&prev) {
            self.heads.remove(seen);
        }
        let row = &mut self.rows[ix as usize];
        row.branch = branch;
        if !deps.is_empty() {
            row.deps = self.deps.len() as u32;
            self.deps.push(deps.into());
        }
        self.branches[branch as usize].push(ix, header.first_counter);
        let Self { digests, cold, by_digest, .. } = self;
        by_digest.insert(change.digest(), ix, |ix| match ix.checked_sub(cold.rows()) {
            Some(at) => digests[at as usize],
            None => cold.kept(ix),
        });
        self.heads.insert(ix);
        self.signed += 1;
        self.enter(ix);
    }

    fn note_fork(&mut self, author: u32, parent: Option<(u32, u32)>, header: &Header, digest: Digest) {
        let seq = header.seq;
        let rival = match parent {
            Some((branch, seq)) => self.at_seq(branch, seq + 1),
            None => self.authors[author as usize]
                .branches
                .iter()
                .map(|branch| &self.branches[*branch as usize])
                .find(|branch| branch.parent.is_none())
                .and_then(|branch| branch.changes.first().copied()),
        };
        let rival = rival.map(|rival| self.digest(rival));
        let evidence = self.forks.entry((header.author, seq, header.prev)).or_default();
        evidence.insert(digest);
        evidence.extend(rival);
    }

    fn at_seq(&self, branch: u32, seq: u32) -> Option<ChangeIx> {
        let branch = &self.branches[branch as usize];
        branch.changes.get(seq.checked_sub(branch.first_seq)? as usize).copied()
    }

    /// Reserves a row for a local edit that is not signed yet, on the branch that its author will go on.
    pub(crate) fn reserve(&mut self, author: u32, span: u32) -> ChangeIx {
        let branch = match self.tip(author) {
            Some(tip) => self.row(tip).branch,
            None => match self.authors[author as usize].branches.last() {
                Some(branch) => *branch,
                None => {
                    let branch = self.branches.len() as u32;
                    self.branches.push(Branch::new(author, None, 1));
                    self.authors[author as usize].branches.push(branch);
                    branch
                }
            },
        };
        let ix = self.rows.len() as ChangeIx;
        let first_counter = self.next_counter(author, span);
        self.rows.push(Row {
            status: Status::Unsigned,
            is_recorded: false,
            is_vouched: true,
            branch,
            seq: u32::MAX,
            lamport: LAMPORT_UNSIGNED,
            span,
            first_counter,
            body_start: 0,
            body_len: 0,
            deps: u32::MAX,
            past: Past::default(),
        });
        self.digests.push(Digest([0; 32]));
        self.signatures.push([0; 64]);
        ix
    }

    /// Whether a reserved row has the highest op numbers of all, so that it can claim more.
    pub(crate) fn is_last_claimed(&self, change: ChangeIx) -> bool {
        let row = self.row(change);
        row.first_counter + u64::from(row.span) == self.counter_floor
    }

    /// Lets a reserved row, the last that claimed, claim more op numbers.
    pub(crate) fn extend(&mut self, change: ChangeIx, span: u32) {
        self.row_mut(change).span += span;
        self.counter_floor += u64::from(span);
    }

    /// The branches of an author.
    pub(crate) fn branches_of(&self, author: &AuthorId) -> impl Iterator<Item = u32> + '_ {
        let author = self.by_author.get(author).map(|author| &self.authors[*author as usize]);
        author.into_iter().flat_map(|author| author.branches.iter().copied())
    }

    /// Takes back what a reserved row, the last that claimed, claimed from `place` on.
    pub(crate) fn unclaim(&mut self, change: ChangeIx, place: u32) {
        let row = self.row_mut(change);
        row.span = place;
        self.counter_floor = row.first_counter + u64::from(place);
    }

    /// The author of a change, by the author's number.
    pub(crate) fn branch_author(&self, change: ChangeIx) -> u32 {
        self.branches[self.row(change).branch as usize].author
    }

    /// Whether an author can claim so many op numbers more.
    pub(crate) fn has_numbers(&self, author: u32, span: u64) -> bool {
        self.free_counter(author).checked_add(span).is_some()
    }

    /// Leaves out op numbers: the author's next edit claims later ones.
    pub(crate) fn skip_numbers(&mut self, author: u32, count: u64) {
        self.counter_floor = self.free_counter(author).saturating_add(count);
    }

    /// Claims op numbers, and returns the first.
    fn next_counter(&mut self, author: u32, span: u32) -> u64 {
        let counter = self.free_counter(author);
        self.counter_floor = counter + u64::from(span);
        counter
    }

    /// The next free op number: above all that the author's branches and earlier unsigned edits claim.
    fn free_counter(&self, author: u32) -> u64 {
        let branches = self.authors[author as usize].branches.iter();
        let tips = branches.filter_map(|branch| self.branches[*branch as usize].changes.last());
        let signed = tips.map(|tip| self.row(*tip)).map(|row| row.first_counter + u64::from(row.span));
        signed.max().unwrap_or(1).max(self.counter_floor)
    }

    /// Turns a reserved row into a change of the history.
    pub(crate) fn settle(&mut self, ix: ChangeIx, change: &Change, standing: Standing) {
        let body = change.body_bytes();
        let body_start = self.bodies.len() as u64;
        self.bodies.extend_from_slice(body);
        let row = self.row_mut(ix);
        row.body_start = body_start;
        row.body_len = body.len() as u32;
        row.status = Status::Signed;
        row.seq = standing.seq;
        row.lamport = standing.lamport;
        row.past = standing.past.clone();
        let at = (ix - self.cold.rows()) as usize;
        self.digests[at] = change.digest();
        self.signatures[at] = *change.signature();
        self.link(ix, change, standing);
    }

    /// The change that an author's next one follows: of its tips, that with the highest (seq, digest).
    pub(crate) fn tip(&self, author: u32) -> Option<ChangeIx> {
        let tips = self.authors[author as usize].branches.iter();
        tips.filter_map(|branch| self.branches[*branch as usize].changes.last().copied())
            .max_by_key(|tip| (self.row(*tip).seq, self.digest(*tip)))
    }

    /// Changes that no known change builds on, ascending by digest.
    pub(crate) fn heads(&self) -> Vec<Digest> {
        let mut heads: Vec<Digest> = self.heads.iter().map(|head| self.digest(*head)).collect();
        heads.sort_unstable();
        heads
    }

    pub(crate) fn head_numbers(&self) -> impl Iterator<Item = ChangeIx> + '_ {
        self.heads.iter().copied()
    }

    /// Per author the (seq, digest) of every tip: one, unless the author forked.
    pub(crate) fn version_vector(&self) -> BTreeMap<AuthorId, Vec<(u64, Digest)>> {
        let mut vector = BTreeMap::new();
        for author in &self.authors {
            let branches = author.branches.iter().map(|branch| &self.branches[*branch as usize]);
            let tips = branches.filter_map(|branch| branch.changes.last());
            let mut tips: Vec<(u64, Digest)> =
                tips.map(|tip| (self.row(*tip).seq.into(), self.digest(*tip))).collect();
            tips.sort_unstable();
            if !tips.is_empty() {
                vector.insert(author.id, tips);
            }
        }
        vector
    }

    pub(crate) fn equivocations(&self) -> Vec<Equivocation> {
        let forks = self.forks.iter();
        forks
            .map(|((author, seq, prev), changes)| Equivocation {
                author: *author,
                seq: *seq,
                prev: *prev,
                changes: changes.iter().copied().collect(),
            })
            .collect()
    }

    /// The change before another one of its author.
    pub(crate) fn prev_of(&self, ix: ChangeIx) -> Option<ChangeIx> {
        let row = self.row(ix);
        let branch = &self.branches[row.branch as usize];
        if row.seq > branch.first_seq {
            self.at_seq(row.branch, row.seq - 1)
        } else {
            branch.parent.and_then(|(branch, seq)| self.at_seq(branch, seq))
        }
    }

    /// Rebuilds a change from its columns.
    pub(crate) fn change(&self, ix: ChangeIx) -> Change {
        let row = self.row(ix);
        let prev = self.prev_of(ix);
        let deps = self.deps.get(row.deps as usize).map(|deps| &deps[..]).unwrap_or_default();
        let mut deps: Vec<Digest> = deps.iter().map(|dep| self.digest(*dep)).collect();
        deps.sort_unstable();
        let header = Header {
            document: self.document,
            author: self.author_of(ix),
            seq: row.seq.into(),
            prev: prev.map(|prev| self.digest(prev)),
            lamport: row.lamport.into(),
            first_counter: row.first_counter,
            deps,
        };
        let (digest, signature) = (self.digest(ix), self.signature(ix));
        Change::rebuild(header, self.body(ix), row.span.into(), digest, signature)
    }
}
