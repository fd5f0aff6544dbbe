//! The causal queue: authentic changes that wait for what they stand on, bounded in count and bytes.
//!
//! When it is full, the oldest change of the author with most waiting goes: a flood evicts itself first.
//! Release is by the digest that a change waits for, so that no arrival costs a scan.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::change::{Change, Digest};
use crate::keypair::AuthorId;
use crate::limits::{CAUSAL_QUEUE_AUTHOR_BYTES_MAX, CAUSAL_QUEUE_BYTES_MAX, CAUSAL_QUEUE_MAX};

/// How full the causal queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Changes that wait.
    pub len: usize,
    /// Their encoded bytes.
    pub bytes: usize,
    /// Those of them that lack nothing but a trusted author's change built on them.
    pub held: usize,
    /// Changes evicted since the document was opened.
    pub evicted_total: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) change: Change,
    pub(crate) is_vouched: bool,
    /// A trusted author's authentic change stands on it.
    pub(crate) is_let_in: bool,
    /// It may become part of the document: by its own signature, or with a later change that covers it and may too.
    pub(crate) is_proven: bool,
    missing: usize,
    arrival: u64,
}

impl Waiting {
    fn is_ready(&self) -> bool {
        self.missing == 0 && self.is_let_in && self.is_proven
    }
}

#[derive(Clone, Debug, Default)]
struct ByAuthor {
    bytes: usize,
    arrivals: BTreeMap<u64, Digest>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    waiting: HashMap<Digest, Waiting>,
    /// For each digest that is waited for, who waits.
    waiters: HashMap<Digest, BTreeSet<Digest>>,
    authors: BTreeMap<AuthorId, ByAuthor>,
    by_count: BTreeSet<(usize, AuthorId)>,
    by_bytes: BTreeSet<(usize, AuthorId)>,
    arrivals: u64,
    bytes: usize,
    held: usize,
    /// Those that are not proven.
    unproven: BTreeSet<Digest>,
    evicted_total: u64,
}

