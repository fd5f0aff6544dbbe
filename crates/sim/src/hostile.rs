//! What hostile nodes do on the wire. Each runs the real machines over real replicas, with its own good key, and
//! spoils what these say; or says things of its own.

use std::collections::{BTreeSet, VecDeque};

use bft_json_crdt::json_crdt::VersionVector;
use bft_json_crdt::{AuthorId, Change, Digest, Keypair};
use bytes::Bytes;
use gangline_transport::link::Answer;
use gangline_transport::session::RawFrame;
use gangline_wire::v2::{self, Accepts, Frame};

use crate::node::{DOCUMENTS, Open};
use crate::rng::Rng;
use crate::scenario::Hostile;

/// How often a slow reader takes a frame.
const SLOW_READ_MS: u64 = 60_000;
/// How often a flooder does, on every other connection: what it asks for then has nowhere to go.
const FLOODER_READ_MS: u64 = 2_000;
/// Frames that a replayer keeps.
const RECORDED_MAX: usize = 256;

/// A hostile node's mind.
pub(crate) struct Actor {
    kind: Hostile,
    rng: Rng,
    edits_at: u64,
    rolls_back_at: u64,
    floods: u64,
    /// Frames that were heard, with the connection.
    recorded: VecDeque<(u64, Bytes)>,
}

/// What a hostile node has before it when it makes something up.
pub(crate) struct Scene<'a> {
    pub(crate) connection: u64,
    /// The other side has shown its key.
    pub(crate) is_open: bool,
    pub(crate) open: &'a Open,
    pub(crate) own: AuthorId,
    pub(crate) victims: BTreeSet<AuthorId>,
    /// Changes in an honest node's name, with its signature: a forger takes that off before anybody sees them.
    pub(crate) changes: Vec<(usize, Change)>,
}

impl Actor {
    pub(crate) fn new(kind: Hostile, rng: Rng) -> Self {
        Self { kind, rng, edits_at: 0, rolls_back_at: 40_000, floods: 0, recorded: VecDeque::new() }
    }

    pub(crate) fn kind(&self) -> Hostile {
        self.kind
    }

    /// How often it takes a frame from a connection; none for as fast as they come.
    pub(crate) fn reads_every_ms(&self, connection: u64) -> Option<u64> {
        match self.kind {
            Hostile::SlowReader => Some(SLOW_READ_MS),
            Hostile::Flooder if connection.is_multiple_of(2) => Some(FLOODER_READ_MS),
            Hostile::Flooder
            | Hostile::Equivocator
            | Hostile::Withholder
            | Hostile::Liar
            | Hostile::Replayer
            | Hostile::Forger => None,
        }
    }

    pub(crate) fn pause_ms(&mut self) -> u64 {
        match self.kind {
            Hostile::Flooder => self.rng.between(10, 40),
            Hostile::Forger => self.rng.between(1_000, 3_000),
            Hostile::Replayer | Hostile::Liar => self.rng.between(300, 2_000),
            Hostile::Equivocator | Hostile::Withholder | Hostile::SlowReader => {
                self.rng.between(1_000, 5_000)
            }
        }
    }

    /// Every hostile node writes now and then.
    pub(crate) fn wants_to_edit(&mut self, now: u64) -> bool {
        let is_due = now >= self.edits_at;
        if is_due {
            self.edits_at = now + self.rng.between(5_000, 20_000);
        }
        is_due
    }

    pub(crate) fn wants_to_roll_back(&mut self, now: u64) -> bool {
        let is_due = now >= self.rolls_back_at;
        if is_due {
            self.rolls_back_at = now + self.rng.between(30_000, 90_000);
        }
        is_due
    }

    /// Whether it needs changes in others' names.
    pub(crate) fn wants_changes(&self) -> bool {
        self.kind == Hostile::Forger
    }

    /// Whether it plays a connection by hand, with what it heard elsewhere.
    pub(crate) fn begins_alone(&mut self, _connection: u64) -> bool {
        self.kind == Hostile::Replayer && self.rng.chance(500_000)
    }

    /// What becomes of a frame that its machine wants to send.
    pub(crate) fn outgoing(&mut self, own: &AuthorId, frame: RawFrame) -> Option<RawFrame> {
        let RawFrame::Binary(bytes) = &frame else { return Some(frame) };
        match (self.kind, v2::decode(bytes)) {
            (Hostile::Withholder, Ok(Frame::Changes { document, changes })) => {
                let changes: Vec<Change> = changes.into_iter().filter(|it| it.author() == *own).collect();
                let frame = Frame::Changes { document, changes };
                let is_empty = matches!(&frame, Frame::Changes { changes, .. } if changes.is_empty());
                (!is_empty).then(|| RawFrame::Binary(v2::encode(&frame).into()))
            }
            (Hostile::Liar, Ok(Frame::End { document, is_final, vector })) => {
                let vector = self.lie(vector);
                Some(RawFrame::Binary(v2::encode(&Frame::End { document, is_final, vector }).into()))
            }
            (Hostile::Liar, Ok(Frame::Ack { document, vector })) => {
                let vector = self.lie(vector);
                Some(RawFrame::Binary(v2::encode(&Frame::Ack { document, vector }).into()))
            }
            _ => Some(frame),
        }
    }

