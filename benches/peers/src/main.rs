//! Measures our engine and its peers side by side, in one run on one machine.
//!
//! `cargo run --release -- --help` says how. The parent runs each cell (one engine, one job) as a process of
//! its own, so that no cell inherits another's heap, and prints the tables; a child prints one line of JSON.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod engines;
mod job;
mod measure;
mod table;
mod workload;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use job::{Engine, Job, Scale};
use measure::Report;
use table::{Outcome, Unit};
use workload::Trace;

const HELP: &str = "\
Measures gangline, automerge, yrs, loro and diamond-types side by side.

    cargo run --release -- [OPTIONS]

    --trace PATH       an editing trace, gzipped JSON (txns of patches [position, deleted, inserted]);
                       without it one of the same size is made up
    --only A,B,C,G     workloads: A text, B board, C concurrency, G growth (gangline alone)
    --engines a,b      automerge, yrs, loro, diamond-types, gangline
    --scale SIZE       small (seconds, the default) or full (ten minutes)
    --wall             wall-clock time in the tables that show one; without it, CPU time (user and system)
    --markdown         tables as markdown
    --json             each cell's line of JSON too, as it comes
";

fn main() -> ExitCode {
    let options = match Options::parse(lexopt::Parser::from_env()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("peers: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match options.cell {
        Some((engine, job)) => {
            let input =
                engines::Input { scale: options.scale, trace: options.trace, updates: options.updates };
            let report = engines::run(engine, job, &input);
            println!("{}", serde_json::to_string(&report).expect("a report is plain data"));
            ExitCode::SUCCESS
        }
        None => run_all(&options),
    }
}

struct Options {
    trace: Option<PathBuf>,
    workloads: Vec<char>,
    engines: Vec<Engine>,
    scale: Scale,
    unit: Unit,
    is_markdown: bool,
    is_json: bool,
    /// What a child is to run, and where the updates of workload B lie.
    cell: Option<(Engine, Job)>,
    updates: Option<PathBuf>,
}

impl Options {
    /// `None` is a call for help.
    fn parse(mut arguments: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        use lexopt::prelude::*;
        let mut options = Self {
            trace: None,
            workloads: job::WORKLOADS.to_vec(),
            engines: Engine::ALL.to_vec(),
            scale: Scale::SMALL,
            unit: Unit::Cpu,
            is_markdown: false,
            is_json: false,
            cell: None,
            updates: None,
        };
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("trace") => options.trace = Some(arguments.value()?.into()),
                Long("only") => {
                    let only = arguments.value()?.string()?.to_uppercase();
                    options.workloads = only.chars().filter(|c| *c != ',').collect();
                    if let Some(other) = options.workloads.iter().find(|c| !job::WORKLOADS.contains(c)) {
                        return Err(format!("no workload is called {other}").into());
                    }
                }
                Long("engines") => {
                    let names = arguments.value()?.string()?;
                    options.engines = names.split(',').map(str::parse).collect::<Result<_, String>>()?;
                }
                Long("scale") => options.scale = arguments.value()?.parse()?,
                Long("wall") => options.unit = Unit::Wall,
                Long("markdown") => options.is_markdown = true,
                Long("json") => options.is_json = true,
                Long("cell") => {
                    let engine = arguments.value()?.parse()?;
                    options.cell = Some((engine, arguments.value()?.parse()?));
                }
                Long("updates") => options.updates = Some(arguments.value()?.into()),
                Long("help") | Short('h') => return Ok(None),
                other => return Err(other.unexpected()),
            }
        }
        Ok(Some(options))
    }
}

fn run_all(options: &Options) -> ExitCode {
    let scratch = Scratch::create();
    let trace = scratch.path.join("trace");
    if options.workloads.contains(&'A') {
        // Read once here and handed on in a plain form, so that no child's peak memory is that of a JSON parser.
        let edits = options.scale.edits;
        match &options.trace {
            Some(path) => Trace::read_json(path, edits),
            None => Trace::make_up(edits),
        }
        .write(&trace);
    }
    let mut outcomes = Vec::new();
    for (engine, job) in job::cells(&options.workloads, &options.engines) {
        eprintln!("{} {}: {}", job.workload(), engine.name(), job.title());
        let updates = match job {
            Job::Board(grouping) | Job::BoardMemory(grouping, _) => {
                scratch.path.join(format!("updates-{}-{}", engine.name(), grouping.name()))
            }
            _ => scratch.path.join("unused"),
        };
        let child = Command::new(std::env::current_exe().expect("the path of this program"))
            .args(["--cell", engine.name(), &job.name(), "--scale", options.scale.name])
            .arg("--trace")
            .arg(&trace)
            .arg("--updates")
            .arg(&updates)
            .stderr(Stdio::inherit())
            .output()
            .expect("this program can start itself");
        if options.is_json {
            print!("{}", String::from_utf8_lossy(&child.stdout));
        }
        let report = serde_json::from_slice::<Report>(&child.stdout).ok().filter(|_| child.status.success());
        if report.is_none() {
            eprintln!("  FAILED: {}", child.status);
        }
        outcomes.push(Outcome { engine, job, report });
    }
    let all_well = outcomes.iter().all(Outcome::is_well);
    println!("{}", table::render(&outcomes, &options.scale, options.unit, options.is_markdown));
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A directory for what cells hand to each other; it goes when the run ends.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn create() -> Self {
        let path = std::env::temp_dir().join(format!("gangline-peers-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory for temporary files");
        Self { path }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.path);
    }
}
