//! A set of records, and what follows from it.
//!
//! **What counts.** A node begins with its *roots*: its own key and the keys of its settings, with the rights that
//! those say. From there rights go down chains of at most [`CHAIN_MAX`] grants:
//!
//! - A key with the right to invite can grant what it has itself. A grant of more gives only that.
//! - A grant of a ticket gives nothing to its subject but the power to pass these rights on in one more grant.
//! - A grant that has expired counts for nothing, nor does what was granted on the strength of it.
//! - A revocation counts if its issuer may invite, *or ever might*: an invitation that has expired, or whose owner
//!   was revoked since, does not undo it. It takes all rights from the key for good. No grant brings them back,
//!   whatever it says and whenever it comes: whoever is to come back comes with a new key. What a revoked key has
//!   granted counts for nothing, so a revoked ticket takes those with it who joined by it.
//! - Roots are out of reach of others' revocations: a node's settings are its operator's word. Only the node's own
//!   revocation outdoes them ([`Policy`](crate::Policy) sees to that).
//!
//! All of this depends on the set alone, so ledgers are merged by union, in any order. Nothing here knows a clock:
//! `now_ms` is handed in.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::DocumentId;
use bft_json_crdt::keypair::AuthorId;

use crate::record::{Grant, Record, words};
use crate::rights::Rights;

/// Most grants between a root and a key.
pub const CHAIN_MAX: usize = 3;
/// Most records in a ledger.
pub const RECORDS_MAX: usize = 4_096;
/// Most bytes of records in a ledger.
pub const LEDGER_BYTES_MAX: usize = 1 << 20;

/// Keys that need no grant, with their rights.
pub type Roots = BTreeMap<AuthorId, Rights>;

/// Grants and revocations, each once. Bounded by [`RECORDS_MAX`] and [`LEDGER_BYTES_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// By statement, so that another signature of the same words is the same record.
    records: BTreeMap<Vec<u8>, Record>,
    bytes: usize,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Learned {
    /// It is in the ledger now.
    New,
    /// It was there.
    Known,
    /// It is not taken; nothing was changed but that useless records may have gone.
    Refused(Refusal),
}

/// Why a record is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Ask the issuer for a new one.
    #[error("the grant expired {ago_ms} ms ago")]
    Expired {
        /// For how long.
        ago_ms: u64,
    },
    /// Revoke less, or name keys in the settings.
    #[error("the ledger is full: {records} records of {bytes} bytes")]
    Full {
        /// How many it holds.
        records: usize,
        /// What they take.
        bytes: usize,
    },
}

impl Learned {
    /// Returns whether the record came in.
    #[must_use]
    pub fn is_new(&self) -> bool {
        matches!(self, Self::New)
    }
}

/// What follows from a ledger for one document at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Who may do something.
    pub held: BTreeMap<AuthorId, Held>,
    /// Who may do nothing any more.
    pub revoked: BTreeSet<AuthorId>,
}

/// What a key holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// What it may do.
    pub rights: Rights,
    /// What it may grant.
    pub passable: Rights,
    /// What people call it, by the grant nearest to a root; may be empty.
    pub name: String,
}

impl Ledger {
    /// Takes a record in, whether or not it counts for anything yet. Not an expired grant, unless it is of the
    /// right to invite: revocations may stand on it.
    ///
    /// Of a full ledger what is useless goes first; see [`Ledger::prune`]. A quarter of it is kept for what roots
    /// have issued, so that nobody else can keep them from revoking.
    pub fn learn(&mut self, record: Record, roots: &Roots, now_ms: u64) -> Learned {
        if self.records.contains_key(record.words()) {
            return Learned::Known;
        }
        let is_useless = |grant: &&Grant| grant.is_expired(now_ms) && !grant.rights.contains(Rights::INVITE);
        if let Some(grant) = record.grant().filter(is_useless) {
            return Learned::Refused(Refusal::Expired { ago_ms: now_ms.saturating_sub(grant.expires_at_ms) });
        }
        let is_of_root = roots.contains_key(&record.statement().issuer());
        if !self.has_room(record.bytes().len(), is_of_root) {
            self.prune(roots, now_ms);
            if !self.has_room(record.bytes().len(), is_of_root) {
                return Learned::Refused(Refusal::Full { records: self.records.len(), bytes: self.bytes });
            }
        }
        self.insert(record);
        Learned::New
    }

