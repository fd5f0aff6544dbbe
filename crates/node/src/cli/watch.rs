//! `gangline watch`: changes as they happen. Comes back after a break and misses nothing.

mod document;

use std::time::Duration;

use clap::Args;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use super::client::Client;
use super::item::plain;
use super::output::{Output, printable};
use super::sse::{SseEvent, SseParser};
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::url::segment;

/// What `watch` takes.
#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// Begin with the change at this position of the node's log; 0 is all of it [default: what comes]
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// What happens to a document that follows a database, such as workflow:42, in place of the board
    #[arg(long, value_name = "ID", conflicts_with = "from")]
    document: Option<String>,
}

/// Between attempts to come back: first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A stream that is silent for longer is lost.
const SILENCE_MAX: Duration = Duration::from_secs(60);

pub(super) async fn run(client: &Client, args: &WatchArgs, out: &Output) -> Result<(), Failure> {
    let path = match (&args.document, args.from) {
        (Some(id), _) => format!("/api/v1/watch?document={}&client=gangline-watch", segment(id)),
        (None, Some(seq)) => format!("/api/v1/watch?from={seq}"),
        (None, None) => "/api/v1/watch".to_owned(),
    };
    let mut watcher = Watcher { last_id: None, node: None, follows_document: args.document.is_some() };
    // The first time nobody there is a failure; later it is something to wait out.
    let mut stream = Some(client.events(&path, None).await?);
    let mut pause = PAUSE_MIN;
    loop {
        if let Some(stream) = stream.take() {
            let before = watcher.last_id.clone();
            watcher.follow(stream, out, client.base()).await?;
            if watcher.last_id != before {
                pause = PAUSE_MIN;
            }
            eprintln!("lost {}; trying to come back", client.base());
        }
        clock::pause(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        match client.events(&path, watcher.last_id.as_deref()).await {
            Ok(opened) => stream = Some(opened),
            Err(failure) if matches!(failure.exit, Exit::Unreachable | Exit::Timeout | Exit::Unhealthy) => {
                tracing::debug!(event = "watch_retry", "{failure}");
            }
            Err(failure) => return Err(failure),
        }
    }
}

struct Watcher {
    last_id: Option<String>,
    node: Option<Value>,
    follows_document: bool,
}

impl Watcher {
    /// Prints what a stream brings until it ends.
    async fn follow(&mut self, mut stream: Incoming, out: &Output, base: &str) -> Result<(), Failure> {
        let mut parser = SseParser::default();
        // A node says something at least every 15 s; one that does not is gone without having said so.
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(SILENCE_MAX, stream.frame()).await {
            let Some(data) = frame.data_ref() else { continue };
            let events = parser.feed(data).map_err(|_| {
                Failure::new(Exit::Failed, "not_a_node", format!("what {base} sends is no stream of changes"))
            })?;
            for event in events {
                self.take(&event, out, base)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &SseEvent, out: &Output, base: &str) -> Result<(), Failure> {
        if let Some(id) = &event.id {
            self.last_id = Some(id.clone());
        }
        let data: Value = serde_json::from_str(&event.data).unwrap_or(Value::Null);
        if event.event == "change" {
            return if out.is_json() { out.line(&event.data) } else { out.line(&line(&data)) };
        }
        if self.follows_document && document::is_event(&event.event) {
            return document::print(&event.event, &data, out);
        }
        let node = data.get("node_id").cloned();
        if event.event == "reset" || (self.node.is_some() && self.node != node) {
            eprintln!("the node at {base} has another log than before: what follows is from its present end");
        } else {
            eprintln!("watching {base}");
        }
        self.node = node;
        Ok(())
    }
}

fn line(data: &Value) -> String {
    let text = |key: &str| printable(&data.get(key).map(plain).unwrap_or_default());
    let what = match text("action").as_str() {
        "set" => format!("set {} {} = {}", text("story_id"), text("field"), text("value")),
        action => format!("{action} {}", text("story_id")),
    };
    format!("{:>6}  {}  {what}", text("seq"), text("author_name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_is_one_line() {
        let data = json!({"seq": 7, "author_name": "swift-otter", "action": "set", "story_id": "s\n", "field": "stage", "value": "2_current"});
        assert_eq!(line(&data), "     7  swift-otter  set s\\n stage = 2_current");
    }
}
