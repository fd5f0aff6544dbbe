//! Logs as lines of JSON: what an export is made of, and what is kept of a log that another takes the place of.
//!
//! ```text
//! first line    {"gangline_log":1,"space":…,"incarnation":…,"epoch":…,"next":…,"hash":…}
//! each other    an event as the API shows it, with the holder's signature where a batch ends
//! ```

use bft_json_crdt::Digest;
use bft_json_crdt::keypair::AuthorId;
use data_encoding::HEXLOWER;
use gangline_lease::limits::PAYLOAD_BYTES_MAX;
use gangline_lease::{
    BatchSignature, Epoch, Event, EventType, Head, Incarnation, IntentId, Payload, Seq, SpaceName, SpaceState,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The form that this program writes and reads.
const VERSION: u32 = 1;
/// Longest line: a payload and the fields around it.
pub(crate) const LINE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + (4 << 10);

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    gangline_log: u32,
    space: String,
    incarnation: String,
    epoch: u64,
    next: u64,
    hash: String,
}

impl Header {
    /// Begins the lines of a log that ends there.
    pub(crate) fn of(space: &SpaceName, state: &SpaceState) -> Self {
        Self {
            gangline_log: VERSION,
            space: space.to_string(),
            incarnation: state.incarnation.to_string(),
            epoch: state.epoch.0,
            next: state.head.next.0,
            hash: state.head.hash.to_string(),
        }
    }

    /// Reads a first line.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(crate) fn read(line: &[u8]) -> Result<(SpaceName, SpaceState), String> {
        let header: Self =
            serde_json::from_slice(line).map_err(|error| format!("that is no export of a log: {error}"))?;
        if header.gangline_log != VERSION {
            let found = header.gangline_log;
            return Err(format!("that export has format {found}, this version reads format {VERSION}"));
        }
        let space = SpaceName::new(&header.space).map_err(|error| error.to_string())?;
        let state = header.state().ok_or("that is no export of a log: its hashes are none")?;
        Ok((space, state))
    }

    fn state(&self) -> Option<SpaceState> {
        Some(SpaceState {
            incarnation: Incarnation(bytes(&self.incarnation)?),
            epoch: Epoch(self.epoch),
            head: Head { next: Seq(self.next), hash: Digest(bytes(&self.hash)?) },
        })
    }
}

/// Writes an event. Its payload goes out byte for byte as it is stored and hashed; of the other fields none has a
/// character that JSON would escape.
pub(crate) fn write(event: &Event, signatures: bool, out: &mut String) {
    let Event { seq, epoch, id, kind, payload, prev, hash, author, holder, signature } = event;
    out.push_str(&format!(
        "{{\"seq\":{seq},\"epoch\":{epoch},\"id\":\"{id}\",\"type\":\"{kind}\",\"payload\":"
    ));
    out.push_str(payload.as_str());
    out.push_str(&format!(
        ",\"prev\":\"{prev}\",\"hash\":\"{hash}\",\"author\":\"{author}\",\"holder\":\"{holder}\""
    ));
    if let Some(signature) = signature.as_ref().filter(|_| signatures) {
        out.push_str(&format!(",\"signature\":\"{}\"", HEXLOWER.encode(&signature.0)));
    }
    out.push('}');
}

/// Reads an event; whether it is a good one is for the verifier to say. None if it is none at all.
pub(crate) fn read(line: &[u8]) -> Option<Event> {
    serde_json::from_slice::<Line<'_>>(line).ok()?.event()
}

/// An event as it is shown.
#[derive(Deserialize)]
struct Line<'a> {
    seq: u64,
    epoch: u64,
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    payload: &'a RawValue,
    prev: String,
    hash: String,
    author: String,
    holder: String,
    signature: Option<String>,
}

impl Line<'_> {
    fn event(&self) -> Option<Event> {
        let signature = match &self.signature {
            Some(hex) => Some(BatchSignature(bytes(hex)?)),
            None => None,
        };
        Some(Event {
            seq: Seq(self.seq),
            epoch: Epoch(self.epoch),
            id: IntentId::new(&self.id).ok()?,
            author: AuthorId(bytes(&self.author)?),
            holder: AuthorId(bytes(&self.holder)?),
            kind: EventType::new(&self.kind).ok()?,
            payload: Payload::stored(self.payload.get().as_bytes()).ok()??,
            prev: Digest(bytes(&self.prev)?),
            hash: Digest(bytes(&self.hash)?),
            signature,
        })
    }
}

/// Reads hexadecimal digits.
pub(crate) fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let event = Event {
            seq: Seq(7),
            epoch: Epoch(u64::MAX),
            id: IntentId::new("a.b_c-1").unwrap(),
            author: AuthorId([1; 32]),
            holder: AuthorId([2; 32]),
            kind: EventType::new("T").unwrap(),
            payload: Payload::parse("{\"ä\\u0001\":[18446744073709551615,1e300]}".as_bytes()).unwrap(),
            prev: Digest([3; 32]),
            hash: Digest([4; 32]),
            signature: Some(BatchSignature([5; 64])),
        };
        let mut line = String::new();
        write(&event, true, &mut line);
        assert_eq!(read(line.as_bytes()).as_ref(), Some(&event));
        assert!(line.len() < LINE_BYTES_MAX);
        let mut plain = String::new();
        write(&event, false, &mut plain);
        assert_eq!(read(plain.as_bytes()), Some(Event { signature: None, ..event }));

        let space = SpaceName::new("team/a:1").unwrap();
        let head = Head { next: Seq(8), hash: Digest([4; 32]) };
        let state = SpaceState { incarnation: Incarnation([9; 16]), epoch: Epoch(3), head };
        let header = serde_json::to_string(&Header::of(&space, &state)).unwrap();
        assert!(
            header.starts_with(r#"{"gangline_log":1,"space":"team/a:1","incarnation":"0909"#),
            "{header}"
        );
        assert_eq!(Header::read(header.as_bytes()), Ok((space, state)));
        for bad in ["", "{}", &header.replace(":1,", ":2,"), &header.replace("0909", "09"), &line] {
            assert!(Header::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
