//! `gangline key show|token|revoke`: works on the data directory, with or without a running node.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::Global;
use super::output::Output;
use crate::clock;
use crate::config::Flags;
use crate::failure::{Exit, Failure};
use crate::identity::{self, KEY_FILE, node_name, show_key};
use crate::token::{self, Access};

/// What can be done with keys and tokens.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Print this node's name and public key, and the names of its tokens
    Show(Where),
    /// Make a token with which others may use this node's HTTP from another machine
    Token(TokenArgs),
    /// Take a token away
    Revoke(RevokeArgs),
}

/// Which data directory.
#[derive(Debug, Args)]
pub(super) struct Where {
    /// The data directory [default: ./gangline-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// What `key token` takes.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// What to call it
    name: String,
    /// It may only read
    #[arg(long)]
    read: bool,
    #[command(flatten)]
    place: Where,
}

/// What `key revoke` takes.
#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The token's name
    name: String,
    #[command(flatten)]
    place: Where,
}

pub(super) fn run(global: &Global, command: &KeyCommand, out: &Output) -> Result<(), Failure> {
    match command {
        KeyCommand::Show(place) => show(&place.dir(global)?, out),
        KeyCommand::Token(args) => make(&args.place.dir(global)?, args, out),
        KeyCommand::Revoke(args) => {
            token::revoke(&args.place.dir(global)?, &args.name)?;
            if out.is_json() {
                return out.document(&json!({"revoked": args.name}));
            }
            out.line(&format!("{} is revoked, also for a node that runs", args.name))
        }
    }
}

impl Where {
    fn dir(&self, global: &Global) -> Result<PathBuf, Failure> {
        let flags = Flags { data_dir: self.data_dir.clone(), ..Flags::default() };
        Ok(global.settings(&flags)?.data_dir.value)
    }
}

fn show(dir: &Path, out: &Output) -> Result<(), Failure> {
    let Some(keypair) = identity::open(dir)? else {
        let message = format!("there is no key in {} yet", dir.display());
        return Err(Failure::new(Exit::NotFound, "no_key", message)
            .hint("the first `gangline up` makes it; --data-dir says where to look"));
    };
    let author = keypair.author();
    let tokens = token::list(dir)?;
    if out.is_json() {
        let tokens: Vec<_> = tokens
            .iter()
            .map(
                |kept| json!({"name": kept.name, "access": kept.access, "created_at_ms": kept.created_at_ms}),
            )
            .collect();
        return out.document(&json!({
            "name": node_name(&author), "key": show_key(&author), "file": dir.join(KEY_FILE), "tokens": tokens,
        }));
    }
    out.line(&format!("{} {}", node_name(&author), show_key(&author)))?;
    for kept in tokens {
        let access = match kept.access {
            Access::Read => "reads",
            Access::Write => "reads and writes",
        };
        out.line(&format!("token {} {access}, made {}", kept.name, clock::utc(kept.created_at_ms)))?;
    }
    Ok(())
}

fn make(dir: &Path, args: &TokenArgs, out: &Output) -> Result<(), Failure> {
    let access = if args.read { Access::Read } else { Access::Write };
    let token = token::create(dir, &args.name, access, clock::now_ms())?;
    if out.is_json() {
        return out.document(&json!({"name": args.name, "access": access, "token": token}));
    }
    out.line(&token)?;
    eprintln!("Keep it now: it is not shown again. `gangline key revoke {}` takes it away.", args.name);
    Ok(())
}
