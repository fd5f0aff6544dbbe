//! What a commit says: a batch of events, or a claim. The one place that writes and reads commits' texts.
//!
//! ```text
//! s: 12-13 ALIAS_SET, PAGE_FORKED                          a batch: space, positions, types
//!
//! {"seq":12,"type":"ALIAS_SET","payload":{…},"intent":"i12","epoch":3,"author":"ed…","hash":"5f…"}
//! {"seq":13,"type":"PAGE_FORKED","payload":{…},"intent":"i13","epoch":3,"hash":"96…"}
//!
//! Gangline-Intent: i12                                     one for each event
//! Gangline-Intent: i13
//! Gangline-Holder: 8a…                                     who has appended; also the author that it has not
//! Gangline-Prev: 77…                                       the hash before the first event
//! Gangline-Signature: 0c…                                  of the last event
//! Gangline-Space: s                                        from here on: what every commit of a log has, so that
//! Gangline-Incarnation: 4be1…                              its tip alone says how the space stands
//! Gangline-Epoch: 3                                        the highest epoch that was sealed
//! Gangline-Next: 14                                        where the log ends after this commit
//! Gangline-Hash: 96…
//! Gangline-Access: copy                                    only if it takes no appends
//! ```
//!
//! A claim has no events, and `Gangline-Claim` with 128 random bits. The payload is the very bytes that were hashed;
//! it has no line breaks, because payloads escape them. A commit's tree is empty, but for a batch whose lines have
//! more than [`MESSAGE_EVENTS_MAX`] bytes: those are the file `events.jsonl`.

use std::fmt::Write as _;

use bft_json_crdt::{AuthorId, Digest};
use data_encoding::HEXLOWER;
use gangline_lease::{
    Access, BatchSignature, Epoch, Event, EventType, Head, Incarnation, IntentId, Payload, Reach, Seq,
    SpaceName, SpaceState,
};
use git2::Oid;
use serde::Deserialize;
use serde_json::value::RawValue;

/// More than that, in bytes, is nothing to be read in `git log`.
pub(super) const MESSAGE_EVENTS_MAX: usize = 64 << 10;
/// The file of a batch that is too large for a message.
pub(super) const EVENTS_FILE: &str = "events.jsonl";

/// How a space stands after a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) space: SpaceName,
    pub(super) state: SpaceState,
    pub(super) access: Access,
}

/// The text of a commit that is to be written.
pub(super) struct Text {
    pub(super) message: String,
    /// What goes into the file, if the events are too much for the message.
    pub(super) events: Option<String>,
    /// Name and address of git's author and committer.
    pub(super) who: String,
}

/// A commit that was read, without the events that are in its file.
pub(super) struct Commit<'a> {
    pub(super) tree: Oid,
    pub(super) parent: Option<Oid>,
    pub(super) message: &'a str,
}

/// Writes a batch: the events of one holder, the last one signed.
pub(super) fn batch(standing: &Standing, events: &[Event]) -> Text {
    let mut lines = String::new();
    let mut trailers = String::new();
    for event in events {
        line(&mut lines, event);
        trailer(&mut trailers, "Intent", &event.id);
    }
    if let (Some(first), Some(last)) = (events.first(), events.last()) {
        trailer(&mut trailers, "Holder", &last.holder);
        trailer(&mut trailers, "Prev", &first.prev);
        if let Some(signature) = &last.signature {
            trailer(&mut trailers, "Signature", &HEXLOWER.encode(&signature.0));
        }
    }
    stand(&mut trailers, standing);
    let subject = subject(&standing.space, events);
    let is_large = lines.len() > MESSAGE_EVENTS_MAX;
    let message = if is_large {
        format!("{subject}\n\n{trailers}")
    } else {
        format!("{subject}\n\n{lines}\n{trailers}")
    };
    let who = events.last().map_or_else(nobody, |event| who(&event.holder));
    Text { message, events: is_large.then_some(lines), who }
}

/// Writes a claim: that a space was sealed, opened or closed, or begins as a copy.
pub(super) fn claim(standing: &Standing, what: &str, nonce: [u8; 16], by: Option<&Reach>) -> Text {
    let Standing { space, state, .. } = standing;
    let mut message = format!("{space}: {what} (epoch {}, next {})\n\n", state.epoch, state.head.next);
    trailer(&mut message, "Claim", &HEXLOWER.encode(&nonce));
    if let Some(Reach { node, url }) = by {
        trailer(&mut message, "Holder", node);
        if let Some(url) = url.as_ref().filter(|url| url.bytes().all(|byte| byte.is_ascii_graphic())) {
            trailer(&mut message, "Url", url);
        }
    }
    stand(&mut message, standing);
    Text { message, events: None, who: by.map_or_else(nobody, |by| who(&by.node)) }
}

fn who(node: &AuthorId) -> String {
    let key = node.to_string();
    format!("{} <ed25519:{key}>", key.get(..12).unwrap_or_default())
}

fn nobody() -> String {
    "gangline <gangline>".to_owned()
}

