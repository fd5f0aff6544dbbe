//! Faults, and hostile nodes at work.

use std::collections::BTreeSet;

use bft_json_crdt::json_crdt::BaseCrdt;
use bft_json_crdt::{Change, Keypair};
use gangline_doc::PipelineDoc;
use gangline_transport::session::CloseReason;

use super::{Event, World};
use crate::hostile::Scene;
use crate::machine::{Machine, Told};
use crate::node::{BOARD, DOCUMENTS, Node, Notes, Open, scrawl, scribble};
use crate::scenario::Hostile;

/// Parcels that may wait to leave a hostile node before it makes up more.
const WAITING_MAX: usize = 8;

/// What goes wrong, and right again.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// These edges are cut; with `torn` their connections end at once, else they fall silent.
    Cut { edges: Vec<usize>, torn: bool },
    /// These edges are whole again.
    Heal { edges: Vec<usize> },
    /// A node loses power.
    Crash { node: usize },
    /// A node's owner has changed whom it trusts, to the same effect: its links ask again for what is missing.
    AskAgain { node: usize },
    /// It is back.
    Restart { node: usize },
}

impl World {
    pub(super) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Cut { edges, torn } => self.cut(&edges, torn),
            Fault::Heal { edges } => {
                for at in edges {
                    if let Some(edge) = self.edges.get_mut(at) {
                        edge.is_cut = false;
                    }
                }
            }
            Fault::Crash { node } => self.crash(node),
            Fault::AskAgain { node } => {
                for (connection, side) in self.ends_of(node, None) {
                    self.tell(connection, side, Told::AskAgain);
                    if let Some(it) = self.connections.get_mut(&connection) {
                        it.has_asked_again = true;
                    }
                }
            }
            Fault::Restart { node } => {
                if self.nodes.get(node).is_some_and(|node| !node.is_up()) {
                    self.start(node);
                }
            }
        }
    }

    pub(crate) fn cut(&mut self, edges: &[usize], torn: bool) {
        for at in edges {
            let Some(edge) = self.edges.get_mut(*at) else { continue };
            edge.is_cut = true;
            let connection = edge.connection;
            if torn {
                let reason = CloseReason::Lost { error: "the connection was cut".to_owned() };
                // A listener may still hold the end of an older connection.
                let old: Vec<u64> =
                    self.connections.iter().filter(|(_, it)| it.edge == *at).map(|(id, _)| *id).collect();
                for id in connection.into_iter().chain(old) {
                    (0..2).for_each(|side| self.drop_end(id, side, &reason, false));
                }
            }
        }
    }

    fn crash(&mut self, node: usize) {
        let Some(it) = self.nodes.get_mut(node).filter(|it| it.is_up()) else { return };
        it.crash();
        self.tally.crashes += 1;
        self.leave(node, None);
    }

    /// All connections of a node, or of one face, end.
    fn leave(&mut self, node: usize, face: Option<usize>) {
        for (connection, side) in self.ends_of(node, face) {
            self.drop_end(connection, side, &CloseReason::Stopping, true);
        }
    }

    /// Ends all faults. Hostile nodes go on.
    pub(crate) fn heal(&mut self) {
        self.loss_millionths = 0;
        self.is_settling = true;
        self.events.retain(|_, event| !matches!(event, Event::Fault(_) | Event::Edit(_)));
        for edge in &mut self.edges {
            edge.is_cut = false;
        }
        for node in 0..self.nodes.len() {
            self.fault(Fault::Restart { node });
        }
    }

    /// Mends an edge, whose dialer tries at once.
    pub(crate) fn mend(&mut self, at: usize) {
        let Some(edge) = self.edges.get_mut(at) else { return };
        edge.is_cut = false;
        self.plan(0, Event::Dial(at));
    }

    /// The hostile nodes go for good.
    pub(crate) fn part_from_hostile(&mut self) {
        self.is_calm = true;
        let is_theirs = |edge: &super::Edge| edge.nodes.iter().any(|node| !self.is_honest(*node));
        let theirs: Vec<usize> =
            self.edges.iter().enumerate().filter(|(_, edge)| is_theirs(edge)).map(|(at, _)| at).collect();
        self.cut(&theirs, true);
    }

    /// A hostile node does what it is there for.
    pub(super) fn mischief(&mut self, node: usize) {
        let Some(actor) = self.actors.get_mut(&node) else { return };
        let (kind, pause) = (actor.kind(), actor.pause_ms());
        self.plan(pause, Event::Mischief(node));
        if self.is_calm {
            return;
        }
        if !self.is_settling && self.actors.get_mut(&node).is_some_and(|actor| actor.wants_to_edit(self.now))
        {
            self.edit(node);
        }
        if kind == Hostile::Equivocator
            && !self.is_settling
            && self.actors.get_mut(&node).is_some_and(|actor| actor.wants_to_roll_back(self.now))
        {
            self.roll_back(node);
        }
        for (connection, side) in self.ends_of(node, None) {
            if self.waiting(connection, side) <= WAITING_MAX && self.is_link(connection, side) {
                let frames = self.make_up(node, connection, side);
                self.inject(connection, side, frames);
            }
        }
    }

    /// A puppet has heard something, and plays.
    pub(super) fn play(&mut self, connection: u64, side: usize) {
        let Some(end) = self.end(connection, side) else { return };
        let node = end.node;
        if let Some(actor) = self.actors.get_mut(&node) {
            let frames = actor.play(connection);
            self.inject(connection, side, frames);
        }
    }

    fn make_up(&mut self, node: usize, connection: u64, side: usize) -> Vec<bytes::Bytes> {
        let Some(end) = self.end(connection, side) else { return Vec::new() };
        let (face, is_open) =
            (end.face, matches!(&end.machine, Machine::Link(link) if link.peer().is_some()));
        let wants = self.actors.get_mut(&node).is_some_and(|actor| actor.wants_changes());
        let changes = if wants && is_open { self.forge(node, face) } else { Vec::new() };
        let victims = self.honest_authors();
        let Some(actor) = self.actors.get_mut(&node) else { return Vec::new() };
        let open = self.nodes.get(node).and_then(|it| it.faces.get(face)?.open.as_ref());
        let own = self.nodes.get(node).map(Node::author);
        let (Some(open), Some(own)) = (open, own) else { return Vec::new() };
        actor.make_up(&Scene { connection, is_open, open, own, victims, changes })
    }

    /// Changes in an honest node's name, each in its place in that node's chain, with everything right but the
    /// signature.
    fn forge(&mut self, node: usize, face: usize) -> Vec<(usize, Change)> {
        let honest: Vec<usize> = (0..self.nodes.len()).filter(|node| self.is_honest(*node)).collect();
        let document = self.rng.below(DOCUMENTS.len());
        let Some(victim) = self.rng.pick(&honest).and_then(|victim| self.nodes.get(*victim)) else {
            return Vec::new();
        };
        let open = self.nodes.get(node).and_then(|it| it.faces.get(face)?.open.as_ref());
        let Some(open) = open else { return Vec::new() };
        let n = self.rng.next();
        let forged = match document {
            BOARD => forge_board(&victim.keypair, open, n),
            _ => forge_notes(&victim.keypair, open, &mut self.rng, n),
        };
        forged.unwrap_or_default().into_iter().map(|change| (document, change)).collect()
    }

    fn roll_back(&mut self, node: usize) {
        let face = self.rng.below(2);
        self.leave(node, Some(face));
        let Some(it) = self.nodes.get_mut(node) else { return };
        let (keypair, rng) = (it.keypair.clone(), &mut it.rng);
        if let Some(shown) = it.faces.get_mut(face) {
            // What it cannot open again it does not show any more.
            let _ = shown.roll_back(&keypair, rng);
        }
        self.start_dialing(node);
    }

    fn start_dialing(&mut self, node: usize) {
        let dials: BTreeSet<usize> = (0..self.edges.len())
            .filter(|at| {
                self.edges.get(*at).is_some_and(|edge| edge.nodes[0] == node && edge.connection.is_none())
            })
            .collect();
        dials.into_iter().for_each(|at| self.redial(at));
    }
}

fn forge_board(victim: &Keypair, open: &Open, n: u64) -> Option<Vec<Change>> {
    let mut base = BaseCrdt::<PipelineDoc>::with_document(victim, DOCUMENTS[BOARD]);
    base.load(open.changes(BOARD).ok()?).ok()?;
    base.transact(victim, |doc| scrawl(doc, n)).ok()
}

fn forge_notes(victim: &Keypair, open: &Open, rng: &mut crate::rng::Rng, n: u64) -> Option<Vec<Change>> {
    let mut base = BaseCrdt::<Notes>::with_document(victim, DOCUMENTS[1]);
    base.load(open.changes(1).ok()?).ok()?;
    base.transact(victim, |doc| scribble(doc, rng, n)).ok()
}
