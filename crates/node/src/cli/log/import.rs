//! `gangline log import` and `gangline log recover`: lines of a file go to a node, which verifies them.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _};
use std::path::Path;

use bytes::Bytes;
use futures_util::{Stream, stream};
use gangline_lease::SpaceName;
use serde_json::Value;

use super::{ImportArgs, RecoverArgs, place};
use crate::cli::client::{Client, Reply};
use crate::cli::output::{Output, printable};
use crate::cli::progress::Progress;
use crate::failure::{Exit, Failure};
use crate::logs::lines::{Header, LINE_BYTES_MAX};

/// What is read of a file at a time.
const PIECE: usize = 64 << 10;

pub(super) async fn import(client: &Client, args: &ImportArgs, out: &Output) -> Result<(), Failure> {
    let (space, file) = open(&args.file)?;
    let query = if args.copy { "?copy=true" } else { "" };
    let path = format!("{}{query}", place(&space, "/import"));
    let reply = client.upload(&path, pieces(file)).await.map_err(offends)?;
    if out.is_json() {
        return out.line(reply.text.trim_end());
    }
    let events = number(&reply, "next");
    let what = if args.copy { "it is a copy here" } else { "it is appended to here from now on" };
    out.line(&format!("{space} has {events} events; {what}"))
}

pub(super) async fn recover(client: &Client, args: &RecoverArgs, out: &Output) -> Result<(), Failure> {
    if args.from == Path::new("coordinator") {
        let path = place(&args.space, "/recover?from=coordinator");
        let reply = client.upload(&path, stream::empty()).await?;
        return shown(&args.space, &reply, out);
    }
    let (space, file) = open(&args.from)?;
    if space != args.space {
        let message = format!("{} is the log of `{space}`, not of `{}`", args.from.display(), args.space);
        return Err(Failure::new(Exit::Usage, "other_space", message));
    }
    let reply = client.upload(&place(&space, "/recover"), pieces(file)).await.map_err(offends)?;
    shown(&space, &reply, out)
}

/// Says how a space was recovered.
fn shown(space: &SpaceName, reply: &Reply, out: &Output) -> Result<(), Failure> {
    if out.is_json() {
        return out.line(reply.text.trim_end());
    }
    let text = |key: &str| reply.body.get(key).and_then(Value::as_str).map(printable);
    let how = match text("relation").as_deref() {
        Some("same") => "both are the same".to_owned(),
        Some("ours_goes_on") => "the node's goes on from the copy".to_owned(),
        Some("theirs_goes_on") => "the copy goes on from the node's, and was taken".to_owned(),
        Some("coordinators") => "the coordinator's log counts".to_owned(),
        _ => format!("they part at event {}", number(reply, "forked_at")),
    };
    out.line(&format!("{space}: {how}"))?;
    if let Some(kept) = text("kept") {
        out.line(&format!("the other one is kept as {kept}"))?;
    }
    out.line(&format!("goes on from event {} under epoch {}", number(reply, "next"), number(reply, "epoch")))
}

fn number(reply: &Reply, key: &str) -> u64 {
    reply.body.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// What breaks a rule is refused as what is forged.
fn offends(failure: Failure) -> Failure {
    match failure.code.as_str() {
        "log_offends" | "not_a_log" => Failure { exit: Exit::Refused, ..failure },
        _ => failure,
    }
}

/// Opens an export and looks whose it is.
fn open(path: &Path) -> Result<(SpaceName, File), Failure> {
    let shown = path.display();
    let unreadable = |error: io::Error| {
        let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
        Failure::new(exit, "export_unreadable", format!("cannot read {shown}: {error}"))
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut first = Vec::new();
    let mut head = BufReader::new((&file).take(LINE_BYTES_MAX as u64));
    head.read_until(b'\n', &mut first).map_err(unreadable)?;
    let (space, _) = Header::read(first.trim_ascii_end())
        .map_err(|error| Failure::new(Exit::Usage, "not_a_log", format!("{shown}: {error}")))?;
    file.rewind().map_err(unreadable)?;
    Ok((space, file))
}

/// The file, and on a terminal how much of it the node has taken.
fn pieces(file: File) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let total = file.metadata().map_or(0, |metadata| metadata.len());
    let progress = Progress::new("importing", total);
    stream::unfold((file, progress, 0_u64), async |(mut file, mut progress, sent)| {
        let mut piece = vec![0; PIECE];
        progress.at(sent);
        match file.read(&mut piece) {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                Some((Ok(Bytes::from(piece)), (file, progress, sent + count as u64)))
            }
            Err(error) => Some((Err(error), (file, progress, sent))),
        }
    })
}
