//! Reads from a `Cargo.toml` what the rules need: its name and its dependencies. Not a TOML parser: it
//! knows the ways in which dependencies are written, and ignores everything else.

/// What a package says about itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One dependency, in the order of the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Whether its version comes from the workspace's table.
    pub(crate) is_workspace: bool,
}

/// Who needs a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

/// Where a line of the file belongs.
enum Section {
    Package,
    Dependencies(Kind),
    /// `[dependencies.name]`: the lines below belong to the dependency read last.
    OneDependency,
    Other,
}

/// Reads the text of a `Cargo.toml`.
pub(crate) fn parse(text: &str) -> Manifest {
    let mut manifest = Manifest::default();
    let mut section = Section::Other;
    let mut open_brackets = 0_usize;
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or(line).trim();
        let inside_a_list = open_brackets > 0;
        open_brackets = (open_brackets + line.matches('[').count()).saturating_sub(line.matches(']').count());
        if inside_a_list || line.is_empty() {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            let (entered, dependency) = enter(header.trim_matches(['[', ']']), index + 1);
            section = entered;
            manifest.dependencies.extend(dependency);
            continue;
        }
        let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else {
            continue;
        };
        match section {
            Section::Package if key == "name" => manifest.name = value.trim_matches('"').to_owned(),
            Section::Dependencies(kind) => {
                let (name, field) = key.split_once('.').unwrap_or((key, ""));
                let is_workspace = (field == "workspace" && value == "true") || says_workspace(value);
                let name = name.trim_matches('"').to_owned();
                manifest.dependencies.push(Dependency { line: index + 1, name, kind, is_workspace });
            }
            Section::OneDependency if key == "workspace" => {
                let last = manifest.dependencies.last_mut().expect("entering the section added it");
                last.is_workspace = value == "true";
            }
            Section::Package | Section::OneDependency | Section::Other => {}
        }
    }
    manifest
}

/// What `[header]` begins, and the dependency that it names itself, if it does.
fn enter(header: &str, line: usize) -> (Section, Option<Dependency>) {
    if header == "package" {
        return (Section::Package, None);
    }
    // `target.'cfg(unix)'.dependencies` counts as `dependencies`.
    let header = header.rsplit_once("'.").map_or(header, |(_, rest)| rest);
    let (table, name) = header.split_once('.').unwrap_or((header, ""));
    let kind = match table {
        "dependencies" => Kind::Normal,
        "build-dependencies" => Kind::Build,
        "dev-dependencies" => Kind::Dev,
        _ => return (Section::Other, None),
    };
    if name.is_empty() {
        return (Section::Dependencies(kind), None);
    }
    (Section::OneDependency, Some(Dependency { line, name: name.to_owned(), kind, is_workspace: false }))
}

/// Whether an inline table has `workspace = true`.
fn says_workspace(value: &str) -> bool {
    let fields = value.trim_matches(['{', '}']).split(',');
    fields
        .filter_map(|field| field.split_once('='))
        .any(|(key, value)| key.trim() == "workspace" && value.trim() == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_dependency_is_read() {
        let text = r#"
[package]
name = "gangline-doc"   # the replica
version.workspace = true

[features]
conformance = []

[dependencies]
a.workspace = true
b = { workspace = true, features = ["x"] }
c = "1.0"
d = { version = "1", features = [
    "name",
] }

[target.'cfg(unix)'.dependencies]
e.workspace = true

[build-dependencies.f]
workspace = true

[dev-dependencies]
g = { path = "../g" }
"#;
        let manifest = parse(text);
        assert_eq!(manifest.name, "gangline-doc");
        let read: Vec<(&str, Kind, bool)> =
            manifest.dependencies.iter().map(|d| (d.name.as_str(), d.kind, d.is_workspace)).collect();
        let expected = [
            ("a", Kind::Normal, true),
            ("b", Kind::Normal, true),
            ("c", Kind::Normal, false),
            ("d", Kind::Normal, false),
            ("e", Kind::Normal, true),
            ("f", Kind::Build, true),
            ("g", Kind::Dev, false),
        ];
        assert_eq!(read, expected);
        assert_eq!(manifest.dependencies[0].line, 10);
    }
}
