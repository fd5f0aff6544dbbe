//! Installs what a machine with Rust lacks, and nothing that it has.
//!
//! One table says what the build and the tests need beside Rust. On Debian and its kin a missing package
//! is installed with `apt-get`; elsewhere its name and purpose are printed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo;

/// One thing that must be there before the build: how to see that it is, and the package that brings it.
struct Need {
    package: &'static str,
    sign: Sign,
    why: &'static str,
}

/// What shows that a package is installed, without asking the package manager.
enum Sign {
    /// A program in `PATH`.
    Program(&'static str),
    /// A file, or a file of the same name under the folder of the machine's architecture.
    File(&'static str),
}

const NEEDS: &[Need] = &[
    Need { package: "gcc", sign: Sign::Program("cc"), why: "compiles the bundled SQLite and links programs" },
    Need {
        package: "libc6-dev",
        sign: Sign::File("/usr/include/stdio.h"),
        why: "headers for the C compiler",
    },
    Need {
        package: "curl",
        sign: Sign::Program("curl"),
        why: "the README talks to a node's HTTP API with it",
    },
    Need {
        package: "sqlite3",
        sign: Sign::Program("sqlite3"),
        why: "the README and the examples write databases with it as other programs do",
    },
];

/// Parts of the Rust toolchain, as `rustup` calls them, and the cargo command that each brings.
const COMPONENTS: &[(&str, &str)] = &[("rustfmt", "fmt"), ("clippy", "clippy")];

/// Checks every need and installs those that are missing.
pub(crate) fn run(root: &Path) -> Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !need.sign.is_present()).collect();
    if missing.is_empty() {
        println!("    nothing is missing of {} packages", NEEDS.len());
    } else {
        install(&missing)?;
    }
    for (component, subcommand) in COMPONENTS {
        let mut probe = cargo::cargo(root);
        probe.args([subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
        if !probe.status().is_ok_and(|status| status.success()) {
            println!("    {component} is missing");
            cargo::run(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}

fn install(missing: &[&Need]) -> Result<()> {
    for need in missing {
        println!("    {} is missing: {}", need.package, need.why);
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if find_program("apt-get").is_none() {
        bail!("install these with this system's package manager (Debian's names): {}", packages.join(" "));
    }
    cargo::run(apt_get().arg("update"))?;
    cargo::run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(&packages))?;
    match missing.iter().find(|need| !need.sign.is_present()) {
        Some(need) => bail!("{} is installed, but {} is still missing", need.package, need.sign.describe()),
        None => Ok(()),
    }
}

/// `apt-get` without questions, through `sudo` for users other than root.
fn apt_get() -> Command {
    let mut command = if is_root() {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["--preserve-env=DEBIAN_FRONTEND", "apt-get"]);
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

impl Sign {
    fn is_present(&self) -> bool {
        match self {
            Sign::Program(name) => find_program(name).is_some(),
            Sign::File(path) => Path::new(path).is_file() || under_architecture(path).is_some(),
        }
    }

    fn describe(&self) -> String {
        match self {
            Sign::Program(name) => format!("the program `{name}`"),
            Sign::File(path) => format!("the file {path}"),
        }
    }
}

/// The first executable file called `name` in `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// `/usr/include/stdio.h` may lie in `/usr/include/x86_64-linux-gnu/stdio.h`.
fn under_architecture(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let (folder, name) = (path.parent()?, path.file_name()?);
    let candidate = folder.join(format!("{}-linux-gnu", std::env::consts::ARCH)).join(name);
    candidate.is_file().then_some(candidate)
}

/// A program that a command cannot do without; the error says how to get it.
pub(crate) fn require_program(name: &str, how: &str) -> Result<PathBuf> {
    find_program(name).with_context(|| format!("`{name}` is not installed: {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_in_the_path_is_found_and_another_is_not() {
        assert!(Sign::Program("sh").is_present());
        assert!(!Sign::Program("no-such-program-anywhere").is_present());
    }

    #[test]
    fn every_package_is_named_once_with_a_reason() {
        let mut names: Vec<&str> = NEEDS.iter().map(|need| need.package).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NEEDS.len());
        assert!(NEEDS.iter().all(|need| !need.why.is_empty()));
    }
}
