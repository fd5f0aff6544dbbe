//! The rules of one session, each by itself: what it sends, what it skips, and when it gives up.

mod receiving;
mod sending;

use bft_json_crdt::Change;
use bytes::Bytes;
use gangline_doc::{LogSeq, OriginId, ReadLimit, ReplicaSettings};
use gangline_transport::session::{
    Applied, CloseReason, Effect, Input, Millis, Notice, Outgoing, RawFrame, Received, Session,
    SessionSettings,
};

use crate::node::{Node, Promise};

const EMPTY_BULK: &str = r#"{"type":"bulk","ops":[]}"#;

/// A session without a peer: the test plays it, and the driver.
struct Alone {
    node: Node,
    session: Session,
    now: Millis,
}

impl Alone {
    fn new(node: Node, settings: SessionSettings) -> Self {
        let durable = node.replica.as_ref().map_or(LogSeq::START, |replica| replica.durable());
        Self { node, session: Session::new(Millis(0), OriginId(1), durable, settings), now: Millis(0) }
    }

    fn fresh() -> Self {
        Self::new(Node::new(1, ReplicaSettings::default()), SessionSettings::default())
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.session.poll_effect()).collect()
    }

    fn feed(&mut self, input: Input) -> Vec<Effect> {
        self.session.handle(self.now, input);
        self.effects()
    }

    fn wait(&mut self, ms: u64) -> Vec<Effect> {
        self.now = self.now.plus(ms);
        self.feed(Input::Tick)
    }

    fn binary(&mut self, frames: &[&[u8]]) -> Vec<Effect> {
        let frames = frames.iter().map(|frame| RawFrame::Binary(Bytes::copy_from_slice(frame)));
        self.feed(Input::Received(Received::decode(frames.collect())))
    }

    fn text(&mut self, frame: &str) -> Vec<Effect> {
        let frame = RawFrame::Text(Bytes::copy_from_slice(frame.as_bytes()));
        self.feed(Input::Received(Received::decode(vec![frame])))
    }

    /// Answers [`Effect::Apply`] with what the replica says.
    fn apply(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let changes = changes(effects);
        let (batch, ticket) = self.node.replica().apply(0, OriginId(1), changes).expect("the log works");
        let mut effects =
            self.feed(Input::Applied(Ok(Applied { states: batch.states, evicted: batch.evicted })));
        self.node.log.flush(usize::MAX);
        assert!(Promise::new(ticket).is_kept());
        effects.extend(self.feed(Input::Stored(Ok(()))));
        effects
    }

    /// Answers [`Effect::Read`] until something is to be sent, and returns that.
    fn sent(&mut self, mut effects: Vec<Effect>) -> Vec<Outgoing> {
        loop {
            let mut next = None;
            for effect in effects {
                match effect {
                    Effect::Send(frames) => return frames,
                    Effect::Read { from, limit, .. } => next = Some((from, limit)),
                    _ => {}
                }
            }
            let Some((from, limit)) = next else { return Vec::new() };
            let entries = self.node.replica().entries(from, limit).expect("the log works");
            effects = self.feed(Input::Entries(Ok(entries)));
        }
    }
}

fn changes(effects: Vec<Effect>) -> Vec<Change> {
    effects
        .into_iter()
        .find_map(|effect| if let Effect::Apply(changes) = effect { Some(changes) } else { None })
        .expect("a batch is to be applied")
}

fn closed(effects: &[Effect]) -> Option<&CloseReason> {
    effects.iter().find_map(|effect| if let Effect::Close(reason) = effect { Some(reason) } else { None })
}

fn is_receiving(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Receive))
}

fn bad_frames(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Notice(Notice::BadFrame { .. }))).count()
}

/// A node with some items, all durable.
fn author(name: u8, items: usize) -> Node {
    let mut node = Node::new(name, ReplicaSettings::default());
    for _ in 0..items {
        node.add_item(10);
    }
    node.log.flush(usize::MAX);
    node
}

fn frames(node: &Node) -> Vec<Vec<u8>> {
    let limit = ReadLimit { count: usize::MAX, bytes: usize::MAX };
    let entries = node.replica().entries(LogSeq::START, limit).expect("the log works");
    entries.iter().map(|entry| entry.v1().to_vec()).collect()
}
