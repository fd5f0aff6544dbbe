//! A peer of version 1 by hand: a replica, a WebSocket, and frames put together from the description of the
//! protocol alone.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};

use bft_json_crdt::json_crdt::{BaseCrdt, CrdtNode, Digest, SignedOp};
use bft_json_crdt::keypair::Keypair;
use gangline_doc::PipelineDoc;
use serde_json::{Value, json};

use crate::http::PATIENCE;
use crate::node::Node;
use crate::websocket::{self, Message, Sender};

/// A replica of the board that is no node, and what it makes.
#[derive(Debug)]
pub struct Author {
    /// Signs what is made here.
    pub keypair: Keypair,
    /// What is known here.
    pub replica: BaseCrdt<PipelineDoc>,
}

impl Author {
    /// The author that `seed` stands for, who knows nothing.
    #[must_use]
    pub fn new(seed: u8) -> Self {
        let keypair = Keypair::from_seed(&[seed; 32]);
        let replica = BaseCrdt::new(&keypair);
        Self { keypair, replica }
    }

    /// Adds an item at the end.
    ///
    /// # Panics
    ///
    /// If the engine does not take it.
    pub fn add(&mut self, story_id: &str) -> SignedOp {
        let op = self.replica.doc.items.push(item(story_id)).sign(&self.keypair);
        self.record(op)
    }

    /// Moves the item at `position` to a stage.
    ///
    /// # Panics
    ///
    /// If there is no such item.
    pub fn set_stage(&mut self, position: usize, stage: &str) -> SignedOp {
        let item = self.replica.doc.items.get(position).expect("an item at that position");
        let op = item.stage.set(stage.to_owned()).sign(&self.keypair);
        self.record(op)
    }

    /// Takes in what others made.
    ///
    /// # Panics
    ///
    /// If it is not good.
    pub fn learn(&mut self, ops: &[SignedOp]) {
        let changes = ops.iter().cloned().map(SignedOp::into_change).collect();
        let states = self.replica.apply_changes(changes).states;
        assert!(states.iter().all(|state| !state.is_refused()), "{states:?}");
    }

    /// Returns the story ids that show, in document order.
    #[must_use]
    pub fn story_ids(&self) -> Vec<String> {
        let view = Value::from(self.replica.doc.items.handle().view());
        let items = view.as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| Some(item.get("story_id")?.as_str()?.to_owned())).collect()
    }

    fn record(&mut self, op: SignedOp) -> SignedOp {
        assert!(self.replica.apply(op.clone()).is_applied());
        op
    }
}

/// An author who is connected to a node.
#[derive(Debug)]
pub struct Peer {
    /// Who it is.
    pub author: Author,
    /// Sends to the node.
    pub sender: Sender,
    /// What came, bulk and live.
    pub received: BTreeSet<Digest>,
    /// The code with which the node said goodbye.
    pub closed: Option<u16>,
    messages: mpsc::Receiver<Message>,
}

impl Peer {
    /// Connects `author` to `node`.
    ///
    /// # Errors
    ///
    /// If the node does not take it.
    pub fn connect(node: &Node, author: Author) -> io::Result<Self> {
        let (sender, mut receiver) = websocket::connect(node.address())?;
        let (tell, messages) = mpsc::channel();
        std::thread::spawn(move || {
            while let Ok(message) = receiver.next_message() {
                if tell.send(message).is_err() {
                    return;
                }
            }
        });
        Ok(Self { author, sender, received: BTreeSet::new(), closed: None, messages })
    }

    /// Sends ops in one text frame.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub fn send_bulk<'a>(&self, ops: impl IntoIterator<Item = &'a SignedOp>) -> io::Result<()> {
        self.sender.text(bulk(ops.into_iter().map(op_json)).to_string().as_bytes())
    }

    /// Sends ops in a binary frame each.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub fn send_binary<'a>(&self, ops: impl IntoIterator<Item = &'a SignedOp>) -> io::Result<()> {
        ops.into_iter().try_for_each(|op| self.sender.binary(&binary(op)))
    }

    /// Sends an op in the older text frame.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub fn send_op_text(&self, op: &SignedOp) -> io::Result<()> {
        self.sender.text(json!({ "type": "op", "op": op_json(op) }).to_string().as_bytes())
    }

    /// Takes in what the node sends until `is_there` holds, or the node says goodbye.
    ///
    /// # Errors
    ///
    /// If the node falls silent before, or ends the connection without a word.
    ///
    /// # Panics
    ///
    /// If the node sends anything but good frames of version 1.
    pub fn receive_until(&mut self, is_there: impl Fn(&Self) -> bool) -> io::Result<()> {
        while !is_there(self) {
            let message = self.messages.recv_timeout(PATIENCE).map_err(|error| match error {
                RecvTimeoutError::Timeout => io::Error::other(format!("silence; known: {self:?}")),
                RecvTimeoutError::Disconnected => io::ErrorKind::UnexpectedEof.into(),
            })?;
            match message {
                Message::Text(payload) => {
                    let frame: Value = serde_json::from_slice(&payload)?;
                    assert_eq!(frame.get("type"), Some(&json!("bulk")), "{frame}");
                    let ops = frame.get("ops").and_then(Value::as_array).expect("a bulk has ops");
                    let ops = ops.iter().map(|op| serde_json::from_str(op.as_str().expect("an op is text")));
                    let ops: Vec<SignedOp> = ops.collect::<Result<_, _>>()?;
                    self.take(&ops);
                }
                Message::Binary(payload) => {
                    let frame: Value = serde_json::from_slice(&payload)?;
                    assert_eq!(frame.get("v"), Some(&json!(1)), "{frame}");
                    let op = frame.get("op").cloned().expect("a binary frame has an op");
                    self.take(&[serde_json::from_value(op)?]);
                }
                Message::Close(code) => {
                    self.closed = Some(code);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, ops: &[SignedOp]) {
        for op in ops {
            // "Each op after its past": nothing that an honest node sends has to wait.
            assert!(self.received.insert(op.digest()), "the node sent {op:?} twice");
            self.author.learn(std::slice::from_ref(op));
            assert_eq!(self.author.replica.causal_queue_len(), 0, "the node sent {op:?} before its past");
        }
    }
}

/// Returns an op as it stands in frames.
///
/// # Panics
///
/// If the op was refused when it was made.
#[must_use]
pub fn op_json(op: &SignedOp) -> String {
    serde_json::to_string(op).expect("an op that was signed can be written")
}

/// Returns a bulk of these ops, each of them text.
#[must_use]
pub fn bulk(ops: impl Iterator<Item = String>) -> Value {
    json!({ "type": "bulk", "ops": ops.collect::<Vec<_>>() })
}

/// Returns the binary frame of an op.
#[must_use]
pub fn binary(op: &SignedOp) -> Vec<u8> {
    format!(r#"{{"v":1,"op":{}}}"#, op_json(op)).into_bytes()
}

/// Returns an item with all nine fields.
#[must_use]
pub fn item(story_id: &str) -> Value {
    json!({
        "story_id": story_id, "stage": "1_backlog", "name": story_id, "agent": "", "retry_count": 0,
        "blocked": false, "depends_on": "", "claimed_by": "", "claimed_at": 0,
    })
}
