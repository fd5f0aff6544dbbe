//! Reads server-sent events out of a stream of bytes (HTML standard, section 9.2.6). Pure.

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// The `id` line of this event, if it has one.
    pub(crate) id: Option<String>,
    /// The `event` line; empty means `message`.
    pub(crate) event: String,
    /// The `data` lines, joined by line feeds.
    pub(crate) data: String,
}

/// More in one event than any node sends.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// Turns chunks of bytes, cut anywhere, into events.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    line: Vec<u8>,
    event: SseEvent,
    has_data: bool,
    /// The last byte was a carriage return: a line feed right after it ends no second line.
    after_cr: bool,
}

/// The stream holds an event too large to be one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl SseParser {
    /// Takes in `bytes` and returns the events that they complete.
    ///
    /// # Errors
    /// When one event grows past any sense.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, TooLarge> {
        let mut events = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    self.after_cr = *byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.line(&String::from_utf8_lossy(&line)));
                }
                _ => {
                    self.after_cr = false;
                    self.line.push(*byte);
                }
            }
            if self.line.len() + self.event.data.len() > EVENT_BYTES_MAX {
                return Err(TooLarge);
            }
        }
        Ok(events)
    }

    fn line(&mut self, line: &str) -> Option<SseEvent> {
        if line.is_empty() {
            let mut event = std::mem::take(&mut self.event);
            // Without a data line there is nothing to tell, says the standard.
            let complete = std::mem::take(&mut self.has_data);
            event.data.pop();
            return complete.then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                self.has_data = true;
                self.event.data.push_str(value);
                self.event.data.push('\n');
            }
            "event" => self.event.event = value.to_owned(),
            "id" => self.event.id = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_however_the_bytes_are_cut() {
        let text =
            ": hello\n\nid: 4\nevent: change\ndata: {\"a\":\r\ndata: 1}\n\nretry: 5\ndata:x\n\nid: 9\n\n";
        let expected = [
            SseEvent { id: Some("4".into()), event: "change".into(), data: "{\"a\":\n1}".into() },
            SseEvent { id: None, event: String::new(), data: "x".into() },
        ];
        for size in 1..text.len() {
            let mut parser = SseParser::default();
            let events: Vec<_> =
                text.as_bytes().chunks(size).flat_map(|chunk| parser.feed(chunk).unwrap()).collect();
            assert_eq!(events, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = SseParser::default();
        let chunk = vec![b'x'; 1 << 20];
        assert!((0..80).any(|_| parser.feed(&chunk) == Err(TooLarge)));
    }
}