impl Queue {
    pub(crate) fn stats(&self) -> QueueStats {
        let waits = |digest: &&Digest| self.waiting.get(*digest).is_some_and(|it| it.missing == 0);
        QueueStats {
            len: self.waiting.len(),
            bytes: self.bytes,
            held: self.held - self.unproven.iter().filter(waits).count(),
            evicted_total: self.evicted_total,
        }
    }

    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.waiting.contains_key(digest)
    }

    /// All that waits, in the order of arrival.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        let mut all: Vec<(u64, Digest)> = Vec::with_capacity(self.waiting.len());
        for by_author in self.authors.values() {
            all.extend(by_author.arrivals.iter().map(|(arrival, digest)| (*arrival, *digest)));
        }
        all.sort_unstable();
        all.into_iter().map(|(_, digest)| digest).collect()
    }

    pub(crate) fn find(&self, digest: &Digest) -> Option<&Waiting> {
        self.waiting.get(digest)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether something waits for a change that covers it.
    pub(crate) fn has_unproven(&self) -> bool {
        !self.unproven.is_empty()
    }

    /// Takes a change that waits with the valid signature that it came with now; returns it if it lacks nothing.
    pub(crate) fn vouch(&mut self, change: Change) -> Vec<Digest> {
        let digest = change.digest();
        let Some(waiting) = self.waiting.get_mut(&digest) else { return Vec::new() };
        waiting.change = change;
        waiting.is_vouched = true;
        self.prove(|unproven| *unproven == digest)
    }

    /// All that waits, in no order.
    #[expect(clippy::disallowed_methods, reason = "whoever asks puts them in an order")]
    pub(crate) fn all(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values()
    }

    /// Notes which of the unproven are proven now; returns those that lack nothing else.
    pub(crate) fn prove(&mut self, is_proven: impl Fn(&Digest) -> bool) -> Vec<Digest> {
        let proven: Vec<Digest> = self.unproven.iter().filter(|digest| is_proven(digest)).copied().collect();
        let mut ready = Vec::new();
        for digest in proven {
            self.unproven.remove(&digest);
            let Some(waiting) = self.waiting.get_mut(&digest) else { continue };
            waiting.is_proven = true;
            if waiting.is_ready() {
                ready.push(digest);
            }
        }
        ready
    }

    /// Who waits for a change.
    pub(crate) fn waiters(&self, digest: &Digest) -> impl Iterator<Item = &Waiting> {
        self.waiters.get(digest).into_iter().flatten().filter_map(|waiter| self.waiting.get(waiter))
    }

    /// Lets an authentic change wait for `missing`, and returns what had to go for it (perhaps itself).
    pub(crate) fn insert(
        &mut self,
        change: Change,
        (is_vouched, is_let_in, is_proven): (bool, bool, bool),
        missing: &[Digest],
    ) -> Vec<Digest> {
        let (digest, author, bytes) = (change.digest(), change.author(), change.bytes().len());
        for missed in missing {
            self.waiters.entry(*missed).or_default().insert(digest);
        }
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.bytes += bytes;
        self.held += usize::from(missing.is_empty());
        self.recount(author, |by_author| {
            by_author.bytes += bytes;
            by_author.arrivals.insert(arrival, digest);
        });
        if !is_proven {
            self.unproven.insert(digest);
        }
        let waiting = Waiting { change, is_vouched, is_let_in, is_proven, missing: missing.len(), arrival };
        self.waiting.insert(digest, waiting);
        self.evict()
    }

    /// Notes that a trusted author's change stands on `digest` and on all that it waits for here; returns
    /// those that lack nothing else.
    pub(crate) fn let_in(&mut self, digest: Digest) -> Vec<Digest> {
        let mut ready = Vec::new();
        let mut visit = vec![digest];
        while let Some(digest) = visit.pop() {
            let Some(waiting) = self.waiting.get_mut(&digest) else { continue };
            if waiting.is_let_in {
                continue;
            }
            waiting.is_let_in = true;
            if waiting.is_ready() {
                ready.push(digest);
            }
            visit.extend(waiting.change.deps());
            visit.extend(waiting.change.prev());
        }
        ready
    }

    /// Tells the queue that `digest` became part of the document; returns those that lack nothing now.
    pub(crate) fn satisfy(&mut self, digest: &Digest) -> Vec<Digest> {
        let mut ready = Vec::new();
        for waiter in self.waiters.remove(digest).unwrap_or_default() {
            if let Some(waiting) = self.waiting.get_mut(&waiter) {
                waiting.missing -= 1;
                if waiting.missing == 0 {
                    self.held += 1;
                    if waiting.is_ready() {
                        ready.push(waiter);
                    }
                }
            }
        }
        ready
    }

    /// Takes a change out.
    pub(crate) fn remove(&mut self, digest: &Digest) -> Option<Waiting> {
        let waiting = self.waiting.remove(digest)?;
        self.unproven.remove(digest);
        let (author, bytes) = (waiting.change.author(), waiting.change.bytes().len());
        self.bytes -= bytes;
        self.held -= usize::from(waiting.missing == 0);
        self.recount(author, |by_author| {
            by_author.bytes -= bytes;
            by_author.arrivals.remove(&waiting.arrival);
        });
        for missed in waiting.change.deps().iter().chain(&waiting.change.prev()) {
            if let Some(waiters) = self.waiters.get_mut(missed) {
                waiters.remove(digest);
                if waiters.is_empty() {
                    self.waiters.remove(missed);
                }
            }
        }
        Some(waiting)
    }

    fn recount(&mut self, author: AuthorId, change: impl FnOnce(&mut ByAuthor)) {
        let mut by_author = self.authors.remove(&author).unwrap_or_default();
        self.by_count.remove(&(by_author.arrivals.len(), author));
        self.by_bytes.remove(&(by_author.bytes, author));
        change(&mut by_author);
        if !by_author.arrivals.is_empty() {
            self.by_count.insert((by_author.arrivals.len(), author));
            self.by_bytes.insert((by_author.bytes, author));
            self.authors.insert(author, by_author);
        }
    }

    fn evict(&mut self) -> Vec<Digest> {
        let mut evicted = Vec::new();
        loop {
            let most_bytes = self.by_bytes.last().copied();
            let author = if self.waiting.len() > CAUSAL_QUEUE_MAX {
                self.by_count.last().map(|(_, author)| *author)
            } else if self.bytes > CAUSAL_QUEUE_BYTES_MAX
                || most_bytes.is_some_and(|(bytes, _)| bytes > CAUSAL_QUEUE_AUTHOR_BYTES_MAX)
            {
                most_bytes.map(|(_, author)| author)
            } else {
                None
            };
            let oldest =
                author.and_then(|author| self.authors.get(&author)?.arrivals.values().next().copied());
            let Some(oldest) = oldest else { return evicted };
            self.remove(&oldest);
            self.evicted_total += 1;
            evicted.push(oldest);
        }
    }
}
