//! Whether printed lines are what a README shows.

/// Stands for any number of lines, none included.
const ANY_LINES: &str = "…";

/// Whether `printed` is exactly what is `shown`; the words in `varies` stand for any text in their place.
pub(crate) fn is_kept(shown: &[String], printed: &[String], varies: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line == ANY_LINES => {
            (0..=printed.len()).any(|skip| is_kept(rest, printed.get(skip..).unwrap_or_default(), varies))
        }
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(first, others)| is_line(line, first, varies) && is_kept(rest, others, varies)),
    }
}

/// Whether one line is as shown. A varying word stands for at least one character.
fn is_line(shown: &str, printed: &str, varies: &[String]) -> bool {
    let (shown, printed) = (collapse(shown), collapse(printed));
    let mut fixed = vec![shown.as_str()];
    for word in varies {
        fixed = fixed.into_iter().flat_map(|part| part.split(word.as_str())).collect();
    }
    matches(&fixed, &printed)
}

/// The line with each run of spaces as one, and none at its ends.
fn collapse(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether `text` is the `fixed` parts in order, with at least one character between two of them.
fn matches(fixed: &[&str], text: &str) -> bool {
    let Some((first, rest)) = fixed.split_first() else { return text.is_empty() };
    let Some(text) = text.strip_prefix(first) else { return false };
    if rest.is_empty() {
        return text.is_empty();
    }
    text.char_indices().skip(1).map(|(at, _)| at).chain([text.len()]).any(|at| {
        let tail = text.get(at..).unwrap_or_default();
        at > 0 && matches(rest, tail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn kept(shown: &str, printed: &str, varies: &[&str]) -> bool {
        let varies: Vec<String> = varies.iter().map(|word| (*word).to_owned()).collect();
        is_kept(&lines(shown), &lines(printed), &varies)
    }

    #[test]
    fn without_varying_words_every_line_must_be_the_same() {
        assert!(kept("a\nb", "a\nb", &[]));
        assert!(kept("a  b", "a b  ", &[]));
        assert!(!kept("a b", "ab", &[]));
        assert!(!kept("a\nb", "a", &[]));
        assert!(!kept("a", "a\nb", &[]));
        assert!(!kept("a", "ab", &[]));
        assert!(!kept("", "a", &[]));
    }

    #[test]
    fn a_varying_word_stands_for_any_text_but_none() {
        assert!(kept("node otter (9f)", "node quick badger (c1)", &["otter", "9f"]));
        assert!(kept("node otter", "node x", &["otter"]));
        assert!(!kept("node otter", "node ", &["otter"]));
        assert!(!kept("node otter (9f)", "node otter [9f]", &["otter", "9f"]));
    }

    #[test]
    fn a_line_of_dots_stands_for_any_lines() {
        assert!(kept("a\n…\nd", "a\nb\nc\nd", &[]));
        assert!(kept("a\n…\nd", "a\nd", &[]));
        assert!(!kept("a\n…\nd", "a\nb\nc", &[]));
    }
}
