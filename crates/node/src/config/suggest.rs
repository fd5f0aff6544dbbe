//! "Did you mean …?" for names that are not known.

/// Words that people try for a setting that has another name.
const ALIASES: &[(&str, &str)] = &[
    ("peer", "rendezvous"),
    ("peers", "rendezvous"),
    ("port", "listen"),
    ("host", "listen"),
    ("bind", "listen"),
    ("address", "listen"),
    ("agents", "agent"),
    ("dir", "data_dir"),
    ("path", "data_dir"),
    ("store", "log_store"),
    ("log", "log_store"),
    ("leases", "lease"),
    ("source", "reconcile"),
    ("db", "database"),
    ("url", "database"),
    ("lists", "list"),
    ("columns", "fields"),
    ("secrets", "secret"),
    ("poll_ms", "poll"),
    ("sweep_s", "sweep"),
    ("primary_key", "key"),
    ("id", "key"),
];

/// Returns the known name that `word` most likely stands for, if one is near enough.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    if let Some((_, meant)) = ALIASES.iter().find(|(tried, _)| *tried == word)
        && let Some(name) = known.iter().find(|name| *name == meant)
    {
        return Some(name);
    }
    let (distance, name) = known.iter().map(|name| (distance(&word, name), *name)).min()?;
    (distance <= (name.chars().count() / 3).max(1)).then_some(name)
}

/// Edits (insert, delete, replace, swap neighbours) that turn `a` into `b`. O(|a| · |b|).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut rows = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    let at = |rows: &Vec<Vec<usize>>, i: usize, j: usize| -> usize {
        rows.get(i).and_then(|row| row.get(j)).copied().unwrap_or(usize::MAX / 2)
    };
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            let cost = if i == 0 || j == 0 {
                i + j
            } else {
                let same = usize::from(a.get(i - 1) != b.get(j - 1));
                let mut best = (at(&rows, i - 1, j) + 1)
                    .min(at(&rows, i, j - 1) + 1)
                    .min(at(&rows, i - 1, j - 1) + same);
                if i > 1 && j > 1 && a.get(i - 1) == b.get(j - 2) && a.get(i - 2) == b.get(j - 1) {
                    best = best.min(at(&rows, i - 2, j - 2) + 1);
                }
                best
            };
            if let Some(cell) = rows.get_mut(i).and_then(|row| row.get_mut(j)) {
                *cell = cost;
            }
        }
    }
    at(&rows, a.len(), b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_typos_swaps_and_other_words() {
        let known = ["listen", "data_dir", "rendezvous", "agent"];
        assert_eq!(nearest("listne", &known), Some("listen"));
        assert_eq!(nearest("rendevous", &known), Some("rendezvous"));
        assert_eq!(nearest("data-dir", &known), Some("data_dir"));
        assert_eq!(nearest("peers", &known), Some("rendezvous"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(distance("ab", "ba"), 1);
    }
}