    /// Makes the ledger that had these records, also those that have expired since. What is over a bound is left
    /// out.
    pub fn restore(records: impl IntoIterator<Item = Record>) -> Self {
        let mut ledger = Self::default();
        for record in records {
            if ledger.has_room(record.bytes().len(), true) {
                ledger.insert(record);
            }
        }
        ledger
    }

    fn has_room(&self, bytes: usize, is_of_root: bool) -> bool {
        let share = |all: usize| if is_of_root { all } else { all / 4 * 3 };
        self.records.len() < share(RECORDS_MAX) && self.bytes + bytes <= share(LEDGER_BYTES_MAX)
    }

    fn insert(&mut self, record: Record) {
        let bytes = record.bytes().len();
        if let Entry::Vacant(place) = self.records.entry(record.words().to_vec()) {
            place.insert(record);
            self.bytes += bytes;
        }
    }

    /// Lets go of what is useless: records whose chain leads to no root, and expired grants. Returns how many.
    ///
    /// Grants of the right to invite stay, because revocations may stand on them.
    pub fn prune(&mut self, roots: &Roots, now_ms: u64) -> usize {
        let documents: BTreeSet<DocumentId> =
            self.records.values().map(|record| record.statement().document()).collect();
        let ever: BTreeMap<DocumentId, BTreeMap<AuthorId, Held>> =
            documents.into_iter().map(|document| (document, self.ever(roots, document))).collect();
        let before = self.records.len();
        self.records.retain(|_, record| {
            let issuer = ever
                .get(&record.statement().document())
                .and_then(|ever| ever.get(&record.statement().issuer()));
            let Some(issuer) = issuer else { return false };
            match record.grant() {
                None => issuer.rights.contains(Rights::INVITE),
                Some(grant) => {
                    let given = given(grant, issuer);
                    !given.is_none() && (given.contains(Rights::INVITE) || !grant.is_expired(now_ms))
                }
            }
        });
        self.bytes = self.records.values().map(|record| record.bytes().len()).sum();
        before - self.records.len()
    }

    /// Returns who may do what with `document`, and who may no more. O(records · [`CHAIN_MAX`] · log).
    #[must_use]
    pub fn standing(&self, roots: &Roots, document: DocumentId, now_ms: u64) -> Standing {
        let ever = self.ever(roots, document);
        let revocations = self.records.values().filter_map(Record::revocation);
        let revoked: BTreeSet<AuthorId> = revocations
            .filter(|revocation| revocation.document == document && !roots.contains_key(&revocation.subject))
            .filter(|revocation| {
                ever.get(&revocation.issuer).is_some_and(|held| held.rights.contains(Rights::INVITE))
            })
            .map(|revocation| revocation.subject)
            .collect();
        let held = self.spread(roots, document, |grant| {
            // What a revoked key has granted goes with it: it holds nothing that it could pass on.
            !grant.is_expired(now_ms) && !revoked.contains(&grant.subject)
        });
        Standing { held, revoked }
    }

    /// What `key` may do with `document`.
    #[must_use]
    pub fn rights_of(&self, key: &AuthorId, roots: &Roots, document: DocumentId, now_ms: u64) -> Rights {
        self.standing(roots, document, now_ms).held.get(key).map_or(Rights::NONE, |held| held.rights)
    }

    /// Returns whether a record of these bytes is in here, without a look at its signature.
    #[must_use]
    pub fn holds(&self, bytes: &[u8]) -> bool {
        self.records.contains_key(words(bytes))
    }

    /// Returns the records, in an order that depends on nothing but them.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Returns the grants to a key, those that their issuers' rights come from, and so on: what the key shows for
    /// itself.
    #[must_use]
    pub fn credentials(&self, key: &AuthorId) -> Vec<&Record> {
        let (mut wanted, mut asked) = (vec![*key], BTreeSet::new());
        let mut credentials = Vec::new();
        while let Some(key) = wanted.pop() {
            if !asked.insert(key) {
                continue;
            }
            let grants =
                self.records().filter(|record| record.grant().is_some_and(|grant| grant.subject == key));
            for grant in grants {
                wanted.push(grant.statement().issuer());
                credentials.push(grant);
            }
        }
        credentials
    }

    /// Returns how many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What keys would hold if nothing ever expired or was revoked.
    fn ever(&self, roots: &Roots, document: DocumentId) -> BTreeMap<AuthorId, Held> {
        self.spread(roots, document, |_| true)
    }

