//! Links between the project's own pages lead somewhere.

use std::path::Path;

/// The relative links in `text` that lead to no file; `path` is the page that they stand in.
pub(crate) fn check(path: &Path, shown: &str, text: &str) -> Vec<String> {
    let folder = path.parent().unwrap_or(path);
    let mut broken = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for target in targets(line).filter(|target| is_ours(target)) {
            let file = target.split('#').next().unwrap_or(target);
            if !folder.join(file).exists() {
                broken.push(format!("{shown}:{}: the link `{target}` leads nowhere", index + 1));
            }
        }
    }
    broken
}

/// What stands in `](…)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

/// Not another site, and not a place in the same page.
fn is_ours(target: &str) -> bool {
    !target.contains("://") && !target.starts_with('#') && !target.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_links_without_a_file_are_broken() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("page.md");
        let text =
            "[a](Cargo.toml) [b](src/main.rs#top) [c](https://example.org/x) [d](#here)\n[e](gone.md)\n";
        let broken = check(&page, "page.md", text);
        assert_eq!(broken, ["page.md:2: the link `gone.md` leads nowhere"]);
    }
}
