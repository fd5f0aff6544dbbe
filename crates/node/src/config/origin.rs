//! Where a setting came from: a flag, the environment, a file or the default.

use std::fmt;

/// Where a value was set, strongest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A command line flag, by its name with dashes.
    Flag(&'static str),
    /// An environment variable, by its name.
    Env(String),
    /// A line of a settings file.
    File {
        /// The file as the user named it.
        path: String,
        /// Counted from 1.
        line: usize,
    },
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) => f.write_str(name),
            Origin::Env(name) => f.write_str(name),
            Origin::File { path, line } => write!(f, "{path}:{line}"),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    /// The value.
    pub(crate) value: T,
    /// Who said so.
    pub(crate) origin: Origin,
}

impl<T> Sourced<T> {
    /// A value that nobody asked for.
    pub(crate) fn default(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }

    /// The strongest of three layers, or the default.
    pub(crate) fn pick(
        flag: Option<Sourced<T>>,
        env: Option<Sourced<T>>,
        file: Option<Sourced<T>>,
        default: T,
    ) -> Self {
        flag.or(env).or(file).unwrap_or_else(|| Self::default(default))
    }
}
