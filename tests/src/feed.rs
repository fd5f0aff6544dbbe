//! Reads a node's stream of server-sent events: what tests wait for, instead of for time to pass.
#![expect(clippy::disallowed_methods, reason = "an event that never comes must fail a test, not hang it")]

use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::http;

/// One event of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Where the stream can be resumed after this event.
    pub id: String,
    /// What kind of event it is.
    pub kind: String,
    /// Its payload.
    pub data: String,
}

/// An open stream of events.
#[derive(Debug)]
pub struct Feed<S = BufReader<TcpStream>> {
    stream: S,
}

impl Feed {
    /// Opens the stream at `path` of the node at `address`.
    ///
    /// # Errors
    ///
    /// If the node is not there or refuses.
    pub fn open(address: SocketAddr, path: &str) -> io::Result<Self> {
        match http::open(address, "GET", path, None)? {
            (200, stream) => Ok(Self { stream }),
            (status, _) => Err(io::Error::other(format!("{path} answered {status}"))),
        }
    }
}

impl<S: BufRead> Feed<S> {
    /// Waits for the next event. Comments, which keep a connection alive, are none.
    ///
    /// # Errors
    ///
    /// If the stream ends, or brings no event for longer than [`http::PATIENCE`].
    pub fn next_event(&mut self) -> io::Result<Event> {
        let mut event = Event::default();
        let mut line = String::new();
        let deadline = Instant::now() + http::PATIENCE;
        loop {
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let text = line.trim_end_matches(['\r', '\n']);
            if text.is_empty() {
                if event != Event::default() {
                    return Ok(event);
                }
                continue;
            }
            let (field, value) = text.split_once(':').unwrap_or((text, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => value.clone_into(&mut event.id),
                "event" => value.clone_into(&mut event.kind),
                "data" if event.data.is_empty() => value.clone_into(&mut event.data),
                "data" => event.data = format!("{}\n{value}", event.data),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart_and_comments_skipped() {
        let text =
            ": hello\n\nid: 7\nevent: item\ndata: {\"a\":1}\n\n: still here\n\ndata: one\ndata: two\r\n\r\n";
        let mut feed = Feed { stream: text.as_bytes() };
        let item = Event { id: "7".into(), kind: "item".into(), data: "{\"a\":1}".into() };
        assert_eq!(feed.next_event().unwrap(), item);
        assert_eq!(feed.next_event().unwrap().data, "one\ntwo");
        assert_eq!(feed.next_event().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