    /// Hands rights down the chains, one grant further in each round.
    fn spread(
        &self,
        roots: &Roots,
        document: DocumentId,
        counts: impl Fn(&Grant) -> bool,
    ) -> BTreeMap<AuthorId, Held> {
        let grants: Vec<&Grant> = self
            .records
            .values()
            .filter_map(Record::grant)
            .filter(|grant| grant.document == document && counts(grant))
            .collect();
        let root = |(key, rights): (&AuthorId, &Rights)| {
            let passable = if rights.contains(Rights::INVITE) { *rights } else { Rights::NONE };
            (*key, Held { rights: *rights, passable, name: String::new() })
        };
        let mut held: BTreeMap<AuthorId, Held> = roots.iter().map(root).collect();
        for _ in 0..CHAIN_MAX {
            let mut next = held.clone();
            for grant in &grants {
                let given = held.get(&grant.issuer).map_or(Rights::NONE, |issuer| given(grant, issuer));
                if given.is_none() {
                    continue;
                }
                let subject = next.entry(grant.subject).or_default();
                if grant.is_ticket {
                    subject.passable |= given;
                } else {
                    subject.rights |= given;
                }
                if subject.name.is_empty() {
                    subject.name.clone_from(&grant.name);
                }
                if subject.rights.contains(Rights::INVITE) {
                    subject.passable |= subject.rights;
                }
            }
            if next == held {
                break;
            }
            held = next;
        }
        held
    }
}

/// What a grant gives, by what its issuer holds.
fn given(grant: &Grant, issuer: &Held) -> Rights {
    if grant.is_ticket && !issuer.rights.contains(Rights::INVITE) {
        return Rights::NONE;
    }
    grant.rights & issuer.passable
}

#[cfg(test)]
mod tests {
    use bft_json_crdt::keypair::Keypair;

    use super::*;
    use crate::record::{Revocation, Statement};

    const DOCUMENT: DocumentId = DocumentId::DEFAULT;

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    fn grant(issuer: u8, subject: u8, rights: Rights) -> Grant {
        Grant {
            document: DOCUMENT,
            issuer: key(issuer).author(),
            subject: key(subject).author(),
            rights,
            is_ticket: false,
            name: format!("n{subject}"),
            expires_at_ms: 0,
            id: [issuer; 16],
        }
    }

    fn signed(grant: Grant) -> Record {
        let issuer = (0..9).map(key).find(|key| key.author() == grant.issuer).unwrap();
        Statement::Grant(grant).sign(&issuer).unwrap()
    }

    fn revoked(issuer: u8, subject: u8) -> Record {
        let (issuer, subject) = (key(issuer), key(subject).author());
        let revocation = Revocation { document: DOCUMENT, issuer: issuer.author(), subject };
        Statement::Revocation(revocation).sign(&issuer).unwrap()
    }

    fn roots() -> Roots {
        BTreeMap::from([(key(0).author(), Rights::ALL)])
    }

    fn ledger(records: Vec<Record>) -> Ledger {
        let mut ledger = Ledger::default();
        for record in records {
            assert_eq!(ledger.learn(record, &roots(), 0), Learned::New);
        }
        ledger
    }

    fn rights(ledger: &Ledger, who: u8, now_ms: u64) -> Rights {
        ledger.rights_of(&key(who).author(), &roots(), DOCUMENT, now_ms)
    }

    #[test]
    fn rights_go_down_three_grants_and_no_further() {
        let chain = (0..4).map(|n| signed(grant(n, n + 1, Rights::ALL))).collect();
        let ledger = ledger(chain);
        assert_eq!(rights(&ledger, 3, 0), Rights::ALL);
        assert_eq!(rights(&ledger, 4, 0), Rights::NONE);
        assert_eq!(rights(&ledger, 0, 0), Rights::ALL);
    }

    #[test]
    fn nobody_grants_more_than_it_has_or_without_the_right_to() {
        let ledger = ledger(vec![
            signed(grant(0, 1, Rights::READER | Rights::INVITE)),
            signed(grant(1, 2, Rights::ALL)),
            signed(grant(0, 3, Rights::MEMBER)),
            signed(grant(3, 4, Rights::MEMBER)),
        ]);
        assert_eq!(rights(&ledger, 2, 0), Rights::READER | Rights::INVITE);
        assert_eq!(rights(&ledger, 4, 0), Rights::NONE);
    }

