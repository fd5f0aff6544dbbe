//! What goes to stdout: text or JSON, tables only on a terminal, nothing that a terminal would obey.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::failure::{Exit, Failure};

/// The reader of our output has gone; that is its right.
pub(super) const BROKEN_PIPE: &str = "broken_pipe";
/// What there was to say is on stdout; only the exit code is left.
pub(super) const SAID: &str = "said";

/// Where answers go.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    terminal: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json, terminal: io::stdout().is_terminal() }
    }

    /// Whether JSON was asked for.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints one line, as it is. Written at once, also when nobody looks.
    pub(super) fn line(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = anstream::stdout().lock();
        writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                return Failure::new(Exit::Failed, BROKEN_PIPE, "the reader went away");
            }
            Failure::new(Exit::Failed, "output_failed", format!("cannot write to stdout: {error}"))
        })
    }

    /// Prints one JSON document on a line.
    pub(super) fn document(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::new(Exit::Failed, "output_failed", error.to_string()))?;
        self.line(&text)
    }

    /// Prints rows: as a table on a terminal, else tab-separated and without the heading.
    pub(super) fn rows(&self, heading: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
        let clean = |row: &Vec<String>| row.iter().map(|cell| printable(cell)).collect::<Vec<_>>();
        if !self.terminal {
            return rows.iter().try_for_each(|row| self.line(&clean(row).join("\t")));
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(heading.to_vec());
        for row in &rows {
            table.add_row(clean(row));
        }
        self.line(&table.trim_fmt())
    }
}

/// Makes text from others harmless for a terminal and keeps it on one line.
pub(super) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if is_obeyed(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

/// As [`printable`], with line feeds left as they are.
pub(super) fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Control characters, and those that turn the direction of text around.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_do_not_reach_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\td"), "a\\u{1b}[2Jb\\nc\\td");
        assert_eq!(printable("naïve ✓"), "naïve ✓");
        assert_eq!(printable_lines("a\nb\u{7}"), "a\nb\\u{7}");
    }
}
