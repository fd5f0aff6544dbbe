//! A node's own verdict: its list from the settings, its ledger, and whether it is open.

use std::collections::{BTreeMap, BTreeSet};

use bft_json_crdt::DocumentId;
use bft_json_crdt::keypair::AuthorId;

use crate::ledger::{Learned, Ledger, Roots, Standing};
use crate::record::{Grant, Record, Revocation, Statement};
use crate::rights::Rights;

/// A key that the settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub rights: Rights,
}

/// Who may do what with one document of one node.
#[derive(Clone, Debug)]
pub struct Policy {
    own: AuthorId,
    document: DocumentId,
    listed: BTreeMap<AuthorId, Listed>,
    ledger: Ledger,
    is_open: bool,
}

/// A ticket of this node's by which somebody has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redeemed {
    /// The ticket's one-time key.
    pub ticket: AuthorId,
    /// What the ticket's key has granted, cut to what it could grant.
    pub grant: Grant,
}

impl Policy {
    /// A node that trusts nobody but itself. Its own key has all rights.
    #[must_use]
    pub fn new(own: AuthorId, document: DocumentId) -> Self {
        Self { own, document, listed: BTreeMap::new(), ledger: Ledger::default(), is_open: false }
    }

    /// With the keys that the settings name.
    #[must_use]
    pub fn with_listed(mut self, listed: BTreeMap<AuthorId, Listed>) -> Self {
        self.listed = listed;
        self
    }

    /// With this ledger.
    #[must_use]
    pub fn with_ledger(mut self, ledger: Ledger) -> Self {
        self.ledger = ledger;
        self
    }

    /// Open to everybody whose key was not revoked, or not.
    #[must_use]
    pub fn with_open(mut self, is_open: bool) -> Self {
        self.is_open = is_open;
        self
    }

    /// Returns whether everybody may connect, read and write.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Returns the node's own key.
    #[must_use]
    pub fn own(&self) -> AuthorId {
        self.own
    }

    /// Returns which document this is about.
    #[must_use]
    pub fn document(&self) -> DocumentId {
        self.document
    }

    /// Returns the keys that the settings name.
    #[must_use]
    pub fn listed(&self) -> &BTreeMap<AuthorId, Listed> {
        &self.listed
    }

    /// Returns the ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns the ledger, and lets go of the rest.
    #[must_use]
    pub fn into_ledger(self) -> Ledger {
        self.ledger
    }

    /// Takes one record in. See [`Ledger::learn`].
    pub fn learn(&mut self, record: Record, now_ms: u64) -> Learned {
        let roots = self.roots();
        self.ledger.learn(record, &roots, now_ms)
    }

    /// Takes in what a peer tells, in any order, and keeps of it what counts here. Returns how many were new.
    ///
    /// What is known or too long is passed over without a look at its signature. Others cost about 50 µs each.
    pub fn learn_from_peer(&mut self, records: &[Vec<u8>], now_ms: u64) -> usize {
        let roots = self.roots();
        let mut learned = Vec::new();
        for bytes in records {
            if self.ledger.holds(bytes) {
                continue;
            }
            if let Ok(record) = Record::decode(bytes)
                && self.ledger.learn(record, &roots, now_ms).is_new()
            {
                learned.push(bytes);
            }
        }
        if learned.is_empty() {
            return 0;
        }
        self.ledger.prune(&roots, now_ms);
        learned.iter().filter(|bytes| self.ledger.holds(bytes)).count()
    }

    /// Who may do what, and who may no more.
    #[must_use]
    pub fn standing(&self, now_ms: u64) -> Standing {
        let mut standing = self.ledger.standing(&self.roots(), self.document, now_ms);
        for (key, listed) in &self.listed {
            if let Some(held) = standing.held.get_mut(key) {
                held.name.clone_from(&listed.name);
            }
        }
        standing
    }

    /// What `key` may do.
    #[must_use]
    pub fn rights_of(&self, key: &AuthorId, now_ms: u64) -> Rights {
        self.rights_in(&self.standing(now_ms), key)
    }

    fn rights_in(&self, standing: &Standing, key: &AuthorId) -> Rights {
        let held = standing.held.get(key).map_or(Rights::NONE, |held| held.rights);
        if self.is_open && !standing.revoked.contains(key) { held | Rights::MEMBER } else { held }
    }

