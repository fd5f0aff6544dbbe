//! The branch of a space: one name per space, that git allows everywhere.
//!
//! ```text
//! a-z 0-9 - _ .    as they are, but for a dot first, last, behind a dot, or before "lock"
//! A-Z              + and the small letter: some file systems take A for a
//! / : .            , = +1: a slash would be a directory, and no branch can be named as another's directory
//! ```
//!
//! A name that gets longer than a file's may be is cut into directories, each of which ends with `+/`.

use gangline_lease::SpaceName;

/// Where branches of logs are: under `refs/heads`, so that a plain clone has them.
pub(super) const LOGS: &str = "refs/heads/gangline/log/";
/// Where logs are kept that another has taken the place of.
pub(super) const ASIDE: &str = "refs/heads/gangline/aside/";

/// Longest file name that is made, in bytes; git puts `.lock` behind it.
const PART_BYTES_MAX: usize = 200;

/// Returns the branch of a space.
pub(super) fn of(space: &SpaceName) -> String {
    format!("{LOGS}{}", encode(space))
}

/// Returns the branch that keeps what a space's branch was at a commit.
pub(super) fn aside(space: &SpaceName, tip: git2::Oid) -> String {
    let short: String = tip.to_string().chars().take(12).collect();
    format!("{ASIDE}{}/{short}", encode(space))
}

/// Returns the space of a branch; `None` if it is no log's.
pub(super) fn space(branch: &str) -> Option<SpaceName> {
    let encoded = branch.strip_prefix(LOGS)?;
    let space = SpaceName::new(&decode(encoded)?).ok()?;
    (encode(&space) == encoded).then_some(space)
}

fn encode(space: &SpaceName) -> String {
    let whole = escape(space.as_str(), is_safe_dot);
    if whole.len() <= PART_BYTES_MAX {
        return whole;
    }
    // Without any dots a cut may be anywhere.
    let whole = escape(space.as_str(), |_, _| false);
    let parts: Vec<&[u8]> = whole.as_bytes().chunks(PART_BYTES_MAX).collect();
    parts.iter().map(|part| String::from_utf8_lossy(part)).collect::<Vec<_>>().join("+/")
}

fn escape(name: &str, is_safe: impl Fn(&str, usize) -> bool) -> String {
    let mut out = String::with_capacity(name.len());
    for (at, c) in name.char_indices() {
        match c {
            'A'..='Z' => out.extend(['+', c.to_ascii_lowercase()]),
            '/' => out.push(','),
            ':' => out.push('='),
            '.' if !is_safe(name, at) => out.push_str("+1"),
            other => out.push(other),
        }
    }
    out
}

fn is_safe_dot(name: &str, at: usize) -> bool {
    let before = name.get(..at).unwrap_or_default();
    let behind = name.get(at + 1..).unwrap_or_default();
    !before.is_empty() && !behind.is_empty() && !before.ends_with('.') && !behind.starts_with("lock")
}

fn decode(encoded: &str) -> Option<String> {
    let whole = encoded.replace("+/", "");
    let mut out = String::with_capacity(whole.len());
    let mut chars = whole.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '+' => match chars.next()? {
                '1' => '.',
                small => small.to_ascii_uppercase(),
            },
            ',' => '/',
            '=' => ':',
            other => other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn named(name: &str) -> SpaceName {
        SpaceName::new(name).unwrap()
    }

    #[test]
    fn usual_names_stay_readable() {
        for (name, branch) in [
            ("pages", "pages"),
            ("team/pages:2", "team,pages=2"),
            ("v1.2", "v1.2"),
            ("Team", "+team"),
            (".hidden", "+1hidden"),
            ("a..b.", "a.+1b+1"),
            ("head.lock", "head+1lock"),
        ] {
            assert_eq!(of(&named(name)), format!("{LOGS}{branch}"), "{name}");
        }
        assert_eq!(space("refs/heads/main"), None);
        for other in ["a+", "TEAM", "a/b", "a+/b", "a b", "", "+1"] {
            assert_eq!(space(&format!("{LOGS}{other}")).is_some(), other == "+1", "{other}");
        }
    }

    proptest! {
        #[test]
        fn every_name_has_a_branch_of_its_own_that_git_allows(
            one in "[aAbL./:_-]{1,128}|[a-zA-Z0-9._/:-]{1,128}|[A.]{128}|[.a]{0,3}lock[.]{0,2}x",
            other in "[aAbL./:_-]{1,128}",
        ) {
            let (one, other) = (named(&one), named(&other));
            for name in [&one, &other] {
                let branch = of(name);
                prop_assert!(git2::Reference::is_valid_name(&branch), "{}", branch);
                prop_assert_eq!(space(&branch), Some(name.clone()));
                prop_assert!(branch.split('/').all(|part| part.len() <= PART_BYTES_MAX + 1), "{}", branch);
            }
            let [a, b] = [&one, &other].map(|name| of(name).to_lowercase());
            prop_assert_eq!(a == b, one == other, "also where A is a");
            let dirs: BTreeSet<String> = b.match_indices('/').filter_map(|(at, _)| Some(b.get(..at)?.to_owned())).collect();
            prop_assert!(!dirs.contains(&a), "no branch is another's directory");
        }
    }
}
