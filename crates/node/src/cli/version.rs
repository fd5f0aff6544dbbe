//! `gangline version`

use serde_json::json;

use super::output::Output;
use crate::failure::Failure;

/// Prints the version.
pub(super) fn run(out: &Output) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if out.is_json() {
        return out.document(&json!({"name": "gangline", "version": version}));
    }
    out.line(&format!("gangline {version}"))
}
