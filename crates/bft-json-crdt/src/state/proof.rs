//! Which changes without a signature of their own may become part of the document: those whose cover does too.
//!
//! A replica passes on what it holds, and a change that a later one covers can be passed on with that one only. If
//! the later one waits for something, perhaps for ever, the covered one has to wait with it: else replicas would
//! hold what they cannot prove to others, and differ for as long as the cover waits.
//!
//! What may enter is found before anything does, on the graph of what arrives and what waits: first all that could
//! enter if every unsigned change were proven; then those without a cover among these are taken out, with all that
//! builds on them, and what these covered, and so on. O(arriving and waiting changes and what they name), and only
//! where an unsigned change is among them.

use std::collections::{HashMap, HashSet};

use crate::change::{Change, Digest};
use crate::state::State;
use crate::state::admit::Verdict;

/// Which unsigned changes may enter.
pub(crate) struct Proof {
    proven: HashSet<Digest>,
}

impl Proof {
    /// Whether an unsigned change may enter, once it lacks nothing.
    pub(crate) fn may_enter(&self, digest: &Digest) -> bool {
        self.proven.contains(digest)
    }
}

struct Node<'a> {
    change: &'a Change,
    digest: Digest,
    is_vouched: bool,
    is_let_in: bool,
    /// How many of those that it names are not part of the document.
    missing: usize,
    /// Those here that name it.
    dependents: Vec<usize>,
    /// How many changes that may enter cover it.
    covers: usize,
    may_enter: bool,
}

impl State {
    /// Finds which of the unsigned changes, of those that arrive and those that wait, may enter by now.
    pub(super) fn prove(&self, changes: &[Change], verdicts: &[Verdict]) -> Proof {
        let is_unsigned = |verdict: &Verdict| matches!(verdict, Verdict::Authentic { is_vouched: false });
        if !self.queue.has_unproven() && !verdicts.iter().any(is_unsigned) {
            return Proof { proven: HashSet::new() };
        }
        let mut nodes = self.nodes_of(changes, verdicts);
        self.link(&mut nodes);
        let order = enter_all(&mut nodes);
        take_out_uncovered(&mut nodes, &order);
        let proven = nodes.iter().filter(|node| node.may_enter && !node.is_vouched);
        Proof { proven: proven.map(|node| node.digest).collect() }
    }

    fn nodes_of<'a>(&'a self, changes: &'a [Change], verdicts: &[Verdict]) -> Vec<Node<'a>> {
        let mut places = HashMap::new();
        let arriving = changes.iter().zip(verdicts).filter_map(|(change, verdict)| match verdict {
            Verdict::Authentic { is_vouched } => Some((change, *is_vouched, false)),
            Verdict::Known(_) | Verdict::Refused(_) => None,
        });
        let waiting = self.queue.all().map(|it| (&it.change, it.is_vouched, it.is_let_in));
        let mut nodes: Vec<Node<'_>> = Vec::new();
        for (change, is_vouched, is_let_in) in arriving.chain(waiting) {
            let digest = change.digest();
            let place = *places.entry(digest).or_insert(nodes.len());
            match nodes.get_mut(place) {
                // What waits may come again, or a change twice: one valid signature among the copies is enough, and
                // only those that nothing covers in their delivery were looked at.
                Some(node) => {
                    node.is_vouched |= is_vouched;
                    node.is_let_in |= is_let_in;
                }
                None => nodes.push(Node {
                    change,
                    digest,
                    is_vouched,
                    is_let_in: is_let_in || self.is_trusted(&change.author()),
                    missing: 0,
                    dependents: Vec::new(),
                    covers: 0,
                    may_enter: false,
                }),
            }
        }
        nodes
    }

    /// Notes who names whom, and lets in what trusted changes build on.
    fn link(&self, nodes: &mut [Node<'_>]) {
        let places: HashMap<Digest, usize> =
            nodes.iter().enumerate().map(|(at, node)| (node.digest, at)).collect();
        let mut visit: Vec<usize> = Vec::new();
        for at in 0..nodes.len() {
            let Some(node) = nodes.get_mut(at) else { continue };
            let missing = self.missing(node.change);
            node.missing = missing.len();
            if node.is_let_in {
                visit.push(at);
            }
            for named in missing {
                if let Some(named) = places.get(&named).and_then(|named| nodes.get_mut(*named)) {
                    named.dependents.push(at);
                }
            }
        }
        while let Some(at) = visit.pop() {
            let Some(change) = nodes.get(at).map(|node| node.change) else { continue };
            for named in change.deps().iter().copied().chain(change.prev()) {
                let Some(place) = places.get(&named) else { continue };
                if let Some(named) = nodes.get_mut(*place)
                    && !named.is_let_in
                {
                    named.is_let_in = true;
                    visit.push(*place);
                }
            }
        }
    }
}

/// Lets enter all that could if every change were proven; returns them, each after its past.
fn enter_all(nodes: &mut [Node<'_>]) -> Vec<usize> {
    let is_ready = |node: &Node<'_>| node.missing == 0 && node.is_let_in;
    let mut ready: Vec<usize> =
        (0..).zip(nodes.iter()).filter(|(_, node)| is_ready(node)).map(|(at, _)| at).collect();
    let mut order = Vec::new();
    while let Some(at) = ready.pop() {
        let Some(node) = nodes.get_mut(at) else { continue };
        node.may_enter = true;
        order.push(at);
        for dependent in node.dependents.clone() {
            let Some(node) = nodes.get_mut(dependent) else { continue };
            node.missing -= 1;
            if is_ready(node) {
                ready.push(dependent);
            }
        }
    }
    order
}

/// Takes out what nothing covers that enters, with all that hangs on it.
fn take_out_uncovered(nodes: &mut [Node<'_>], order: &[usize]) {
    // By the change that is covered, who covers: its author's next ones.
    let places: HashMap<Digest, usize> =
        order.iter().filter_map(|at| Some((nodes.get(*at)?.digest, *at))).collect();
    let covered_by = |nodes: &[Node<'_>], at: usize| -> Option<usize> {
        let cover = nodes.get(at)?.change;
        let covered = *places.get(&cover.prev()?)?;
        (nodes.get(covered)?.change.author() == cover.author()).then_some(covered)
    };
    for at in order {
        if let Some(covered) = covered_by(nodes, *at).and_then(|covered| nodes.get_mut(covered)) {
            covered.covers += 1;
        }
    }
    let is_bare = |node: &Node<'_>| node.may_enter && !node.is_vouched && node.covers == 0;
    let mut out: Vec<usize> =
        order.iter().copied().filter(|at| nodes.get(*at).is_some_and(is_bare)).collect();
    while let Some(at) = out.pop() {
        let covered = covered_by(nodes, at);
        let Some(node) = nodes.get_mut(at) else { continue };
        if !std::mem::take(&mut node.may_enter) {
            continue;
        }
        out.extend(node.dependents.iter().copied());
        if let Some(place) = covered
            && let Some(covered) = nodes.get_mut(place)
        {
            covered.covers -= 1;
            if is_bare(covered) {
                out.push(place);
            }
        }
    }
}
