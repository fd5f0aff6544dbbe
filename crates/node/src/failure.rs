//! What a command says when it fails: an exit code, a stable code, a sentence and what to do.

use std::fmt;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::config::Mistake;

/// The exit codes, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It did not work.
    Failed = 1,
    /// The command line or a value in it is wrong.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// Somebody else has it, or it exists already.
    Conflict = 4,
    /// Trust, a token or a signature stands against it.
    Refused = 5,
    /// No node answers there.
    Unreachable = 6,
    /// It took too long.
    Timeout = 7,
    /// The node answers and is not well.
    Unhealthy = 8,
    /// The settings are wrong.
    Settings = 9,
    /// There is something to do: what a plan found.
    Changes = 10,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A command's failure.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The process ends with it.
    pub(crate) exit: Exit,
    /// Stable, for scripts.
    pub(crate) code: String,
    /// One sentence.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// More fields for `--json`.
    pub(crate) details: Option<Value>,
}

impl Failure {
    /// A failure without a hint.
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self { exit, code: code.to_owned(), message: message.into(), hint: None, details: None }
    }

    /// Adds what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The settings are wrong, each mistake with its place.
    pub(crate) fn settings(mistakes: &[Mistake]) -> Self {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        let details = mistakes
            .iter()
            .map(|m| json!({"place": m.origin.to_string(), "message": m.message, "hint": m.hint}))
            .collect();
        let mut failure = Self::new(Exit::Settings, "bad_settings", lines.join("\n"));
        failure.details = Some(json!({ "mistakes": Value::Array(details) }));
        failure
    }

    /// As one JSON document.
    pub(crate) fn to_json(&self) -> Value {
        let mut object = json!({
            "code": self.code, "message": self.message, "hint": self.hint, "exit": self.exit as u8,
        });
        if let (Some(Value::Object(more)), Some(object)) = (&self.details, object.as_object_mut()) {
            for (key, value) in more {
                object.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        object
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {}", hint.replace('\n', "\n  ")),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
