//! Writes text as one segment of a URL's path.

/// Percent-encodes everything but the unreserved characters (RFC 3986, section 2.3).
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Reads percent-encoded UTF-8. None if it is not that.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_hexdigit))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// Reads the pairs of a query. What is not percent-encoded UTF-8 reads as nothing.
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    let read = |part: &str| decode(&part.replace('+', " ")).unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(a, b)| (read(a), read(b))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_escaped_reads_back() {
        for text in ["", "a/b ?#é", "team/a:1", "100%"] {
            assert_eq!(decode(&segment(text)).as_deref(), Some(text));
        }
        assert_eq!(decode("a/b:c").as_deref(), Some("a/b:c"));
        for broken in ["%", "%4", "%zz", "%+1", "%ff"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }

    #[test]
    fn segments_are_escaped() {
        assert_eq!(segment("a/b ?#é"), "a%2Fb%20%3F%23%C3%A9");
    }
}
