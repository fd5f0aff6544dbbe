//! `gangline demo`: three nodes in one process, with real sockets. They work together, one is cut off, both
//! sides go on, and when it is back all three boards agree.

mod script;
mod team;

use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use self::script::Stage;
use self::team::Team;
use super::output::Output;
use crate::config::parse_time;
use crate::failure::Failure;
use crate::shutdown;

/// What `demo` takes.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// About how long it takes; 0s goes as fast as it can
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = parse_time)]
    duration: Duration,
    /// Keep the three boards up afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// Runs the demo.
pub(super) fn run(args: &DemoArgs, out: &Output) -> Result<(), Failure> {
    super::runtime(tokio::runtime::Builder::new_multi_thread())?.block_on(async {
        let stop = CancellationToken::new();
        shutdown::on_signals(stop.clone())?;
        let team = Team::start(&stop).await?;
        let stage = Stage::new(out, args.duration);
        let played = tokio::select! {
            played = script::play(&team, &stage) => played,
            () = stop.cancelled() => Ok(()),
        };
        if played.is_ok() && args.keep && !stop.is_cancelled() {
            stage.say("kept", "The boards stay up. Ctrl-C stops them.")?;
            stop.cancelled().await;
        }
        stop.cancel();
        team.stopped().await;
        played
    })
}
