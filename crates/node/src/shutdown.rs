//! When to stop: SIGTERM and Ctrl-C. A second one does not wait.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};

/// Cancels `stop` on the first signal, and ends the process on the second.
///
/// # Errors
/// When the system takes no handlers.
pub(crate) fn on_signals(stop: CancellationToken) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, "no_signals", error.to_string());
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::info!(event = "stopping", signal = name, "stopping; once more to stop at once");
        stop.cancel();
        let _ = either(&mut terminate, &mut interrupt).await;
        tracing::warn!(
            event = "stopped_at_once",
            "stopped without waiting; what was acknowledged is on disk"
        );
        std::process::exit(i32::from(Exit::Failed as u8));
    });
    Ok(())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
