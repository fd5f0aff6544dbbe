//! Why a frame could not be understood. Reasons may quote a peer, so they are cut and made printable.

use std::fmt::{self, Display, Write};

use crate::limits::{JSON_DEPTH_MAX, REASON_BYTES_MAX};

/// Why a frame, or one op of a text frame, could not be decoded.
///
/// Log it with the peer, skip the frame, go on: nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not text.
    #[error("not UTF-8 from byte {at} on")]
    NotUtf8 {
        /// Position of the first byte that is not UTF-8.
        at: usize,
    },
    /// The text is not JSON.
    #[error("not JSON: {reason}")]
    NotJson {
        /// What the parser says.
        reason: String,
    },
    /// The JSON is no message of this protocol: a field is missing, given twice, or of another type.
    #[error("not a frame: {reason}")]
    NotAFrame {
        /// What is missing or wrong.
        reason: String,
    },
    /// The frame names a version that this node does not speak.
    #[error("unknown version {version}")]
    UnknownVersion {
        /// The version that the frame names.
        version: u64,
    },
    /// The frame is right, the op in it is not.
    #[error("invalid op: {reason}")]
    InvalidOp {
        /// What the engine says.
        reason: String,
    },
    /// Larger than what a node accepts; it was not parsed.
    #[error("{what} over the limit: {size} > {max}")]
    OverLimit {
        /// What is too large: `frame bytes` or `nesting`.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// The limit.
        max: usize,
    },
}

impl DecodeError {
    pub(crate) fn not_json(error: &serde_json::Error) -> Self {
        Self::NotJson { reason: printable(error) }
    }

    pub(crate) fn not_a_frame(reason: impl Display) -> Self {
        Self::NotAFrame { reason: printable(reason) }
    }

    /// For an op's JSON that did not parse: too deep, or what the engine says.
    pub(crate) fn invalid_op(json: &str, error: &serde_json::Error) -> Self {
        let depth = nesting(json);
        if depth > JSON_DEPTH_MAX {
            return Self::OverLimit { what: "nesting", size: depth, max: JSON_DEPTH_MAX };
        }
        Self::InvalidOp { reason: printable(error) }
    }
}

/// Renders `reason` without control characters, cut at [`REASON_BYTES_MAX`] bytes.
fn printable(reason: impl Display) -> String {
    let mut writer = Cut { text: String::new() };
    // The writer fails when it is full, which is what ends the rendering of a long reason.
    if write!(writer, "{reason}").is_err() {
        writer.text.push('…');
    }
    writer.text
}

struct Cut {
    text: String,
}

impl Write for Cut {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        for c in piece.chars() {
            let c = if c.is_control() { '\u{fffd}' } else { c };
            if self.text.len() + c.len_utf8() > REASON_BYTES_MAX {
                return Err(fmt::Error);
            }
            self.text.push(c);
        }
        Ok(())
    }
}

/// Deepest nesting of arrays and objects in `json`, without recursion. `O(n)`.
fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_cut_and_printable() {
        let long = printable("\u{1b}[31m".to_string() + &"é".repeat(10_000));
        assert!(long.len() <= REASON_BYTES_MAX + '…'.len_utf8());
        assert!(long.ends_with('…') && !long.contains('\u{1b}'));
        assert_eq!(printable("short"), "short");
    }

    #[test]
    fn nesting_counts_outside_strings_only() {
        assert_eq!(nesting(r#"{"a":[1,{"b":"[[[[\"[["}]}"#), 3);
        assert_eq!(nesting(&"[".repeat(200_000)), 200_000);
        assert_eq!(nesting("]]]]"), 0);
    }
}
