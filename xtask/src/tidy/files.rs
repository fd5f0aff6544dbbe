//! How a Rust file looks: a header, a bounded size, a name that says something, nothing left undone.

/// More than this is two ideas; most files are a quarter of it.
const LINES_MAX: usize = 700;

/// Names that gather whatever has no place.
const NAMES_REFUSED: [&str; 7] = ["common", "helper", "helpers", "mod", "prelude", "types", "utils"];

/// Marks of unfinished work. They are put together here so that this file does not contain them.
const WORDS_REFUSED: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("unimpl", "emented!"),
    concat!("to", "do!"),
    concat!("db", "g!("),
];

/// The rules that the file at `path` with this `text` breaks.
pub(crate) fn check(path: &str, text: &str) -> Vec<String> {
    // What a macro must refuse is input for the compiler; its expected errors count its lines.
    if path.contains("/tests/ui/") {
        return Vec::new();
    }
    let mut broken = Vec::new();
    if !text.lines().find(|line| !is_preamble(line)).is_some_and(|line| line.starts_with("//! ")) {
        broken.push(format!("{path}:1: a file opens with `//!` and what it is for"));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        broken
            .push(format!("{path}: {lines} lines, at most {LINES_MAX}: split it where a second idea starts"));
    }
    let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rs");
    if NAMES_REFUSED.contains(&name) {
        broken.push(format!("{path}: `{name}` says nothing: name the file by its idea"));
    }
    for (index, line) in text.lines().enumerate() {
        for word in WORDS_REFUSED.iter().filter(|word| line.contains(**word)) {
            broken.push(format!("{path}:{}: `{word}` does not land", index + 1));
        }
    }
    broken
}

/// What may stand above the header.
fn is_preamble(line: &str) -> bool {
    line.starts_with("#![") || line.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_header_passes() {
        assert_eq!(check("src/a.rs", "//! What it is for.\nfn a() {}\n"), [""; 0]);
        assert_eq!(check("fuzz/a.rs", "#![no_main]\n//! What it is for.\n"), [""; 0]);
    }

    #[test]
    fn each_broken_rule_is_named_with_its_place() {
        assert!(check("src/a.rs", "fn a() {}\n")[0].starts_with("src/a.rs:1: "));
        assert!(check("src/a.rs", "")[0].starts_with("src/a.rs:1: "));
        assert!(check("src/utils.rs", "//! Things.\n")[0].contains("`utils`"));
        let long = "//! Long.\n".repeat(LINES_MAX + 1);
        assert!(check("src/a.rs", &long)[0].contains("701 lines"));
        let undone = format!("//! A.\n\nfn a() {{ {}() }}\n", concat!("to", "do!"));
        assert!(check("src/a.rs", &undone)[0].starts_with("src/a.rs:3: "));
    }

    #[test]
    fn input_for_the_compiler_is_left_alone() {
        assert_eq!(check("crates/derive/tests/ui/a.rs", "struct A;"), [""; 0]);
    }
}
