//! What sessions ask: who may come in, whose changes are taken, what there is to tell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bft_json_crdt::keypair::{AuthorId, Keypair};
use gangline_transport::{Gate, PeerRights};
use gangline_trust::{Ledger, Policy, Rights};

use super::{grants, policy, random_id, sign};
use crate::clock;
use crate::config::Settings;
use crate::failure::Failure;
use crate::private_file::{Stamp, stamp};

/// The trust of a running node. Looks on every use whether the file of grants has changed.
pub(crate) struct NodeGate {
    settings: Settings,
    keypair: Keypair,
    /// Where the grants are kept; a node of `gangline demo` keeps none.
    dir: Option<PathBuf>,
    state: Mutex<State>,
}

struct State {
    stamp: Stamp,
    policy: Policy,
    names: BTreeMap<AuthorId, String>,
}

impl NodeGate {
    /// Reads the grants in `dir`.
    ///
    /// # Errors
    /// When they are damaged or cannot be read.
    pub(crate) fn open(settings: &Settings, keypair: Keypair, dir: Option<PathBuf>) -> Result<Self, Failure> {
        let (stamp, ledger) = match &dir {
            None => (None, Ledger::default()),
            // The stamp first: what is written in between is read again.
            Some(dir) => (stamp(&grants::path(dir)), grants::read(dir)?),
        };
        let state = State::new(policy(settings, keypair.author(), ledger), stamp);
        Ok(Self { settings: settings.clone(), keypair, dir, state: Mutex::new(state) })
    }

    /// What people call this key here, if anybody said.
    pub(crate) fn name_of(&self, key: &AuthorId) -> Option<String> {
        self.lock().names.get(key).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, read again if the file is another one. Of a file that cannot be read, what it last said counts.
    fn current(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        let Some(dir) = &self.dir else { return state };
        let found = stamp(&grants::path(dir));
        if found != state.stamp {
            match grants::read(dir) {
                Ok(ledger) => *state = State::new(self.policy(ledger), found),
                Err(error) => {
                    state.stamp = found;
                    tracing::error!(event = "grants_unusable", "what was known stays in force: {error}");
                }
            }
        }
        state
    }

    fn policy(&self, ledger: Ledger) -> Policy {
        policy(&self.settings, self.keypair.author(), ledger)
    }

    /// Takes records into a ledger, and answers tickets by which somebody has joined.
    fn learned(&self, ledger: Ledger, records: &[Vec<u8>]) -> Result<(Ledger, usize), Failure> {
        let now_ms = clock::now_ms();
        let mut policy = self.policy(ledger);
        let count = policy.learn_from_peer(records, now_ms);
        for redeemed in policy.redeemed(now_ms) {
            let (key, name) = (redeemed.grant.subject, redeemed.grant.name.clone());
            for statement in redeemed.confirm(self.keypair.author(), random_id()?) {
                let _ = policy.learn(sign(statement, &self.keypair)?, now_ms);
            }
            tracing::info!(event = "joined", key = %key, name, "somebody has joined by a ticket");
        }
        Ok((policy.into_ledger(), count))
    }
}

impl State {
    fn new(policy: Policy, stamp: Stamp) -> Self {
        let held = policy.standing(clock::now_ms()).held;
        let granted = held.into_iter().map(|(key, held)| (key, held.name));
        let listed = policy.listed().iter().map(|(key, listed)| (*key, listed.name.clone()));
        let names = granted.chain(listed).filter(|(_, name)| !name.is_empty()).collect();
        Self { stamp, policy, names }
    }
}

impl Gate for NodeGate {
    fn admit(&self, peer: &AuthorId) -> Result<PeerRights, String> {
        let (rights, name) = self.current().policy.admit(peer, clock::now_ms())?;
        Ok(PeerRights { read: rights.contains(Rights::READ), write: rights.contains(Rights::WRITE), name })
    }

    fn accepts(&self) -> Option<BTreeSet<AuthorId>> {
        self.current().policy.writers(clock::now_ms())
    }

    fn records(&self) -> Vec<Vec<u8>> {
        self.current().policy.ledger().records().map(|record| record.bytes().to_vec()).collect()
    }