    /// Whether `key` may open a session, and what it may do then, with the name that it has here.
    ///
    /// # Errors
    /// A sentence for whoever has the key, which says what to do.
    pub fn admit(&self, key: &AuthorId, now_ms: u64) -> Result<(Rights, Option<String>), String> {
        let standing = self.standing(now_ms);
        let rights = self.rights_in(&standing, key);
        if rights.contains(Rights::CONNECT) {
            let name = standing.held.get(key).map(|held| held.name.clone());
            return Ok((rights, name.filter(|name| !name.is_empty())));
        }
        if standing.revoked.contains(key) {
            return Err(format!(
                "ed25519:{key} was revoked, for good: make a new key (move node.key away) and ask for an \
                 invitation (`gangline invite`)"
            ));
        }
        if !rights.is_none() {
            return Err(format!(
                "ed25519:{key} may {rights} here, but not connect: `gangline key trust ed25519:{key} NAME` on \
                 that node lets it"
            ));
        }
        Err(format!(
            "ed25519:{key} is not trusted here: ask for a ticket (`gangline invite` on that node, `gangline join` \
             on this one); or on that node `gangline key trust ed25519:{key} NAME`, or in its gangline.toml under \
             [trust]: NAME = \"ed25519:{key}\""
        ))
    }

    /// The keys whose changes are let in; `None` lets in everybody's.
    #[must_use]
    pub fn writers(&self, now_ms: u64) -> Option<BTreeSet<AuthorId>> {
        if self.is_open {
            return None;
        }
        let standing = self.standing(now_ms);
        let writers = standing.held.iter().filter(|(_, held)| held.rights.contains(Rights::WRITE));
        Some(writers.map(|(key, _)| *key).collect())
    }

    /// Tickets of this node's by which somebody has joined, and that are still good: the first who joined by each.
    ///
    /// A grant by a ticket ends with the ticket. So the node that issued it answers with [`Redeemed::confirm`].
    #[must_use]
    pub fn redeemed(&self, now_ms: u64) -> Vec<Redeemed> {
        let standing = self.standing(now_ms);
        let counts = |grant: &&Grant| {
            grant.document == self.document
                && !grant.is_expired(now_ms)
                && !standing.revoked.contains(&grant.subject)
                && !standing.revoked.contains(&grant.issuer)
        };
        let grants: Vec<&Grant> = self.ledger.records().filter_map(Record::grant).filter(counts).collect();
        let tickets = grants.iter().filter(|grant| grant.is_ticket && grant.issuer == self.own);
        tickets
            .filter_map(|ticket| {
                let joined = grants.iter().find(|grant| {
                    grant.issuer == ticket.subject
                        && !grant.is_ticket
                        && !(grant.rights & ticket.rights).is_none()
                })?;
                let name = if joined.name.is_empty() { &ticket.name } else { &joined.name };
                let grant =
                    Grant { rights: joined.rights & ticket.rights, name: name.clone(), ..(*joined).clone() };
                Some(Redeemed { ticket: ticket.subject, grant })
            })
            .collect()
    }

    /// Own key and list, without those whom the node's own key has revoked since.
    fn roots(&self) -> Roots {
        let revoked: BTreeSet<AuthorId> = self
            .ledger
            .records()
            .filter_map(Record::revocation)
            .filter(|revocation| revocation.issuer == self.own && revocation.document == self.document)
            .map(|revocation| revocation.subject)
            .collect();
        let listed = self.listed.iter().filter(|(key, _)| !revoked.contains(key));
        let listed = listed.map(|(key, listed)| (*key, listed.rights));
        listed.chain([(self.own, Rights::ALL)]).collect()
    }
}

impl Redeemed {
    /// What the node says then, under `id`: a lasting grant by `own`, and that the ticket is used up.
    #[must_use]
    pub fn confirm(&self, own: AuthorId, id: [u8; 16]) -> [Statement; 2] {
        let grant = Grant { issuer: own, expires_at_ms: 0, id, ..self.grant.clone() };
        let used = Revocation { document: grant.document, issuer: own, subject: self.ticket };
        [Statement::Grant(grant), Statement::Revocation(used)]
    }
}
