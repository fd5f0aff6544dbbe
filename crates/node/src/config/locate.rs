//! Finds the settings file: `--config`, `GANGLINE_CONFIG`, `./gangline.toml`, then the user's own.

use std::path::{Path, PathBuf};

/// A settings file that was found and read.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// As messages call it.
    pub(crate) path: String,
    /// What it says.
    pub(crate) text: String,
}

/// Reads the file that `named` (a flag) or the environment names, or the first usual one that exists.
///
/// # Errors
/// A sentence, when a named file cannot be read or any file that exists cannot.
pub(crate) fn locate(
    named: Option<&Path>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Found>, String> {
    let asked = named.map(|path| (path.to_path_buf(), "--config")).or_else(|| {
        Some((PathBuf::from(env("GANGLINE_CONFIG").filter(|v| !v.is_empty())?), "GANGLINE_CONFIG"))
    });
    if let Some((path, who)) = asked {
        return match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Found { path: path.display().to_string(), text })),
            Err(error) => Err(format!("{who}: cannot read {}: {error}", path.display())),
        };
    }
    let home = || env("HOME").filter(|v| !v.is_empty()).map(|home| PathBuf::from(home).join(".config"));
    let user = env("XDG_CONFIG_HOME").filter(|v| !v.is_empty()).map(PathBuf::from).or_else(home);
    let usual = [Some(PathBuf::from("gangline.toml")), user.map(|dir| dir.join("gangline/gangline.toml"))];
    for path in usual.into_iter().flatten() {
        match std::fs::read_to_string(&path) {
            Ok(text) => return Ok(Some(Found { path: path.display().to_string(), text })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        }
    }
    Ok(None)
}
