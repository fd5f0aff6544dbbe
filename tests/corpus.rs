//! Replays every file of the fuzz corpora: none may break a check, and the valid ones must be accepted.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its input has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gangline_tests::fuzzing::{TARGETS, Target};

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn replay(name: &str) {
    let target: &Target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let files = files(&fuzz_folder().join("corpus").join(name));
    let mut valid = 0;
    for path in &files {
        let accepted = (target.check)(&std::fs::read(path).unwrap());
        if path.file_name().unwrap().to_string_lossy().starts_with("valid-") {
            assert!(accepted, "{} is no longer accepted", path.display());
            valid += 1;
        }
    }
    assert!(valid > 0 && files.len() > valid, "the corpus of `{name}` needs files of both kinds");
}

#[test]
fn changes_are_replayed() {
    replay("change");
}

#[test]
fn bundles_are_replayed() {
    replay("bundle");
}

#[test]
fn signed_ops_are_replayed() {
    replay("signed_op");
}

#[test]
fn binary_frames_are_replayed() {
    replay("wire_v1");
}

#[test]
fn frames_of_version_2_are_replayed() {
    replay("wire_v2");
}

#[test]
fn text_frames_are_replayed() {
    replay("text_frame");
}

#[test]
fn lies_are_replayed() {
    replay("lies");
}

#[test]
fn snapshots_are_replayed() {
    replay("snapshot");
}

#[test]
fn grants_are_replayed() {
    replay("trust");
}

#[test]
fn messages_about_logs_are_replayed() {
    replay("log_message");
}

#[test]
fn every_check_has_a_fuzz_target_and_a_corpus() {
    let stems = |folder: &str| -> BTreeSet<String> {
        let paths = files(&fuzz_folder().join(folder));
        paths.iter().map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(stems("fuzz_targets"), names);
    assert_eq!(stems("corpus"), names);
}
