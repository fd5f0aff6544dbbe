//! Three nodes of one process, each with a board and a socket of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bft_json_crdt::keypair::make_keypair;
use gangline_doc::board;
use gangline_store::MemoryOpLog;
use http::Method;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::api::App;
use crate::assemble::{Data, assemble, bind};
use crate::cli::client::{Client, Reply};
use crate::clock;
use crate::config::{Flags, Settings};
use crate::failure::{Exit, Failure};
use crate::logs::Opened;
use crate::run::Running;

/// How long boards may take to agree before something is wrong.
const AGREE_WITHIN: Duration = Duration::from_secs(30);

/// The nodes.
pub(super) struct Team {
    members: [Member; 3],
}

/// One node and a client that talks to it as any other would.
pub(super) struct Member {
    running: Running,
    client: Client,
}

impl Team {
    /// Starts the nodes. The second dials the first, the third both.
    pub(super) async fn start(stop: &CancellationToken) -> Result<Self, Failure> {
        let first = Member::start(&[], stop).await?;
        let second = Member::start(&[&first], stop).await?;
        let third = Member::start(&[&first, &second], stop).await?;
        Ok(Self { members: [first, second, third] })
    }

    /// The nodes in order.
    pub(super) fn members(&self) -> &[Member; 3] {
        &self.members
    }

    /// Waits until these nodes hold the same changes and show the same, byte for byte. Returns the board.
    pub(super) async fn agree(&self, who: &[&Member]) -> Result<Value, Failure> {
        let agreed = tokio::time::timeout(AGREE_WITHIN, async {
            loop {
                let boards: BTreeSet<(Vec<String>, String)> =
                    who.iter().map(|member| member.board()).collect();
                if boards.len() == 1
                    && let Some((_, text)) = boards.into_iter().next()
                {
                    return text;
                }
                // Nothing wakes us when a read shows more: looking again soon is cheap.
                clock::pause(Duration::from_millis(10)).await;
            }
        });
        let text = agreed.await.map_err(|_| {
            let message = format!("the boards do not agree after {} s", AGREE_WITHIN.as_secs());
            Failure::new(Exit::Failed, "no_agreement", message)
        })?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(Exit::Failed, "no_agreement", error.to_string()))
    }

    /// Waits until all nodes have stopped.
    pub(super) async fn stopped(self) {
        let [first, second, third] = self.members;
        tokio::join!(first.running.stopped(), second.running.stopped(), third.running.stopped());
    }
}

impl Member {
    async fn start(peers: &[&Member], stop: &CancellationToken) -> Result<Self, Failure> {
        let flags = Flags {
            listen: Some("127.0.0.1:0".to_owned()),
            peers: peers.iter().map(|peer| format!("ws://{}/crdt-sync", peer.app().listen)).collect(),
            ..Flags::default()
        };
        let settings =
            Settings::resolve(&flags, &|_| None, None).map_err(|mistakes| Failure::settings(&mistakes))?;
        let listener = bind(&settings).await?;
        let data = Data {
            keypair: make_keypair(),
            log: Arc::new(MemoryOpLog::new()),
            logs: Opened::memory(),
            documents: Arc::new(crate::documents::MemoryDocuments::default()),
            dir: None,
        };
        let parts = assemble(&settings, data, listener, stop.child_token())?;
        let running = Running::start(parts);
        let url = format!("http://{}", running.app().listen);
        let client = Client::new(&url, None, Duration::from_secs(30))?;
        Ok(Self { running, client })
    }

    fn app(&self) -> &App {
        self.running.app()
    }

    /// The node's name.
    pub(super) fn name(&self) -> &str {
        &self.app().name
    }

    /// Where its board is.
    pub(super) fn url(&self) -> &str {
        self.client.base()
    }

    /// Sends a request over HTTP. A refusal is an answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, Failure> {
        self.client.exchange(method, path, body).await
    }

    /// Drops its peers and refuses new ones.
    pub(super) async fn cut(&self) {
        self.app().links.cut().await;
    }

    /// Dials its peers again, and takes others in.
    pub(super) fn heal(&self) {
        self.app().links.connect();
    }

    /// How many changes it holds.
    pub(super) fn changes(&self) -> usize {
        self.app().replica.stats().changes
    }

    /// The heads and the view, at one moment.
    fn board(&self) -> (Vec<String>, String) {
        let read = self.app().replica.read(|base| {
            let heads = base.heads().iter().map(ToString::to_string).collect();
            (heads, serde_json::to_string(&board::items(base)).unwrap_or_default())
        });
        read.0
    }
}