    /// What becomes of what its replica says.
    pub(crate) fn answer(&mut self, answer: Answer) -> Answer {
        if self.kind != Hostile::Liar {
            return answer;
        }
        match answer {
            Answer::Survey { vector, end, accepts } => {
                Answer::Survey { vector: self.lie(vector), end, accepts }
            }
            Answer::Contains(held) if self.rng.chance(700_000) => {
                Answer::Contains(held.into_iter().map(|held| held ^ self.rng.chance(400_000)).collect())
            }
            Answer::Checked { held, accepts } if self.rng.chance(700_000) => {
                let held = held.into_iter().map(|held| held ^ self.rng.chance(400_000)).collect();
                Answer::Checked { held, accepts }
            }
            Answer::Holdings { .. }
            | Answer::Learned(_)
            | Answer::Given { .. }
            | Answer::Contains(_)
            | Answer::Checked { .. }
            | Answer::OnChains(_) => answer,
        }
    }

    /// Changes some tips to nonsense, and leaves out some authors.
    fn lie(&mut self, vector: VersionVector) -> VersionVector {
        if self.rng.chance(300_000) {
            return vector;
        }
        let mut lies = VersionVector::new();
        for (author, mut tips) in vector {
            match self.rng.below(5) {
                0 => continue,
                1 => tips.iter_mut().for_each(|(_, digest)| *digest = Digest(self.rng.bytes())),
                2 => tips.iter_mut().for_each(|(seq, digest)| {
                    *seq = self.rng.between(1, *seq + 1_000);
                    *digest = Digest(self.rng.bytes());
                }),
                _ => {}
            }
            tips.sort_unstable();
            lies.insert(author, tips);
        }
        if self.rng.chance(200_000) {
            lies.insert(
                AuthorId(self.rng.bytes()),
                vec![(self.rng.between(1, 1 << 50), Digest(self.rng.bytes()))],
            );
        }
        lies
    }

    /// Notes what it hears.
    pub(crate) fn heard(&mut self, connection: u64, frame: &Bytes) {
        if self.kind == Hostile::Replayer {
            self.recorded.push_back((connection, frame.clone()));
            if self.recorded.len() > RECORDED_MAX {
                self.recorded.pop_front();
            }
        }
    }

    /// Whether its machine may see a frame: what answers something made up would end the session.
    pub(crate) fn lets_in(&self, frame: &Bytes) -> bool {
        let answers = |frame| matches!(v2::decode(frame), Ok(Frame::Reply { .. } | Frame::Have { .. }));
        self.kind != Hostile::Flooder || !answers(frame)
    }

    /// Plays a connection by hand: says somebody else's hello, or the other side's own, and a proof that it heard.
    pub(crate) fn play(&mut self, connection: u64) -> Vec<Bytes> {
        let is_proof = |frame: &Bytes| matches!(v2::decode(frame), Ok(Frame::Proof(_)));
        let is_hello = |frame: &Bytes| matches!(v2::decode(frame), Ok(Frame::Hello(_)));
        let is_reflecting = connection.is_multiple_of(2);
        let last = self.recorded.back().filter(|(at, _)| *at == connection).map(|(_, frame)| frame.clone());
        let Some(last) = last else { return Vec::new() };
        let mut frames = Vec::new();
        if is_hello(&last) {
            let mut hellos = self
                .recorded
                .iter()
                .filter(|(at, frame)| (*at == connection) == is_reflecting && is_hello(frame));
            frames.extend(hellos.next_back().map(|(_, frame)| frame.clone()));
            if !is_reflecting {
                let mut proofs =
                    self.recorded.iter().filter(|(at, frame)| *at != connection && is_proof(frame));
                frames.extend(proofs.next_back().map(|(_, frame)| frame.clone()));
            }
        } else if is_proof(&last) {
            frames.push(last);
        }
        let more = self.rng.below(4);
        frames.extend(
            (0..more)
                .filter_map(|_| self.rng.pick(self.recorded.make_contiguous()).map(|(_, it)| it.clone())),
        );
        frames
    }

    /// What it says on a connection of its own accord.
    pub(crate) fn make_up(&mut self, scene: &Scene<'_>) -> Vec<Bytes> {
        match self.kind {
            Hostile::Flooder => self.flood(scene),
            Hostile::Forger => self.forge(scene),
            Hostile::Replayer => self.replay(scene),
            Hostile::Liar if scene.is_open => self.boast(),
            Hostile::Liar | Hostile::Equivocator | Hostile::Withholder | Hostile::SlowReader => Vec::new(),
        }
    }

    fn document(&mut self) -> u32 {
        self.rng.below(DOCUMENTS.len()) as u32
    }

