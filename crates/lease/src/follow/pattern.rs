//! Which spaces are followed, as settings say it.

use crate::name::{NameError, SpaceName};

/// Which spaces are followed: names, and beginnings of names with a `*` behind them; `*` alone is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Follows {
    names: Vec<SpaceName>,
    /// Beginnings of names.
    beginnings: Vec<String>,
}

impl Follows {
    /// Reads a list of names and beginnings.
    ///
    /// ```
    /// use gangline_lease::{Follows, SpaceName};
    ///
    /// let follows = Follows::new(["team/*", "pages"])?;
    /// assert!(follows.has(&SpaceName::new("team/a")?) && follows.has(&SpaceName::new("pages")?));
    /// assert!(!follows.has(&SpaceName::new("pages2")?));
    /// # Ok::<(), gangline_lease::NameError>(())
    /// ```
    ///
    /// # Errors
    /// The first that could not be a name, or the beginning of one.
    pub fn new<'a>(list: impl IntoIterator<Item = &'a str>) -> Result<Self, NameError> {
        let mut follows = Self::default();
        for text in list {
            match text.strip_suffix('*') {
                None => follows.names.push(SpaceName::new(text)?),
                Some("") => follows.beginnings.push(String::new()),
                Some(beginning) => follows.beginnings.push(SpaceName::new(beginning)?.to_string()),
            }
        }
        Ok(follows)
    }

    /// Returns whether none is followed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.beginnings.is_empty()
    }

    /// Returns whether a space is followed.
    #[must_use]
    pub fn has(&self, space: &SpaceName) -> bool {
        let begins = |beginning: &String| space.as_str().starts_with(beginning.as_str());
        self.names.contains(space) || self.beginnings.iter().any(begins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_some_and_none() {
        let name = |text: &str| SpaceName::new(text).unwrap();
        let all = Follows::new(["*"]).unwrap();
        assert!(all.has(&name("a")) && all.has(&name("b/c")) && !all.is_empty());
        let none = Follows::new([]).unwrap();
        assert!(!none.has(&name("a")) && none.is_empty());
        for bad in ["", "a b", "**", "a*b", "*a"] {
            assert!(Follows::new([bad]).is_err(), "{bad:?}");
        }
    }
}
