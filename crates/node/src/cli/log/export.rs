//! `gangline log export`: a log as lines in a file, verified on the way. It moves there, unless it is a copy.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use gangline_lease::{Place, Seq, SpaceName, SpaceState};
use http::Method;
use serde_json::json;

use super::source::Source;
use super::verify::replay;
use super::{ExportArgs, place};
use crate::cli::client::Client;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::failure::{Exit, Failure};
use crate::logs::lines::{self, Header};

/// Events that are asked for at a time.
const PAGE: u64 = 256;

pub(super) async fn run(client: &Client, args: &ExportArgs, out: &Output) -> Result<(), Failure> {
    let (space, path) = (&args.space, args.file.as_path());
    let shown = path.display();
    if path.exists() {
        return Err(Failure::new(Exit::Conflict, "file_exists", format!("{shown} is there already"))
            .hint("name another file, or remove that one"));
    }
    let to = if args.copy { None } else { Some(destination(args)?) };
    let mut source = Source::Node(client.clone());
    let mut state = match look(&source, space).await {
        // What the node itself has is what the space may have to be recovered from.
        Err(failure) if args.copy && ["log_diverged", "no_such_space"].contains(&failure.code.as_str()) => {
            source = Source::Copy(client.clone());
            let kept = look(&source, space).await?;
            eprintln!("{}: this is the copy that the node keeps", failure.message);
            kept
        }
        looked => looked?,
    };
    if let Some(to) = &to {
        let body = json!({ "access": "moved", "to": to.as_str() });
        client.send(Method::POST, &place(space, "/access"), Some(&body)).await?;
        state = source.state(space).await?;
    }
    let written = write(&source, space, &state, path).await.map_err(|failure| match &to {
        Some(_) => failure.hint("the space takes no appends now: export it again"),
        None => failure,
    });
    written?;
    let events = state.head.next.0;
    if out.is_json() {
        return out.document(&json!({
            "space": space.as_str(),
            "file": path,
            "events": events,
            "hash": state.head.hash.to_string(),
            "moved_to": to.as_ref().map(Place::as_str),
        }));
    }
    let what = match &to {
        Some(to) => format!("; appends here are sent to {to}"),
        None => "; that is a copy, the log goes on here".to_owned(),
    };
    out.line(&format!("wrote {events} events of {space} to {shown}{what}"))
}

/// The state of a log. One that breaks a rule is neither moved nor copied.
async fn look(source: &Source, space: &SpaceName) -> Result<SpaceState, Failure> {
    let state = source.state(space).await?;
    replay(source, space, &state).await?;
    Ok(state)
}

/// What those are told who append here afterwards.
fn destination(args: &ExportArgs) -> Result<Place, Failure> {
    let text = args.to.clone().unwrap_or_else(|| args.file.display().to_string());
    Place::new(&text).map_err(|error| {
        Failure::new(Exit::Usage, "bad_place", error.to_string())
            .hint("say where the log goes with --to, for example --to http://other:3001")
    })
}

/// Writes the file whole or not at all.
async fn write(source: &Source, space: &SpaceName, state: &SpaceState, path: &Path) -> Result<(), Failure> {
    let fresh = path.with_added_extension("new");
    let written = write_lines(source, space, state, &fresh).await;
    let placed = written.and_then(|()| fs::rename(&fresh, path).map_err(|error| unwritten(path, &error)));
    if placed.is_err() {
        let _ = fs::remove_file(&fresh);
        return placed;
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| unwritten(path, &error))
}

async fn write_lines(
    source: &Source,
    space: &SpaceName,
    state: &SpaceState,
    path: &Path,
) -> Result<(), Failure> {
    let failed = |error: io::Error| unwritten(path, &error);
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    let header = serde_json::to_string(&Header::of(space, state)).map_err(|error| failed(error.into()))?;
    writeln!(file, "{header}").map_err(failed)?;
    let mut progress = Progress::new("exporting", state.head.next.0);
    let mut next = Seq::START;
    while next < state.head.next {
        progress.at(next.0);
        let count = (state.head.next.0 - next.0).min(PAGE);
        let events = source.events(space, next, usize::try_from(count).unwrap_or(usize::MAX)).await?;
        if events.is_empty() {
            let message = format!("{space} ended at event {next} in the middle of the export");
            return Err(Failure::new(Exit::Failed, "log_shrank", message));
        }
        for event in &events {
            let mut line = String::new();
            lines::write(event, true, &mut line);
            writeln!(file, "{line}").map_err(failed)?;
        }
        next = next.plus(events.len());
    }
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, "export_not_written", format!("cannot write {}: {error}", path.display()))
}
