//! Names: of spaces, of types of events, of intents. Whatever comes from outside passes through here first.

use std::{fmt, str::FromStr, sync::Arc};

use crate::limits::{PLACE_BYTES_MAX, SPACE_BYTES_MAX, WORD_BYTES_MAX};

/// A name that nobody could use. Correct it; the allowed characters and the length are in the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It has no characters, or too many.
    #[error("{what} has {bytes} bytes, it takes 1 to {bytes_max}")]
    Length {
        /// What was to be named.
        what: &'static str,
        /// What it has.
        bytes: usize,
        /// What it may have.
        bytes_max: usize,
    },
    /// It has a character that is not allowed.
    #[error("{what} has {found:?} at byte {at}, allowed are {allowed}")]
    Character {
        /// What was to be named.
        what: &'static str,
        /// The first that is not allowed.
        found: char,
        /// Where it stands.
        at: usize,
        /// Those that are.
        allowed: &'static str,
    },
}

fn check(
    what: &'static str,
    text: &str,
    bytes_max: usize,
    extra: &str,
    allowed: &'static str,
) -> Result<(), NameError> {
    if text.is_empty() || text.len() > bytes_max {
        return Err(NameError::Length { what, bytes: text.len(), bytes_max });
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c) || extra.contains(c);
    match text.char_indices().find(|(_, c)| !is_allowed(*c)) {
        Some((at, found)) => Err(NameError::Character { what, found, at, allowed }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr, $extra:literal, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a name.
            ///
            /// # Errors
            /// If it is empty, too long, or has a character that is not allowed.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check($what, text, $max, $extra, $allowed)?;
                Ok(Self(text.into()))
            }

            /// Returns it as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    };
}

name! {
    /// The name of a space: 1 to 128 of `A-Za-z0-9._-/:`.
    SpaceName, "the name of a space", SPACE_BYTES_MAX, "/:", "A-Z a-z 0-9 . _ - / :"
}
name! {
    /// The type of an event: 1 to 64 of `A-Za-z0-9._-`. The log never looks at it.
    EventType, "the type of an event", WORD_BYTES_MAX, "", "A-Z a-z 0-9 . _ -"
}
name! {
    /// The id of an intent, unique in its space for good: 1 to 64 of `A-Za-z0-9._-`.
    IntentId, "the id of an intent", WORD_BYTES_MAX, "", "A-Z a-z 0-9 . _ -"
}
name! {
    /// Where a log has moved to, as people write it: a URL or a path, 1 to 512 of `A-Za-z0-9` and `._-/:@%?&=+~#[],`.
    Place, "the place of a log", PLACE_BYTES_MAX, "/:@%?&=+~#[],", "A-Z a-z 0-9 . _ - / : @ % ? & = + ~ # [ ] ,"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_lengths_and_alphabets() {
        for good in ["a", "A-z.0_9", &"x".repeat(64)] {
            assert_eq!(EventType::new(good).unwrap().as_str(), good);
            assert_eq!(IntentId::new(good).unwrap().as_str(), good);
            assert_eq!(SpaceName::new(good).unwrap().as_str(), good);
        }
        assert!(SpaceName::new("team/a:1").is_ok());
        assert!(SpaceName::new(&"x".repeat(128)).is_ok());
        for bad in ["", "a b", "ä", "a\n", "a\0", &"x".repeat(129)] {
            assert!(SpaceName::new(bad).is_err(), "{bad:?}");
            assert!(EventType::new(bad).is_err(), "{bad:?}");
            assert!(IntentId::new(bad).is_err(), "{bad:?}");
        }
        assert!(EventType::new("a/b").is_err());
        assert!(IntentId::new(&"x".repeat(65)).is_err());
    }

    #[test]
    fn a_refusal_names_the_character_and_its_place() {
        let error = SpaceName::new("a b").unwrap_err().to_string();
        assert_eq!(error, "the name of a space has ' ' at byte 1, allowed are A-Z a-z 0-9 . _ - / :");
    }
}
