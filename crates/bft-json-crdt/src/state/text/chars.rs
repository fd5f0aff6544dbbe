//! The characters of a text by number: one byte each while they are Latin letters, four bytes each after
//! the first that is not.

use super::CharIx;

#[derive(Clone, Debug)]
pub(super) enum Chars {
    /// The first 256 of Unicode, by code point.
    Narrow(Vec<u8>),
    Wide(Vec<char>),
}

impl Chars {
    pub(super) fn new() -> Self {
        Self::Narrow(Vec::new())
    }

    /// Adds the characters of `content` and tells how many they are.
    pub(super) fn push(&mut self, content: &str) -> u32 {
        if let Self::Narrow(narrow) = self {
            if content.is_ascii() {
                narrow.extend_from_slice(content.as_bytes());
                return content.len() as u32;
            }
            if content.chars().any(|char| u8::try_from(char).is_err()) {
                *self = Self::Wide(narrow.iter().map(|byte| char::from(*byte)).collect());
            }
        }
        let before = self.len();
        match self {
            Self::Narrow(narrow) => narrow.extend(content.chars().filter_map(|char| u8::try_from(char).ok())),
            Self::Wide(wide) => wide.extend(content.chars()),
        }
        (self.len() - before) as u32
    }

    /// Appends the characters from number `first` on to `out`.
    pub(super) fn read(&self, first: CharIx, len: u32, out: &mut String) {
        let range = first as usize..first as usize + len as usize;
        match self {
            Self::Narrow(narrow) => {
                let bytes = narrow.get(range).unwrap_or_default();
                match str::from_utf8(bytes) {
                    Ok(text) if bytes.is_ascii() => out.push_str(text),
                    _ => out.extend(bytes.iter().map(|byte| char::from(*byte))),
                }
            }
            Self::Wide(wide) => out.extend(wide.get(range).unwrap_or_default()),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Narrow(narrow) => narrow.capacity(),
            Self::Wide(wide) => wide.capacity() * size_of::<char>(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Narrow(narrow) => narrow.len(),
            Self::Wide(wide) => wide.len(),
        }
    }
}
