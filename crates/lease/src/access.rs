//! Whether a space takes appends: a log that is a copy, or that has moved, does not.
//!
//! Closing is a seal: it raises the epoch, so that every writer of before is fenced at once, and nobody can seal the
//! space afterwards until it is opened again ([`crate::EventStore::set_access`]).

use std::{fmt, str::FromStr};

use crate::name::{NameError, Place};

/// Whether a space takes appends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Access {
    /// It does.
    #[default]
    Open,
    /// It is a copy: its log is appended to elsewhere.
    Copy,
    /// Its log has moved there; append there.
    Moved {
        /// Where it is.
        to: Place,
    },
}

impl Access {
    /// Returns whether the space takes appends.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::Open
    }
}

/// As stores keep it: `open`, `copy`, or `moved` and the place.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Copy => f.write_str("copy"),
            Self::Moved { to } => write!(f, "moved {to}"),
        }
    }
}

/// A text that says nothing about access.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// It is none of the words.
    #[error("{0:?} is neither \"open\" nor \"copy\" nor \"moved\" and a place")]
    Word(String),
    /// It has moved to nowhere.
    #[error(transparent)]
    Place(#[from] NameError),
}

impl FromStr for Access {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        match text.split_once(' ') {
            None if text == "open" => Ok(Self::Open),
            None if text == "copy" => Ok(Self::Copy),
            Some(("moved", to)) => Ok(Self::Moved { to: Place::new(to)? }),
            _ => Err(AccessError::Word(text.chars().take(64).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let moved = Access::Moved { to: Place::new("http://other:3001/").unwrap() };
        for access in [Access::Open, Access::Copy, moved] {
            assert_eq!(access.to_string().parse(), Ok(access));
        }
        for bad in ["", "moved", "moved ", "moved a b", "Open", "open x", "copy\n"] {
            assert!(bad.parse::<Access>().is_err(), "{bad:?}");
        }
    }
}