fn subject(space: &SpaceName, events: &[Event]) -> String {
    let mut kinds: Vec<(&EventType, usize)> = Vec::new();
    for event in events {
        match kinds.iter_mut().find(|(kind, _)| **kind == event.kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((&event.kind, 1)),
        }
    }
    let named = kinds.iter().take(3).map(|(kind, count)| match count {
        1 => kind.to_string(),
        more => format!("{kind} x{more}"),
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let rest = if kinds.len() > 3 { ", …" } else { "" };
    match (events.first(), events.last()) {
        (Some(first), Some(last)) if first.seq != last.seq => {
            format!("{space}: {}-{} {named}{rest}", first.seq, last.seq)
        }
        (Some(first), _) => format!("{space}: {} {named}", first.seq),
        _ => space.to_string(),
    }
}

fn line(out: &mut String, event: &Event) {
    let Event { seq, epoch, id, author, holder, kind, payload, hash, .. } = event;
    // Types and ids need no escapes, a payload is JSON.
    let payload = payload.as_str();
    let whose = if author == holder { String::new() } else { format!("\"author\":\"{author}\",") };
    let _never_fails = writeln!(
        out,
        "{{\"seq\":{seq},\"type\":\"{kind}\",\"payload\":{payload},\"intent\":\"{id}\",\"epoch\":{epoch},{whose}\
         \"hash\":\"{hash}\"}}"
    );
}

fn trailer(out: &mut String, key: &str, value: &dyn std::fmt::Display) {
    let _never_fails = writeln!(out, "Gangline-{key}: {value}");
}

fn stand(out: &mut String, standing: &Standing) {
    let Standing { space, state, access } = standing;
    trailer(out, "Space", space);
    trailer(out, "Incarnation", &state.incarnation);
    trailer(out, "Epoch", &state.epoch);
    trailer(out, "Next", &state.head.next);
    trailer(out, "Hash", &state.head.hash);
    if !access.is_open() {
        trailer(out, "Access", access);
    }
}

impl<'a> Commit<'a> {
    /// Takes a commit apart.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| format!("it is no text: {error}"))?;
        let (headers, message) = text.split_once("\n\n").ok_or("it has no message")?;
        let oid = |text: &str| Oid::from_str(text).map_err(|error| error.message().to_owned());
        let of = |key: &'static str| headers.lines().filter_map(move |line| line.strip_prefix(key));
        let tree = of("tree ").next().ok_or("it has no tree")?;
        let mut parents = of("parent ");
        let parent = parents.next().map(oid).transpose()?;
        if parents.next().is_some() {
            return Err("it has two parents, as no commit of a log".to_owned());
        }
        Ok(Self { tree: oid(tree)?, parent, message })
    }

    /// Reads how the space stands after it.
    pub(super) fn standing(&self) -> Result<Standing, String> {
        let space: SpaceName = self.parsed("Space")?;
        let incarnation = Incarnation(self.hex("Incarnation")?);
        let head = Head { next: Seq(self.parsed("Next")?), hash: self.parsed("Hash")? };
        let state = SpaceState { incarnation, epoch: Epoch(self.parsed("Epoch")?), head };
        let access = match self.trailer("Access") {
            None => Access::Open,
            Some(_) => self.parsed("Access")?,
        };
        Ok(Standing { space, state, access })
    }

    /// Returns the lines that stand in the message.
    pub(super) fn lines(&self) -> &'a str {
        self.message
            .rsplit_once("\n\n")
            .and_then(|(body, _)| body.split_once("\n\n"))
            .map_or("", |(_, lines)| lines)
    }

    /// Returns whether it is a claim, which has no events.
    pub(super) fn is_claim(&self) -> bool {
        self.trailer("Claim").is_some()
    }

    /// Reads the events, from the lines of the message or of the file.
    pub(super) fn events(&self, lines: &str) -> Result<Vec<Event>, String> {
        let holder: AuthorId = self.parsed("Holder")?;
        let mut prev: Digest = self.parsed("Prev")?;
        let signature = match self.trailer("Signature") {
            None => None,
            Some(_) => Some(BatchSignature(self.hex("Signature")?)),
        };
        let mut events = Vec::new();
        for line in lines.lines() {
            let event = parse_line(line, holder, prev)?;
            prev = event.hash;
            events.push(event);
        }
        events.last_mut().ok_or("it has no events")?.signature = signature;
        Ok(events)
    }

    fn trailer(&self, key: &str) -> Option<&'a str> {
        let (_, trailers) = self.message.rsplit_once("\n\n")?;
        trailers
            .lines()
            .find_map(|line| line.strip_prefix("Gangline-")?.strip_prefix(key)?.strip_prefix(": "))
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&self, key: &str) -> Result<T, String> {
        let text = self.trailer(key).ok_or_else(|| format!("it has no Gangline-{key}"))?;
        text.parse().map_err(|error| format!("its Gangline-{key}: {error}"))
    }

    fn hex<const N: usize>(&self, key: &str) -> Result<[u8; N], String> {
        let text = self.trailer(key).ok_or_else(|| format!("it has no Gangline-{key}"))?;
        let bytes =
            HEXLOWER.decode(text.as_bytes()).map_err(|error| format!("its Gangline-{key}: {error}"))?;
        bytes.try_into().map_err(|_| format!("its Gangline-{key} has another length than {N} bytes"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    seq: u64,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    payload: &'a RawValue,
    intent: &'a str,
    epoch: u64,
    author: Option<&'a str>,
    hash: &'a str,
}

fn parse_line(line: &str, holder: AuthorId, prev: Digest) -> Result<Event, String> {
    let found: Line<'_> = serde_json::from_str(line).map_err(|error| format!("an event: {error}"))?;
    let wrong = |what: &dyn std::fmt::Display| format!("event {}: {what}", found.seq);
    let payload = Payload::stored(found.payload.get().as_bytes()).map_err(|error| wrong(&error))?;
    Ok(Event {
        seq: Seq(found.seq),
        epoch: Epoch(found.epoch),
        id: IntentId::new(found.intent).map_err(|error| wrong(&error))?,
        author: found.author.map_or(Ok(holder), str::parse).map_err(|error| wrong(&error))?,
        holder,
        kind: EventType::new(found.kind).map_err(|error| wrong(&error))?,
        payload: payload.ok_or_else(|| wrong(&"its payload has another form"))?,
        prev,
        hash: found.hash.parse().map_err(|error| wrong(&error))?,
        signature: None,
    })
}
