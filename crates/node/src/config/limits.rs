//! `[limits]`: every bound of the node that can be set, in one table.

use super::{Origin, Sourced};

/// What a limit's number means, and so how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A plain number.
    Count,
    /// Bytes: `1048576`, `"1MiB"`.
    Bytes,
    /// Milliseconds inside, written as `"10s"`, `"500ms"`, `"2m"`, `"12h"`, `"7d"`.
    Time,
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $unit:ident = $default:expr, at_least $min:expr;)*) => {
        /// The bounds in force. Times are in milliseconds.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) struct Limits {
            $($(#[doc = $doc])+ pub(crate) $name: Sourced<u64>,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: Sourced::default($default),)* }
            }
        }

        /// Names of all limits, as written in `[limits]`.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),*];

        impl Limits {
            /// Every limit with its name and unit, in the order of the table.
            pub(crate) fn each(&self) -> Vec<(&'static str, Unit, &Sourced<u64>)> {
                vec![$((stringify!($name), Unit::$unit, &self.$name)),*]
            }

            /// The unit of a limit and the least that it may be.
            pub(crate) fn spec(name: &str) -> Option<(Unit, u64)> {
                match name {
                    $(stringify!($name) => Some((Unit::$unit, $min)),)*
                    _ => None,
                }
            }

            /// Sets a limit that [`Limits::spec`] knows; others are ignored.
            pub(crate) fn set(&mut self, name: &str, value: u64, origin: Origin) {
                match name {
                    $(stringify!($name) => self.$name = Sourced { value, origin },)*
                    _ => {}
                }
            }
        }
    };
}

limits! {
    /// Longest HTTP body that is read.
    body_bytes_max: Bytes = 1 << 20, at_least 1024;
    /// How long a client may take to send a request's head.
    header_timeout: Time = 10_000, at_least 100;
    /// How long a client may take to send a request's body.
    body_timeout: Time = 30_000, at_least 100;
    /// Open HTTP connections; more are answered 503 and closed.
    connections_max: Count = 1024, at_least 8;
    /// Sync sessions that others opened to this node.
    sessions_max: Count = 512, at_least 1;
    /// Open watch streams.
    watchers_max: Count = 256, at_least 1;
    /// How long a stopping node waits for requests under way.
    drain_timeout: Time = 5_000, at_least 0;
    /// Idempotency keys that are remembered.
    idempotency_keys_max: Count = 10_000, at_least 1;
    /// Bytes of answers that are remembered for idempotency keys.
    idempotency_bytes_max: Bytes = 16 << 20, at_least 1024;
    /// Recent changes kept in memory for peers and watchers; older ones are read from the log.
    recent_changes_max: Count = 16_384, at_least 1;
    /// Bytes of recent changes kept in memory.
    recent_bytes_max: Bytes = 8 << 20, at_least 1024;
}

impl Unit {
    /// Reads a number as people write it, with a unit where the limit has one.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub(crate) fn parse(self, text: &str) -> Result<u64, String> {
        let text = text.trim();
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let suffix = text.strip_prefix(digits).unwrap_or_default().trim();
        let wrong = || format!("`{text}` is not {}", self.expected());
        let number: u64 = digits.trim().replace('_', "").parse().map_err(|_| wrong())?;
        let factor = match (self, suffix) {
            (Unit::Count | Unit::Bytes, "") | (Unit::Bytes, "B") | (Unit::Time, "ms") => 1,
            (Unit::Bytes, "KiB") => 1 << 10,
            (Unit::Bytes, "MiB") => 1 << 20,
            (Unit::Bytes, "GiB") => 1 << 30,
            (Unit::Time, "s") => 1_000,
            (Unit::Time, "m") => 60_000,
            (Unit::Time, "h") => 3_600_000,
            (Unit::Time, "d") => 86_400_000,
            (Unit::Count | Unit::Bytes | Unit::Time, _) => return Err(wrong()),
        };
        number.checked_mul(factor).ok_or_else(wrong)
    }

    /// What a value of this unit looks like, for messages.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Unit::Count => "a whole number",
            Unit::Bytes => "a number of bytes such as 1048576 or \"1MiB\"",
            Unit::Time => "a time such as \"10s\", \"500ms\" or \"2m\"",
        }
    }

    /// Writes a value as it would stand in the file.
    pub(crate) fn show(self, value: u64) -> String {
        let scaled = |steps: &[(u64, &str)]| {
            steps
                .iter()
                .find(|(size, _)| value != 0 && value.is_multiple_of(*size))
                .map(|(size, name)| format!("\"{}{name}\"", value / size))
        };
        match self {
            Unit::Count => value.to_string(),
            Unit::Bytes => {
                scaled(&[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]).unwrap_or(value.to_string())
            }
            Unit::Time => {
                scaled(&[(3_600_000, "h"), (60_000, "m"), (1_000, "s")]).unwrap_or(format!("\"{value}ms\""))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_back_as_the_same() {
        for (name, unit, limit) in Limits::default().each() {
            let shown = unit.show(limit.value);
            assert_eq!(unit.parse(shown.trim_matches('"')), Ok(limit.value), "{name}");
            assert!(NAMES.contains(&name) && Limits::spec(name).is_some());
        }
        assert_eq!(Unit::Time.show(1_500), "\"1500ms\"");
        assert_eq!(Unit::Time.show(0), "\"0ms\"");
    }

    #[test]
    fn a_wrong_unit_says_what_was_expected() {
        assert_eq!(
            Unit::Time.parse("10"),
            Err("`10` is not a time such as \"10s\", \"500ms\" or \"2m\"".into())
        );
        assert!(Unit::Bytes.parse("1s").is_err());
        assert!(Unit::Count.parse("-1").is_err());
        assert!(Unit::Count.parse("99999999999999999999").is_err());
        assert!(Unit::Bytes.parse("99999999999GiB").is_err());
        assert_eq!(Unit::Time.parse("7d"), Ok(604_800_000));
        assert_eq!(Unit::Bytes.parse("64 MiB"), Ok(64 << 20));
    }
}
