//! What no compiler checks: the arrows between crates, one table of versions, and how files look.
//!
//! Every broken rule is listed with its place, not only the first. `ARCHITECTURE.md` is where the arrows
//! are drawn; this step reads them there, so the drawing cannot fall behind the code.

mod files;
mod layers;
mod links;
mod manifest;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Checks every file of the project that people write.
pub(crate) fn run(root: &Path) -> Result<()> {
    let files = walk(root)?;
    let mut broken = Vec::new();
    for path in &files {
        let shown = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        let read = || std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"));
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => broken.extend(files::check(&shown, &read()?)),
            Some("md") => broken.extend(links::check(path, &shown, &read()?)),
            _ => {}
        }
    }
    broken.extend(layers::check(root)?);
    for rule in &broken {
        println!("    {rule}");
    }
    if !broken.is_empty() {
        bail!("{} rules broken, listed above", broken.len());
    }
    println!("    {} files keep the rules", files.len());
    Ok(())
}

/// All Rust and Markdown files, sorted; build output, dependencies and hidden folders are left out.
fn walk(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
        {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                let is_ours = !name.starts_with('.') && name != "target" && name != "corpus";
                folders.extend(is_ours.then_some(path));
            } else if name.ends_with(".rs") || name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