    fn credentials(&self) -> Vec<Vec<u8>> {
        let state = self.current();
        let (own, ledger) = (state.policy.own(), state.policy.ledger());
        ledger.credentials(&own).into_iter().map(|record| record.bytes().to_vec()).collect()
    }

    fn learn(&self, records: &[Vec<u8>]) -> usize {
        let mut state = self.current();
        if records.iter().all(|record| state.policy.ledger().holds(record)) {
            return 0;
        }
        let learned = match &self.dir {
            None => self.learned(state.policy.ledger().clone(), records),
            Some(dir) => grants::change(dir, |ledger| self.learned(ledger, records)),
        };
        match learned {
            Ok((ledger, count)) => {
                let stamp = self.dir.as_ref().and_then(|dir| stamp(&grants::path(dir)));
                *state = State::new(self.policy(ledger), stamp);
                count
            }
            Err(error) => {
                tracing::error!(event = "grants_not_kept", "what a peer told counts for nothing: {error}");
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gangline_trust::{Grant, Statement};

    use super::*;
    use crate::config::Flags;
    use crate::trust::DOCUMENT;

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    fn settings(text: &str) -> Settings {
        Settings::resolve(&Flags::default(), &|_| None, Some(("gangline.toml", text))).unwrap()
    }

    fn grant(issuer: &Keypair, subject: &Keypair, is_ticket: bool) -> Vec<u8> {
        let grant = Grant {
            document: DOCUMENT,
            issuer: issuer.author(),
            subject: subject.author(),
            rights: Rights::MEMBER,
            is_ticket,
            name: "bob".into(),
            expires_at_ms: u64::MAX,
            id: [0; 16],
        };
        Statement::Grant(grant).sign(issuer).unwrap().bytes().to_vec()
    }

    #[test]
    fn loopback_is_open_until_somebody_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (alice, bob, ticket) = (key(1), key(2), key(3));
        let gate = NodeGate::open(&settings(""), alice.clone(), Some(dir.path().to_owned())).unwrap();
        assert_eq!(gate.accepts(), None);
        assert!(gate.admit(&bob.author()).is_ok());
        // A peer cannot close it.
        assert_eq!(gate.learn(&[grant(&bob, &bob, false)]), 0);
        assert_eq!(gate.accepts(), None);
        // The command line can, while the node runs.
        grants::change(dir.path(), |ledger| {
            let mut policy = policy(&settings(""), alice.author(), ledger);
            assert_eq!(policy.learn_from_peer(&[grant(&alice, &ticket, true)], 0), 1);
            Ok((policy.into_ledger(), ()))
        })
        .unwrap();
        assert_eq!(gate.accepts(), Some(BTreeSet::from([alice.author()])));
        assert!(gate.admit(&bob.author()).unwrap_err().contains("gangline invite"));
        // Whoever joins by the ticket is confirmed, on disk, and the ticket is used up.
        assert_eq!(gate.learn(&[grant(&ticket, &bob, false)]), 1);
        assert_eq!(gate.admit(&bob.author()).unwrap().name.as_deref(), Some("bob"));
        assert_eq!(gate.name_of(&bob.author()).as_deref(), Some("bob"));
        assert_eq!(gate.records().len(), 4);
        assert_eq!(gate.learn(&gate.records()), 0);
        assert_eq!(gate.learn(&[grant(&ticket, &key(4), false)]), 1);
        assert!(gate.admit(&key(4).author()).is_err());
        let again = NodeGate::open(&settings(""), alice, Some(dir.path().to_owned())).unwrap();
        assert!(again.admit(&bob.author()).is_ok());
    }

    #[test]
    fn a_damaged_file_leaves_in_force_what_was_known() {
        let dir = tempfile::tempdir().unwrap();
        let (alice, bob) = (key(1), key(2));
        let open = || NodeGate::open(&settings(""), key(1), Some(dir.path().to_owned()));
        let gate = open().unwrap();
        assert_eq!(gate.learn(&[grant(&alice, &bob, false)]), 1);
        std::fs::write(grants::path(dir.path()), "damaged").unwrap();
        assert_eq!(gate.accepts().map(|keys| keys.len()), Some(2));
        assert_eq!(gate.learn(&[grant(&alice, &key(5), false)]), 0, "nothing counts that is not on disk");
        assert!(gate.admit(&key(5).author()).is_err());
        assert!(open().is_err());
    }
}