    fn flood(&mut self, scene: &Scene<'_>) -> Vec<Bytes> {
        self.floods += 1;
        let document = self.document();
        if !scene.is_open {
            return Vec::new();
        }
        let frame = match self.rng.below(200) {
            0 => Frame::Vector { document, vector: VersionVector::new(), accepts: Accepts::All },
            1 => return self.everything(scene.open, document),
            2..4 => {
                let author = AuthorId(self.rng.bytes());
                let digests = (0..256).map(|_| Digest(self.rng.bytes())).collect();
                Frame::Ask { document, author, digests }
            }
            4..30 => Frame::Call { id: self.floods * 1_000, method: 1, body: Bytes::from(vec![7; 512]) },
            30..90 => Frame::Presence(Bytes::from(vec![7; 1_024])),
            90..110 => Frame::Ack { document, vector: VersionVector::new() },
            110..120 => Frame::Records(vec![Bytes::from(vec![1; 100]); 8]),
            // More than the other side holds answers for.
            120..130 => {
                let call = |id| Frame::Call { id, method: 1, body: Bytes::from(vec![7; 256]) };
                return (0..300).map(|n| v2::encode(&call(self.floods * 1_000 + n)).into()).collect();
            }
            _ => return self.noise(),
        };
        vec![v2::encode(&frame).into()]
    }

    /// Frames that are none.
    fn noise(&mut self) -> Vec<Bytes> {
        let count = self.rng.below(4);
        let mut frames = Vec::with_capacity(count);
        for _ in 0..count {
            let mut frame = self.rng.bytes::<96>();
            if let Some(first) = frame.first_mut() {
                *first = 0x82 + (self.rng.below(40) as u8);
            }
            frames.push(Bytes::copy_from_slice(&frame));
        }
        frames
    }

    /// All changes of a document, again.
    fn everything(&mut self, open: &Open, document: u32) -> Vec<Bytes> {
        let changes = open.changes(document as usize).unwrap_or_default();
        changes.chunks(32).take(8).map(|some| v2::changes_of(document, some.iter()).into()).collect()
    }

    fn forge(&mut self, scene: &Scene<'_>) -> Vec<Bytes> {
        let mut frames = Vec::new();
        let forger = Keypair::from_seed(&self.rng.bytes());
        for (document, change) in &scene.changes {
            // Zeros say that a later change vouches; the victim's real ones follow, and do not name this one.
            let signature = match self.rng.below(3) {
                0 => [0; 64],
                1 => forger.sign(&change.digest().0),
                _ => self.rng.bytes(),
            };
            let mut changes = vec![change.with_signature(signature)];
            let of_victim = |it: &Change| it.author() == change.author();
            let known = scene.open.changes(*document).unwrap_or_default();
            changes.extend(known.into_iter().rev().filter(of_victim).take(self.rng.below(3)));
            frames.push(v2::changes_of(*document as u32, changes.iter()).into());
        }
        // A real change of somebody with another signature, and one cut short.
        let document = self.rng.below(DOCUMENTS.len());
        let known = scene.open.changes(document).unwrap_or_default();
        if let Some(change) = self.rng.pick(&known) {
            let spoiled = [change.with_signature(self.rng.bytes())];
            frames.push(v2::changes_of(document as u32, spoiled.iter()).into());
            let spoiled = spoil(change, &scene.victims, &scene.own, &mut self.rng);
            frames.extend(spoiled.map(|it| v2::changes_of(document as u32, [it].iter()).into()));
        }
        frames
    }

    fn replay(&mut self, scene: &Scene<'_>) -> Vec<Bytes> {
        let elsewhere: Vec<&Bytes> =
            self.recorded.iter().filter(|(at, _)| *at != scene.connection).map(|(_, frame)| frame).collect();
        let count = 1 + self.rng.below(3);
        (0..count).filter_map(|_| self.rng.pick(&elsewhere).map(|frame| (*frame).clone())).collect()
    }

    fn boast(&mut self) -> Vec<Bytes> {
        let document = self.document();
        let vector = VersionVector::from([(AuthorId(self.rng.bytes()), vec![(9, Digest(self.rng.bytes()))])]);
        let frame = match self.rng.below(8) {
            0 => Frame::End { document, is_final: true, vector },
            1 => Frame::Vector { document, vector, accepts: Accepts::All },
            2 => Frame::Have { document, author: AuthorId(self.rng.bytes()), held: vec![true; 3] },
            _ => Frame::Ack { document, vector },
        };
        vec![v2::encode(&frame).into()]
    }
}

/// A change with another author's key in it, or with one byte changed.
fn spoil(change: &Change, victims: &BTreeSet<AuthorId>, own: &AuthorId, rng: &mut Rng) -> Option<Change> {
    let mut bytes = change.bytes().to_vec();
    if rng.chance(500_000) {
        let names: Vec<&AuthorId> = victims.iter().chain([own]).collect();
        let author = rng.pick(&names)?;
        bytes.get_mut(32..64)?.copy_from_slice(&author.0);
    } else {
        let at = rng.below(bytes.len());
        *bytes.get_mut(at)? ^= 1 << rng.below(8);
    }
    Change::decode(&bytes, *change.signature()).ok()
}
