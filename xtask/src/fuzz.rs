//! Fuzzes the decoders by hand, with libFuzzer. CI only replays the corpus (`tests/corpus.rs`).

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cargo, setup};

const SECONDS_DEFAULT: u64 = 60;

/// What `cargo xtask fuzz [TARGET] [--seconds N]` was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    target: Option<String>,
    seconds: u64,
}

/// Fuzzes one target, or each of them in turn.
///
/// It starts from the committed corpus and never writes there: inputs that reach new code go to
/// `fuzz/target/corpus`, and what breaks a check to `fuzz/artifacts`.
pub(crate) fn run(root: &Path, args: &[String]) -> Result<()> {
    let request = parse(args)?;
    setup::require_program("rustup", "fuzzing needs the nightly toolchain, which rustup installs")?;
    setup::require_program("cargo-fuzz", "run `cargo install cargo-fuzz --locked`")?;
    let targets = targets(root)?;
    let chosen: Vec<&String> = match &request.target {
        None => targets.iter().collect(),
        Some(name) => targets.iter().filter(|target| *target == name).collect(),
    };
    if chosen.is_empty() {
        bail!("there is no such target; there are: {}", targets.join(", "));
    }
    for target in chosen {
        let found = root.join("fuzz/target/corpus").join(target);
        std::fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
        // The toolchain is named through rustup: this process's own `CARGO` belongs to the stable one.
        let mut command = Command::new("rustup");
        command.current_dir(root.join("fuzz")).env_remove("RUSTUP_TOOLCHAIN");
        command.args(["run", "nightly", "cargo", "fuzz", "run", target.as_str()]);
        command.arg(&found).arg(root.join("fuzz/corpus").join(target)).arg("--");
        command.args([format!("-max_total_time={}", request.seconds), "-max_len=65536".to_owned()]);
        cargo::run(&mut command)?;
    }
    Ok(())
}

/// The names of the files in `fuzz/fuzz_targets`, sorted.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

fn parse(args: &[String]) -> Result<Request> {
    let mut request = Request { target: None, seconds: SECONDS_DEFAULT };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => {
                let value = args.next().context("--seconds needs a number")?;
                request.seconds =
                    value.parse().with_context(|| format!("not a number of seconds: `{value}`"))?;
            }
            flag if flag.starts_with('-') => bail!("fuzz knows no flag `{flag}`"),
            target if request.target.is_none() => request.target = Some(target.to_owned()),
            extra => bail!("one target at a time, `{extra}` is too many"),
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<Request> {
        parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_target_and_a_time_may_be_given_in_any_order() {
        let expected = Request { target: Some("change".to_owned()), seconds: 5 };
        assert_eq!(parse_words("change --seconds 5").unwrap(), expected);
        assert_eq!(parse_words("--seconds 5 change").unwrap(), expected);
        assert_eq!(parse_words("").unwrap(), Request { target: None, seconds: SECONDS_DEFAULT });
    }

    #[test]
    fn what_it_does_not_understand_is_an_error() {
        for words in ["--seconds", "--seconds soon", "--fast", "change wire"] {
            assert!(parse_words(words).is_err(), "{words}");
        }
    }
}
