//! Who may depend on whom: the table in `ARCHITECTURE.md`, held against every `Cargo.toml`.
//!
//! The table has one row per package: its name, the ring it lies in, and the packages that it stands on
//! directly; what those stand on may be used too. Tests may use any package but the node.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::manifest::{self, Kind, Manifest};

const PAGE: &str = "ARCHITECTURE.md";

/// Opens the table: the heading of its columns.
const TABLE: &str = "| package | ring | stands on |";

/// What a pure package has no use for: runtimes, sockets, databases, log output.
const EDGE_ONLY: [&str; 9] = [
    "axum",
    "hyper",
    "hyper-util",
    "rusqlite",
    "tokio",
    "tokio-tungstenite",
    "tokio-util",
    "tower",
    "tracing-subscriber",
];

/// Packages whose errors end in front of a person, so that they may lose their type.
const UNTYPED_ERRORS: [&str; 2] = ["gangline", "xtask"];

/// How near to the outside a package is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ring {
    Pure,
    Edge,
    Top,
}

/// The rows of the table.
#[derive(Debug, Default)]
struct Drawing {
    rings: BTreeMap<String, Ring>,
    arrows: BTreeMap<String, BTreeSet<String>>,
}

/// The arrows that the packages of the workspace draw beside those in the table.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let page = std::fs::read_to_string(root.join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    let drawing = parse(&page)?;
    let mut broken = Vec::new();
    for path in manifests(root)? {
        let text =
            std::fs::read_to_string(root.join(&path)).with_context(|| format!("cannot read {path}"))?;
        broken.extend(drawing.check(&path, &manifest::parse(&text)));
    }
    Ok(broken)
}

/// The workspace's own `Cargo.toml` files, relative to `root`.
fn manifests(root: &Path) -> Result<Vec<String>> {
    let mut paths = vec!["tests/Cargo.toml".to_owned(), "xtask/Cargo.toml".to_owned()];
    for entry in std::fs::read_dir(root.join("crates")).context("cannot list crates")? {
        paths.push(format!("crates/{}/Cargo.toml", entry?.file_name().to_string_lossy()));
    }
    paths.sort();
    Ok(paths)
}

fn parse(page: &str) -> Result<Drawing> {
    let mut drawing = Drawing::default();
    let rows =
        page.lines().skip_while(|line| *line != TABLE).skip(2).take_while(|line| line.starts_with('|'));
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [package, ring, stands_on] = cells.as_slice() else { bail!("{PAGE}: not three cells: {row}") };
        let package = package.trim_matches('`').to_owned();
        let ring = match *ring {
            "pure" => Ring::Pure,
            "edge" => Ring::Edge,
            "top" => Ring::Top,
            other => bail!("{PAGE}: there is no ring `{other}`"),
        };
        let arrows = stands_on.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        drawing.rings.insert(package.clone(), ring);
        drawing.arrows.insert(package, arrows);
    }
    if drawing.rings.is_empty() {
        bail!("{PAGE} has no table that begins with `{TABLE}`");
    }
    Ok(drawing)
}

impl Drawing {
    /// The rules that the package at `path` breaks.
    fn check(&self, path: &str, manifest: &Manifest) -> Vec<String> {
        let Some(ring) = self.rings.get(&manifest.name) else {
            return vec![format!("{path}: `{}` is not in the table of {PAGE}", manifest.name)];
        };
        let allowed = self.below(&manifest.name);
        let mut broken = Vec::new();
        for dependency in &manifest.dependencies {
            let (line, name) = (dependency.line, dependency.name.as_str());
            if !dependency.is_workspace {
                broken.push(format!("{path}:{line}: `{name}` takes its version from the workspace's table"));
            }
            let is_test = dependency.kind == Kind::Dev;
            let is_drawn = match self.rings.get(name) {
                None => true,
                Some(Ring::Top) if is_test => name != "gangline",
                Some(_) => is_test || allowed.contains(name),
            };
            if !is_drawn {
                broken.push(format!(
                    "{path}:{line}: {PAGE} draws no arrow from `{name}` to `{}`",
                    manifest.name
                ));
            }
            if !is_test && *ring == Ring::Pure && EDGE_ONLY.contains(&name) {
                broken
                    .push(format!("{path}:{line}: `{}` is pure and has no use for `{name}`", manifest.name));
            }
            if name == "anyhow" && !UNTYPED_ERRORS.contains(&manifest.name.as_str()) {
                broken.push(format!("{path}:{line}: libraries have typed errors, not `anyhow`"));
            }
        }
        broken
    }

    /// Everything that `package` stands on, directly or not.
    fn below(&self, package: &str) -> BTreeSet<&str> {
        let mut below = BTreeSet::new();
        let mut next = vec![package];
        while let Some(package) = next.pop() {
            for arrow in self.arrows.get(package).into_iter().flatten() {
                if below.insert(arrow.as_str()) {
                    next.push(arrow);
                }
            }
        }
        below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
text

| package | ring | stands on |
|---|---|---|
| `engine` | pure | |
| `doc` | pure | `engine` |
| `store` | edge | `doc` |
| `gangline` | top | `store`, `doc` |

| another | table |
";

    fn broken(package: &str, dependencies: &str) -> Vec<String> {
        let text = format!("[package]\nname = \"{package}\"\n{dependencies}");
        parse(PAGE).unwrap().check("p/Cargo.toml", &manifest::parse(&text))
    }

    #[test]
    fn drawn_arrows_and_what_lies_below_them_may_be_used() {
        assert_eq!(
            broken("store", "[dependencies]\ndoc.workspace = true\nengine.workspace = true\n"),
            [""; 0]
        );
        assert_eq!(
            broken("gangline", "[dependencies]\nengine.workspace = true\ntokio.workspace = true\n"),
            [""; 0]
        );
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_refused_except_in_tests() {
        assert!(broken("doc", "[dependencies]\nstore.workspace = true\n")[0].starts_with("p/Cargo.toml:4: "));
        assert_eq!(broken("doc", "[dev-dependencies]\nstore.workspace = true\n"), [""; 0]);
        assert_eq!(broken("doc", "[dev-dependencies]\ngangline.workspace = true\n").len(), 1);
        assert_eq!(broken("newcomer", "").len(), 1);
    }

    #[test]
    fn versions_purity_and_typed_errors_are_checked() {
        assert_eq!(broken("store", "[dependencies]\nrusqlite = \"1\"\n").len(), 1);
        assert_eq!(broken("doc", "[dependencies]\ntokio.workspace = true\n").len(), 1);
        assert_eq!(broken("doc", "[dev-dependencies]\ntokio.workspace = true\n"), [""; 0]);
        assert_eq!(broken("store", "[dependencies]\nanyhow.workspace = true\n").len(), 1);
    }

    #[test]
    fn a_page_without_the_table_is_an_error() {
        assert!(parse("# Architecture\n").is_err());
        assert!(parse("| package | ring | stands on |\n|---|---|---|\n| `a` | middle | |\n").is_err());
    }
}
