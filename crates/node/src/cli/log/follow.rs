//! `gangline log read --follow`: events as they come. Comes back after a break and misses nothing.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use super::read::{not_events, print};
use super::{ReadArgs, place};
use crate::cli::client::Client;
use crate::cli::output::Output;
use crate::cli::sse::{SseEvent, SseParser};
use crate::clock;
use crate::failure::{Exit, Failure};

/// Between attempts to come back: first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A stream that is silent for longer is lost.
const SILENCE_MAX: Duration = Duration::from_secs(60);

pub(super) async fn run(client: &Client, args: &ReadArgs, out: &Output) -> Result<(), Failure> {
    let path = place(&args.space, &format!("/events?follow=true&from={}", args.from));
    let left = args.limit.unwrap_or(u64::MAX);
    let mut follower = Follower { client, out, last_id: None, life: None, left };
    // The first time nobody there is a failure; later it is something to wait out.
    let mut stream = Some(client.events(&path, None).await?);
    let mut pause = PAUSE_MIN;
    while follower.left > 0 {
        if let Some(stream) = stream.take() {
            let before = follower.last_id.clone();
            follower.follow(stream).await?;
            if follower.left == 0 {
                break;
            }
            if follower.last_id != before {
                pause = PAUSE_MIN;
            }
            eprintln!("lost {}; trying to come back", client.base());
        }
        clock::pause(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        match client.events(&path, follower.last_id.as_deref()).await {
            Ok(opened) => stream = Some(opened),
            Err(failure) if matches!(failure.exit, Exit::Unreachable | Exit::Timeout | Exit::Unhealthy) => {
                tracing::debug!(event = "log_follow_retry", "{failure}");
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

struct Follower<'a> {
    client: &'a Client,
    out: &'a Output,
    last_id: Option<String>,
    /// The incarnation of the log, once it has one.
    life: Option<Value>,
    left: u64,
}

impl Follower<'_> {
    /// Prints what a stream brings until it ends, or all was printed that was asked for.
    async fn follow(&mut self, mut stream: Incoming) -> Result<(), Failure> {
        let mut parser = SseParser::default();
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(SILENCE_MAX, stream.frame()).await {
            let Some(data) = frame.data_ref() else { continue };
            for event in parser.feed(data).map_err(|_| not_events(self.client))? {
                self.take(&event)?;
                if self.left == 0 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &SseEvent) -> Result<(), Failure> {
        if let Some(id) = &event.id {
            self.last_id = Some(id.clone());
        }
        if event.event == "event" {
            self.left = self.left.saturating_sub(1);
            return print(&event.data, self.out);
        }
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        let life = data.get("incarnation").filter(|life| !life.is_null()).cloned();
        let is_other = self.life.is_some() && life.is_some() && self.life != life;
        let base = self.client.base();
        match event.event == "reset" || is_other {
            true => eprintln!("{base} has another log than before: what follows is from its present end"),
            false => eprintln!("following {base}"),
        }
        self.life = life.or_else(|| self.life.take());
        Ok(())
    }
}
