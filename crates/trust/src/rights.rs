//! What a key may do: a small set of rights.

use std::fmt;
use std::str::FromStr;

/// A set of rights: connect, read, write, invite.
///
/// ```
/// use gangline_trust::Rights;
///
/// let rights = Rights::CONNECT | "write".parse()?;
/// assert!(rights.contains(Rights::WRITE) && !rights.contains(Rights::INVITE));
/// assert_eq!(rights.to_string(), "connect, write");
/// # Ok::<(), gangline_trust::UnknownRight>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rights(u8);

/// The text names no right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no right; there are connect, read, write and invite")]
pub struct UnknownRight(pub String);

const NAMES: [(&str, Rights); 4] = [
    ("connect", Rights::CONNECT),
    ("read", Rights::READ),
    ("write", Rights::WRITE),
    ("invite", Rights::INVITE),
];

impl Rights {
    /// No right at all.
    pub const NONE: Self = Self(0);
    /// Open sessions with the node.
    pub const CONNECT: Self = Self(1);
    /// Get the document.
    pub const READ: Self = Self(2);
    /// Have its changes let into the document.
    pub const WRITE: Self = Self(4);
    /// Give to others what it has itself, and take it away from anybody.
    pub const INVITE: Self = Self(8);
    /// Connect and read.
    pub const READER: Self = Self(1 | 2);
    /// Connect, read and write.
    pub const MEMBER: Self = Self(1 | 2 | 4);
    /// Everything.
    pub const ALL: Self = Self(1 | 2 | 4 | 8);

    /// The names of all rights, as people write them.
    #[must_use]
    pub fn names() -> [&'static str; 4] {
        NAMES.map(|(name, _)| name)
    }

    /// The names of the rights in this set.
    #[must_use]
    pub fn held(self) -> Vec<&'static str> {
        NAMES.iter().filter(|(_, right)| self.contains(*right)).map(|(name, _)| *name).collect()
    }

    /// Returns whether all of `other` is in here.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns whether there is no right in here.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Returns the rights that are in `other` but not in here.
    #[must_use]
    pub fn missing(self, other: Self) -> Self {
        Self(other.0 & !self.0)
    }

    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// Returns `None` for bits that mean nothing.
    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        Self::ALL.contains(Self(bits)).then_some(Self(bits))
    }
}

impl std::ops::BitOr for Rights {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Rights {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl std::ops::BitAnd for Rights {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() { f.write_str("nothing") } else { f.write_str(&self.held().join(", ")) }
    }
}

impl FromStr for Rights {
    type Err = UnknownRight;

    fn from_str(text: &str) -> Result<Self, UnknownRight> {
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, right)| *right).ok_or_else(|| UnknownRight(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits_are_the_same_rights() {
        let all = Rights::names().into_iter().map(|name| name.parse::<Rights>().unwrap());
        assert_eq!(all.fold(Rights::NONE, |all, right| all | right), Rights::ALL);
        assert_eq!("Write".parse::<Rights>(), Err(UnknownRight("Write".into())));
        assert_eq!(Rights::from_bits(16), None);
        assert_eq!(Rights::from_bits(7), Some(Rights::MEMBER));
        assert_eq!(Rights::READER.missing(Rights::ALL), Rights::WRITE | Rights::INVITE);
        assert_eq!(Rights::NONE.to_string(), "nothing");
    }
}