    #[test]
    fn a_ticket_passes_on_what_it_holds_once() {
        let ticket = Grant { is_ticket: true, ..grant(0, 1, Rights::MEMBER) };
        let ledger = ledger(vec![
            signed(ticket),
            signed(grant(1, 2, Rights::ALL)),
            signed(Grant { is_ticket: true, ..grant(1, 3, Rights::MEMBER) }),
            signed(grant(3, 4, Rights::MEMBER)),
            signed(grant(2, 5, Rights::MEMBER)),
        ]);
        assert_eq!(rights(&ledger, 1, 0), Rights::NONE, "the ticket's key is nobody");
        assert_eq!(rights(&ledger, 2, 0), Rights::MEMBER);
        assert_eq!(rights(&ledger, 4, 0), Rights::NONE);
        assert_eq!(rights(&ledger, 5, 0), Rights::NONE);
    }

    #[test]
    fn what_has_expired_counts_for_nothing_nor_what_stands_on_it() {
        let ledger = ledger(vec![
            signed(Grant { expires_at_ms: 10, ..grant(0, 1, Rights::ALL) }),
            signed(grant(1, 2, Rights::MEMBER)),
        ]);
        assert_eq!((rights(&ledger, 1, 9), rights(&ledger, 2, 9)), (Rights::ALL, Rights::MEMBER));
        assert_eq!((rights(&ledger, 1, 10), rights(&ledger, 2, 10)), (Rights::NONE, Rights::NONE));
        let late = signed(Grant { expires_at_ms: 10, ..grant(0, 3, Rights::MEMBER) });
        let told = ledger.clone().learn(late, &roots(), 15);
        assert_eq!(told, Learned::Refused(Refusal::Expired { ago_ms: 5 }));
    }

    #[test]
    fn a_revoked_key_stays_revoked_and_takes_its_guests_along() {
        let mut ledger = ledger(vec![
            signed(grant(0, 1, Rights::ALL)),
            signed(grant(1, 2, Rights::MEMBER)),
            revoked(0, 1),
            signed(Grant { id: [99; 16], ..grant(0, 1, Rights::ALL) }),
        ]);
        assert_eq!((rights(&ledger, 1, 0), rights(&ledger, 2, 0)), (Rights::NONE, Rights::NONE));
        assert_eq!(ledger.prune(&roots(), 0), 0, "the grants name who was revoked");
        assert!(ledger.standing(&roots(), DOCUMENT, 0).revoked.contains(&key(1).author()));
    }

    #[test]
    fn only_who_may_invite_revokes_and_roots_are_out_of_reach() {
        let ledger = ledger(vec![
            signed(grant(0, 1, Rights::ALL)),
            signed(grant(0, 2, Rights::MEMBER)),
            signed(grant(0, 3, Rights::MEMBER)),
            revoked(2, 3),
            revoked(1, 0),
            revoked(1, 2),
        ]);
        assert_eq!(rights(&ledger, 3, 0), Rights::MEMBER);
        assert_eq!(rights(&ledger, 0, 0), Rights::ALL);
        assert_eq!(rights(&ledger, 2, 0), Rights::NONE);
    }

    #[test]
    fn strangers_records_make_room_for_what_counts() {
        let mut ledger = Ledger::default();
        let subject = key(8).author();
        // Signing thousands of records is slow: one record, told under thousands of names, is as good here.
        let stranger = signed(grant(7, 8, Rights::MEMBER));
        for n in 0..RECORDS_MAX as u32 / 4 * 3 {
            ledger.records.insert(n.to_be_bytes().to_vec(), stranger.clone());
        }
        assert_eq!(ledger.learn(signed(grant(0, 8, Rights::MEMBER)), &roots(), 0), Learned::New);
        assert_eq!(ledger.rights_of(&subject, &roots(), DOCUMENT, 0), Rights::MEMBER);
        assert_eq!(ledger.learn(signed(grant(7, 6, Rights::MEMBER)), &roots(), 0), Learned::New);
        assert_eq!(ledger.len(), 2, "they have gone to make room");
        assert_eq!((ledger.prune(&roots(), 0), ledger.len()), (1, 1));
    }

    #[test]
    fn a_full_ledger_still_takes_what_a_root_says() {
        let mut ledger = ledger(vec![signed(grant(0, 1, Rights::ALL))]);
        let guest = signed(grant(1, 2, Rights::MEMBER));
        for n in 0..RECORDS_MAX as u32 / 4 * 3 {
            ledger.records.insert(n.to_be_bytes().to_vec(), guest.clone());
        }
        let told = ledger.learn(signed(grant(1, 3, Rights::MEMBER)), &roots(), 0);
        assert!(matches!(told, Learned::Refused(Refusal::Full { .. })), "{told:?}");
        assert_eq!(ledger.learn(revoked(0, 1), &roots(), 0), Learned::New);
        assert_eq!(rights(&ledger, 2, 0), Rights::NONE);
    }
}
