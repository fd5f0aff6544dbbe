//! The changes of a document as dense numbers: chains, branches, heads, and what lies in whose past.
//!
//! Authors and changes are interned once. A branch is one line of an author who never forked; each fork
//! starts a branch of its own, so that (branch, seq) names a change although its author lies. Only the
//! bodies of changes are stored as bytes; the rest of the encoding is rebuilt from these columns.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::change::{Change, Digest, DocumentId, Header};
use crate::encoding::DecodeError;
use crate::keypair::AuthorId;
use crate::op::LongName;
use crate::state::past::Past;

/// A change's place in the columns. Also taken by edits that are not signed yet.
pub(crate) type ChangeIx = u32;
pub(crate) const NO_CHANGE: ChangeIx = u32::MAX;
/// The lamport of an edit that is not signed: after everything that is.
pub(crate) const LAMPORT_UNSIGNED: u32 = u32::MAX;

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

#[derive(Clone, Debug)]
pub(crate) struct Branch {
    pub(crate) author: u32,
    /// The branch and seq that it forked from.
    parent: Option<(u32, u32)>,
    first_seq: u32,
    pub(crate) changes: Vec<ChangeIx>,
    /// Nodes by the op number that made them, ascending.
    pub(crate) nodes: Vec<(u64, u32)>,
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
    digests: Vec<Digest>,
    signatures: Vec<[u8; 64]>,
    deps: Vec<Box<[ChangeIx]>>,
    bodies: Vec<u8>,
    by_digest: HashMap<Digest, ChangeIx>,
    authors: Vec<Author>,
    by_author: BTreeMap<AuthorId, u32>,
    branches: Vec<Branch>,
    heads: BTreeSet<ChangeIx>,
    signed: usize,
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
            digests: Vec::new(),
            signatures: Vec::new(),
            deps: Vec::new(),
            bodies: Vec::new(),
            by_digest: HashMap::new(),
            authors: Vec::new(),
            by_author: BTreeMap::new(),
            branches: Vec::new(),
            heads: BTreeSet::new(),
            signed: 0,
            counter_floor: 1,
            forks: BTreeMap::new(),
        }
    }

    /// How many signed changes the document has.
    pub(crate) fn len(&self) -> usize {
        self.signed
    }

    pub(crate) fn find(&self, digest: &Digest) -> Option<ChangeIx> {
        self.by_digest.get(digest).copied()
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

    pub(crate) fn digest(&self, change: ChangeIx) -> Digest {
        self.digests[change as usize]
    }

    pub(crate) fn body(&self, change: ChangeIx) -> &[u8] {
        let row = self.row(change);
        let start = row.body_start as usize;
        &self.bodies[start..start + row.body_len as usize]
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

    pub(crate) fn long_name(&self, made: Made) -> LongName {
        let row = self.row(made.change);
        LongName { author: self.author_of(made.change), counter: row.first_counter + u64::from(made.place) }
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

    /// Finds an op number in the past of `standing`. Under equivocation one number may stand for several
    /// ops; of those in the past, that of the smaller digest is meant. O(log changes) per branch.
    pub(crate) fn resolve(&self, name: &LongName, standing: &Standing) -> Option<Made> {
        let reach = |branch: u32| {
            if branch == standing.branch_number() { standing.seq } else { standing.past.seq_of(branch) }
        };
        self.all_named(name, reach).min_by_key(|made| self.digest(made.change))
    }

    /// All ops in the past of `standing`, or of all that is signed, that share the number of `made`.
    pub(crate) fn namesakes(&self, made: Made, standing: Option<&Standing>) -> Vec<Made> {
        let author = self.branches[self.row(made.change).branch as usize].author;
        if self.authors[author as usize].branches.len() == 1 {
            return vec![made];
        }
        let reach = |branch: u32| match standing {
            None => u32::MAX - 1,
            Some(standing) if branch == standing.branch_number() => standing.seq,
            Some(standing) => standing.past.seq_of(branch),
        };
        self.all_named(&self.long_name(made), reach).collect()
    }

    /// What an op number may stand for in each branch of its author, up to a seq.
    fn all_named<'a>(
        &'a self,
        name: &'a LongName,
        reach: impl Fn(u32) -> u32 + 'a,
    ) -> impl Iterator<Item = Made> + 'a {
        let author = self.by_author.get(&name.author).map(|author| &self.authors[*author as usize]);
        author.into_iter().flat_map(|author| &author.branches).filter_map(move |number| {
            let branch = &self.branches[*number as usize];
            let count =
                ((reach(*number) + 1).saturating_sub(branch.first_seq) as usize).min(branch.changes.len());
            let changes = &branch.changes[..count];
            let after = changes.partition_point(|c| self.row(*c).first_counter <= name.counter);
            let change = changes[after.checked_sub(1)?];
            let place = name.counter - self.row(change).first_counter;
            (place < u64::from(self.row(change).span)).then_some(Made { change, place: place as u32 })
        })
    }

    /// The node that an op number made, if it made one.
    pub(crate) fn node_of(&self, made: Made) -> Option<u32> {
        let row = self.row(made.change);
        let nodes = &self.branches[row.branch as usize].nodes;
        let counter = row.first_counter + u64::from(made.place);
        let at = nodes.binary_search_by_key(&counter, |(counter, _)| *counter).ok()?;
        nodes.get(at).map(|(_, node)| *node)
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
                self.branches.push(Branch {
                    author,
                    parent,
                    first_seq: standing.seq,
                    changes: Vec::new(),
                    nodes: Vec::new(),
                });
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
        self.branches[branch as usize].changes.push(ix);
        self.by_digest.insert(change.digest(), ix);
        self.heads.insert(ix);
        self.signed += 1;
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
    pub(crate) fn reserve(&mut self, author: u32, body: &[u8], span: u32) -> ChangeIx {
        let branch = match self.tip(author) {
            Some(tip) => self.row(tip).branch,
            None => match self.authors[author as usize].branches.last() {
                Some(branch) => *branch,
                None => {
                    let branch = self.branches.len() as u32;
                    self.branches.push(Branch {
                        author,
                        parent: None,
                        first_seq: 1,
                        changes: Vec::new(),
                        nodes: Vec::new(),
                    });
                    self.authors[author as usize].branches.push(branch);
                    branch
                }
            },
        };
        let body_start = self.bodies.len() as u64;
        self.bodies.extend_from_slice(body);
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
            body_start,
            body_len: body.len() as u32,
            deps: u32::MAX,
            past: Past::default(),
        });
        self.digests.push(Digest([0; 32]));
        self.signatures.push([0; 64]);
        ix
    }

    /// The next free op number: above all that the author's branches and earlier unsigned edits claim.
    fn next_counter(&mut self, author: u32, span: u32) -> u64 {
        let branches = self.authors[author as usize].branches.iter();
        let tips = branches.filter_map(|branch| self.branches[*branch as usize].changes.last());
        let signed = tips.map(|tip| self.row(*tip)).map(|row| row.first_counter + u64::from(row.span));
        let counter = signed.max().unwrap_or(1).max(self.counter_floor);
        self.counter_floor = counter + u64::from(span);
        counter
    }

    /// Turns a reserved row into a change of the history.
    pub(crate) fn settle(&mut self, ix: ChangeIx, change: &Change, standing: Standing) {
        let row = self.row_mut(ix);
        row.status = Status::Signed;
        row.seq = standing.seq;
        row.lamport = standing.lamport;
        row.past = standing.past.clone();
        self.digests[ix as usize] = change.digest();
        self.signatures[ix as usize] = *change.signature();
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

    /// Rebuilds a change from its columns.
    pub(crate) fn change(&self, ix: ChangeIx) -> Result<Change, DecodeError> {
        let row = self.row(ix);
        let branch = &self.branches[row.branch as usize];
        let prev = if row.seq > branch.first_seq {
            self.at_seq(row.branch, row.seq - 1)
        } else {
            branch.parent.and_then(|(branch, seq)| self.at_seq(branch, seq))
        };
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
        Change::join(header, self.body(ix), self.signatures[ix as usize])
    }
}
