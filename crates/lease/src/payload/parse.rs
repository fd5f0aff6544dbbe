//! A JSON parser (RFC 8259) that writes what it reads in the one form.
//!
//! Its recursion ends at the depth limit, and it holds no more than the text that it was given and the form.

use super::{PayloadError, number};
use crate::limits::PAYLOAD_DEPTH_MAX;

pub(super) fn canonical(json: &[u8]) -> Result<Vec<u8>, PayloadError> {
    let mut parser = Parser { json, at: 0 };
    parser.skip_space();
    let found = match parser.peek() {
        Some(b'{') => None,
        Some(b'[') => Some("an array"),
        Some(b'"') => Some("a string"),
        Some(b't' | b'f') => Some("a boolean"),
        Some(b'n') => Some("null"),
        Some(b'-' | b'0'..=b'9') => Some("a number"),
        _ => return Err(parser.expected("an object")),
    };
    let mut out = Vec::with_capacity(json.len());
    parser.value(1, &mut out)?;
    parser.skip_space();
    if parser.at < json.len() {
        return Err(parser.expected("the end"));
    }
    match found {
        Some(found) => Err(PayloadError::NotAnObject { found }),
        None => Ok(out),
    }
}

/// What fits a message.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

struct Parser<'a> {
    json: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize, out: &mut Vec<u8>) -> Result<(), PayloadError> {
        match self.peek() {
            Some(b'{') => self.object(depth, out),
            Some(b'[') => self.array(depth, out),
            Some(b'"') => {
                let text = self.string()?;
                write_string(&text, out);
                Ok(())
            }
            Some(b't') => self.word("true", out),
            Some(b'f') => self.word("false", out),
            Some(b'n') => self.word("null", out),
            Some(b'-' | b'0'..=b'9') => self.number(out),
            _ => Err(self.expected("a value")),
        }
    }

    fn object(&mut self, depth: usize, out: &mut Vec<u8>) -> Result<(), PayloadError> {
        self.check_depth(depth)?;
        self.at += 1;
        // Values go to a buffer of this object's, to be put in the order of their keys.
        let mut values = Vec::new();
        let mut members: Vec<(String, usize, usize, usize)> = Vec::new();
        self.skip_space();
        if !self.take(b'}') {
            loop {
                self.skip_space();
                let key_at = self.at;
                if self.peek() != Some(b'"') {
                    return Err(self.expected("a key"));
                }
                let key = self.string()?;
                self.skip_space();
                if !self.take(b':') {
                    return Err(self.expected("`:`"));
                }
                self.skip_space();
                let start = values.len();
                self.value(depth + 1, &mut values)?;
                members.push((key, start, values.len(), key_at));
                self.skip_space();
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.expected("`,` or `}`"));
                }
            }
        }
        members.sort_by(|a, b| a.0.cmp(&b.0).then(a.3.cmp(&b.3)));
        let pairs = members.iter().zip(members.iter().skip(1));
        if let Some((_, again)) = pairs.filter(|(a, b)| a.0 == b.0).min_by_key(|(_, b)| b.3) {
            return Err(PayloadError::DuplicateKey { at: again.3, key: cut(&again.0) });
        }
        out.push(b'{');
        for (n, (key, start, end, _)) in members.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            write_string(key, out);
            out.push(b':');
            out.extend_from_slice(values.get(*start..*end).unwrap_or_default());
        }
        out.push(b'}');
        Ok(())
    }

    fn array(&mut self, depth: usize, out: &mut Vec<u8>) -> Result<(), PayloadError> {
        self.check_depth(depth)?;
        self.at += 1;
        out.push(b'[');
        self.skip_space();
        if !self.take(b']') {
            loop {
                self.skip_space();
                self.value(depth + 1, out)?;
                self.skip_space();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.expected("`,` or `]`"));
                }
                out.push(b',');
            }
        }
        out.push(b']');
        Ok(())
    }

    /// Reads a string and what its escapes say.
    fn string(&mut self) -> Result<String, PayloadError> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|byte| byte != b'"' && byte != b'\\' && byte >= 0x20) {
                self.at += 1;
            }
            let plain = self.json.get(start..self.at).unwrap_or_default();
            match std::str::from_utf8(plain) {
                Ok(plain) => text.push_str(plain),
                Err(error) => {
                    self.at = start + error.valid_up_to();
                    return Err(self.expected("UTF-8"));
                }
            }
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return Err(self.expected("an escape in place of a control character")),
                None => return Err(self.expected("the end of a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, PayloadError> {
        let start = self.at;
        self.at += 1;
        let kind = self.peek();
        self.at += 1;
        let plain = match kind {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hex()?;
                let mut units = vec![first];
                if (0xd800..0xdc00).contains(&first) {
                    if !(self.take(b'\\') && self.take(b'u')) {
                        self.at = start;
                        return Err(self.expected("a pair of surrogates"));
                    }
                    units.push(self.hex()?);
                }
                match char::decode_utf16(units).next() {
                    Some(Ok(found)) => found,
                    _ => {
                        self.at = start;
                        return Err(self.expected("a pair of surrogates"));
                    }
                }
            }
            _ => {
                self.at = start;
                return Err(self.expected("an escape"));
            }
        };
        Ok(plain)
    }

    fn hex(&mut self) -> Result<u16, PayloadError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else { return Err(self.expected("four hexadecimal digits")) };
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(u16::try_from(unit).unwrap_or_default())
    }

    fn number(&mut self, out: &mut Vec<u8>) -> Result<(), PayloadError> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let text = self.json.get(start..self.at).unwrap_or_default();
        number::write(std::str::from_utf8(text).unwrap_or_default(), start, out)
    }

    fn digits(&mut self) -> Result<(), PayloadError> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.expected("a digit"));
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn word(&mut self, word: &'static str, out: &mut Vec<u8>) -> Result<(), PayloadError> {
        let end = self.at + word.len();
        if self.json.get(self.at..end) != Some(word.as_bytes()) {
            return Err(self.expected("a value"));
        }
        self.at = end;
        out.extend_from_slice(word.as_bytes());
        Ok(())
    }

    fn check_depth(&self, depth: usize) -> Result<(), PayloadError> {
        if depth > PAYLOAD_DEPTH_MAX {
            return Err(PayloadError::TooDeep { at: self.at, depth_max: PAYLOAD_DEPTH_MAX });
        }
        Ok(())
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn expected(&self, expected: &'static str) -> PayloadError {
        PayloadError::Malformed { at: self.at, expected }
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x00..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
