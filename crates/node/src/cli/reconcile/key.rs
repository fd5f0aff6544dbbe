//! `gangline reconcile key show|export|import|new`: works on the data directory, with or without a running node.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use bft_json_crdt::keypair::{Keypair, make_keypair};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::Global;
use crate::cli::output::Output;
use crate::config::{Flags, Settings};
use crate::failure::{Exit, Failure};
use crate::identity::show_key;
use crate::key_file;
use crate::sources::{self, Kept, SourceKey, key_path};

/// What can be done with keys of sources.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SourceKeyCommand {
    /// Print the public keys of the sources in the settings, and which are missing
    Show(Place),
    /// Write a source's key to a file, for another node that shall reconcile it too
    Export(ExportArgs),
    /// Take a source's key from a file that `export` has written at another node
    Import(ImportArgs),
    /// Make a source's key before the first start, to give it to other nodes
    New(NewArgs),
}

/// Which data directory.
#[derive(Debug, Args)]
pub(in crate::cli) struct Place {
    /// The data directory [default: ./gangline-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// What `key export` takes.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// The file to write, readable by you alone; `-` is stdout
    file: PathBuf,
    /// The source [default: the only one in the settings]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// What `key import` takes.
#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// The file; `-` is stdin
    file: PathBuf,
    /// The source [default: the only one in the settings]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Put another key that is here aside; documents that it has signed stay behind
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    place: Place,
}

/// What `key new` takes.
#[derive(Debug, Args)]
pub(in crate::cli) struct NewArgs {
    /// The source
    name: String,
    /// Put the key that is here aside; documents that it has signed stay behind
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    place: Place,
}

/// More than any key file has.
const BYTES_MAX: u64 = 1_024;

pub(super) fn run(global: &Global, command: &SourceKeyCommand, out: &Output) -> Result<(), Failure> {
    match command {
        SourceKeyCommand::Show(place) => show(&place.settings(global)?, out),
        SourceKeyCommand::Export(args) => {
            let settings = args.place.settings(global)?;
            export(&settings, &chosen(&settings, args.source.as_deref())?, &args.file, out)
        }
        SourceKeyCommand::Import(args) => {
            let settings = args.place.settings(global)?;
            let name = chosen(&settings, args.source.as_deref())?;
            let keypair = read(&args.file)?;
            keep(&settings, &name, &keypair, args.replace, out)
        }
        SourceKeyCommand::New(args) => {
            let settings = args.place.settings(global)?;
            let name = chosen(&settings, Some(&args.name))?;
            keep(&settings, &name, &make_keypair(), args.replace, out)
        }
    }
}

impl Place {
    fn settings(&self, global: &Global) -> Result<Settings, Failure> {
        global.settings(&Flags { data_dir: self.data_dir.clone(), ..Flags::default() })
    }
}

/// The source that is meant. Keys are only kept for sources that the settings name, so that no typing error is kept.
fn chosen(settings: &Settings, named: Option<&str>) -> Result<String, Failure> {
    let names: Vec<&str> = settings.reconcile.iter().map(|source| &*source.mapping.name).collect();
    match (named, names.as_slice()) {
        (Some(named), names) if names.contains(&named) => Ok(named.to_owned()),
        (None, [one]) => Ok((*one).to_owned()),
        (_, []) => Err(Failure::new(Exit::NotFound, "no_source", "the settings name no source")
            .hint("write [[reconcile]] with a name first; --config says which settings")),
        (Some(named), names) => {
            let message = format!("the settings name no source {named:?}");
            Err(Failure::new(Exit::NotFound, "no_source", message)
                .hint(format!("they name {}", names.join(", "))))
        }
        (None, names) => Err(Failure::new(Exit::Usage, "which_source", "the settings name several sources")
            .hint(format!("say which: --source {}", names.join(" or --source ")))),
    }
}

