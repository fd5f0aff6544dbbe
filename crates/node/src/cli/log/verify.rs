//! `gangline log verify`: replays a log, here, whoever has it: chain, epochs, ids and signatures.

use gangline_lease::{Offence, Seq, SpaceName, SpaceState, Verifier};
use serde_json::json;

use super::VerifyArgs;
use super::source::Source;
use crate::cli::client::Client;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::failure::{Exit, Failure};

/// Events that are asked for at a time.
const PAGE: u64 = 256;

pub(super) async fn run(
    client: impl FnOnce() -> Result<Client, Failure>,
    args: &VerifyArgs,
    out: &Output,
) -> Result<(), Failure> {
    let source = match (&args.data_dir, &args.git) {
        (Some(dir), _) => Source::data_dir(dir)?,
        (None, Some(repository)) => Source::git(repository)?,
        (None, None) => Source::Node(client()?),
    };
    let state = source.state(&args.space).await?;
    replay(&source, &args.space, &state).await?;
    let SpaceState { head, epoch, incarnation } = state;
    if out.is_json() {
        return out.document(&json!({
            "space": args.space.as_str(),
            "ok": true,
            "events": head.next.0,
            "hash": head.hash.to_string(),
            "epoch": epoch.0,
            "incarnation": incarnation.to_string(),
        }));
    }
    let count = head.next.0;
    let events = if count == 1 { "event" } else { "events" };
    out.line(&format!("{}: {count} {events}, in order, signed, and as they were written", args.space))?;
    out.line(&format!("hash    {}", head.hash))
}

/// Reads and checks everything up to the head of `state`.
pub(super) async fn replay(source: &Source, space: &SpaceName, state: &SpaceState) -> Result<(), Failure> {
    let offends = |offence: &Offence| {
        let mut failure = Failure::new(Exit::Refused, "log_offends", format!("{space}: {offence}"))
            .hint("nothing from there on can be trusted; compare with a copy of the log");
        failure.details = Some(json!({ "space": space.as_str() }));
        failure
    };
    let mut verifier = Verifier::new(space.clone(), state.incarnation);
    let mut progress = Progress::new("verifying", state.head.next.0);
    let mut next = Seq::START;
    while next < state.head.next {
        progress.at(next.0);
        let left = (state.head.next.0 - next.0).min(PAGE);
        let events = source.events(space, next, usize::try_from(left).unwrap_or(usize::MAX)).await?;
        if events.is_empty() {
            break;
        }
        for event in &events {
            verifier.push(event).map_err(|offence| offends(&offence))?;
        }
        next = next.plus(events.len());
    }
    let found = verifier.end().map_err(|offence| offends(&offence))?;
    if found != state.head {
        return Err(offends(&Offence::OtherEnd { expected: state.head, found }));
    }
    if verifier.epoch() > state.epoch {
        let seq = Seq(found.next.0.saturating_sub(1));
        let offence = Offence::EpochFell { seq, before: verifier.epoch(), found: state.epoch };
        return Err(offends(&offence));
    }
    Ok(())
}