fn show(settings: &Settings, out: &Output) -> Result<(), Failure> {
    let dir = &settings.data_dir.value;
    let mut shown = Vec::new();
    if settings.reconcile.is_empty() && !out.is_json() {
        eprintln!("the settings name no source: write [[reconcile]] in them, or say which with --config");
    }
    for source in &settings.reconcile {
        let name = &source.mapping.name;
        let key = sources::look(dir, name)?;
        let (state, public) = match &key {
            SourceKey::Held(keypair) => ("held", Some(keypair.author())),
            SourceKey::Awaited => ("missing", None),
            SourceKey::Lost(public) => ("lost", Some(*public)),
        };
        let public = public.map(|public| show_key(&public));
        let file = key_path(dir, name);
        shown.push(json!({
            "name": name, "state": state, "public_key": public, "file": file, "key": source.key.name(),
        }));
        if out.is_json() {
            continue;
        }
        out.line(&match (&key, public) {
            (SourceKey::Held(_), Some(public)) => format!("{name} {public} in {}", file.display()),
            (SourceKey::Lost(_), Some(public)) => {
                format!("{name} {public}, which is gone from {}", file.display())
            }
            _ => match source.key {
                crate::config::KeyFrom::Create => format!("{name} has no key yet; the next start makes it"),
                crate::config::KeyFrom::Import => {
                    format!("{name} has no key here; import it from another node")
                }
            },
        })?;
    }
    if out.is_json() { out.document(&shown) } else { Ok(()) }
}

fn export(settings: &Settings, name: &str, file: &Path, out: &Output) -> Result<(), Failure> {
    let SourceKey::Held(keypair) = sources::look(&settings.data_dir.value, name)? else {
        let message = format!("there is no key of {name} in {}", settings.data_dir.value.display());
        return Err(Failure::new(Exit::NotFound, "no_key", message)
            .hint("export it where it is; or make it with `gangline reconcile key new`"));
    };
    let line = key_file::line(&keypair);
    if file == Path::new("-") {
        return out.line(line.trim_end());
    }
    let shown = file.display();
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(file).and_then(|mut file| {
        file.write_all(line.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return Failure::new(Exit::Conflict, "file_exists", format!("{shown} is there already"))
                .hint("name another file");
        }
        Failure::new(Exit::Failed, "not_written", format!("cannot write {shown}: {error}"))
    })?;
    let public = show_key(&keypair.author());
    if out.is_json() {
        return out.document(&json!({ "name": name, "public_key": public, "written": file }));
    }
    out.line(&format!("wrote the key of {name}, {public}, to {shown}"))?;
    eprintln!("Whoever has this file can write in the database's name: bring it over safely, and remove it.");
    Ok(())
}

fn read(file: &Path) -> Result<Keypair, Failure> {
    let shown = file.display();
    let mut text = String::new();
    let done = match file == Path::new("-") {
        true => io::stdin().lock().take(BYTES_MAX).read_to_string(&mut text),
        false => File::open(file).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text)),
    };
    let malformed = || {
        Failure::new(Exit::Usage, "bad_key_file", format!("{shown} is not a key file of gangline"))
            .hint("`gangline reconcile key export FILE` writes one where the key is")
    };
    match done {
        Ok(_) => key_file::parse(&text).ok_or_else(malformed),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(malformed()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::new(Exit::NotFound, "no_such_file", format!("there is no file {shown}")))
        }
        Err(error) => Err(Failure::new(Exit::Failed, "not_read", format!("cannot read {shown}: {error}"))),
    }
}

fn keep(
    settings: &Settings,
    name: &str,
    keypair: &Keypair,
    replace: bool,
    out: &Output,
) -> Result<(), Failure> {
    let kept = sources::place(&settings.data_dir.value, name, keypair, replace)?;
    let public = show_key(&keypair.author());
    let aside = match &kept {
        Kept::InPlaceOf(aside) => aside.as_ref(),
        Kept::New | Kept::Known => None,
    };
    if out.is_json() {
        return out.document(&json!({
            "name": name, "public_key": public, "is_new": kept != Kept::Known, "put_aside": aside,
        }));
    }
    if let Some(aside) = aside {
        eprintln!("the key that was here is in {}", aside.display());
    }
    let what = if kept == Kept::Known { "had the key already" } else { "has the key" };
    out.line(&format!("{name} {what} {public}; a node that runs takes it at its next start"))
}
