//! `gangline key show|trust|token|revoke`: works on the data directory, with or without a running node.

use std::path::{Path, PathBuf};

use bft_json_crdt::keypair::{AuthorId, Keypair};
use clap::{Args, Subcommand};
use gangline_trust::{Grant, Held, Learned, Policy, Record, Revocation, Rights, Statement};
use serde_json::json;

use super::Global;
use super::output::{Output, printable};
use crate::clock;
use crate::config::{Flags, Settings, public_key};
use crate::failure::{Exit, Failure};
use crate::identity::{self, KEY_FILE, node_name, show_key};
use crate::token::{self, Access};
use crate::trust::{DOCUMENT, grants, policy, random_id, sign};

/// What can be done with keys and tokens.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Print this node's name and public key, whom it trusts, and the names of its tokens
    Show(Where),
    /// Let another node in by its key
    Trust(TrustArgs),
    /// Make a token with which others may use this node's HTTP from another machine
    Token(TokenArgs),
    /// Take a token away, or for good all rights of another node's key
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
    /// A token's name, or a key or its name
    #[arg(value_name = "PUBKEY-or-NAME")]
    name: String,
    #[command(flatten)]
    place: Where,
}

/// What `key trust` takes.
#[derive(Debug, Args)]
pub(super) struct TrustArgs {
    /// As `gangline key show` prints it there: ed25519: and 64 hex digits
    #[arg(value_name = "PUBKEY")]
    key: String,
    /// What to call it
    name: String,
    /// It may read and nothing more
    #[arg(long)]
    read_only: bool,
    /// It may also invite others and revoke their keys
    #[arg(long, conflicts_with = "read_only")]
    invite: bool,
    #[command(flatten)]
    place: Where,
}

pub(super) fn run(global: &Global, command: &KeyCommand, out: &Output) -> Result<(), Failure> {
    match command {
        KeyCommand::Show(place) => show(&place.settings(global)?, out),
        KeyCommand::Trust(args) => trust(&args.place.settings(global)?, args, out),
        KeyCommand::Token(args) => make(&args.place.settings(global)?.data_dir.value, args, out),
        KeyCommand::Revoke(args) => revoke(&args.place.settings(global)?, &args.name, out),
    }
}

impl Where {
    fn settings(&self, global: &Global) -> Result<Settings, Failure> {
        global.settings(&Flags { data_dir: self.data_dir.clone(), ..Flags::default() })
    }
}

fn own_key(dir: &Path) -> Result<Keypair, Failure> {
    identity::open(dir)?.ok_or_else(|| {
        let message = format!("there is no key in {} yet", dir.display());
        Failure::new(Exit::NotFound, "no_key", message)
            .hint("the first `gangline up` makes it; --data-dir says where to look")
    })
}

fn show(settings: &Settings, out: &Output) -> Result<(), Failure> {
    let dir = &settings.data_dir.value;
    let author = own_key(dir)?.author();
    let tokens = token::list(dir)?;
    let policy = policy(settings, author, grants::read(dir)?);
    let standing = policy.standing(clock::now_ms());
    let trusted = standing.held.iter().filter(|(key, held)| **key != author && !held.rights.is_none());
    if out.is_json() {
        let tokens: Vec<_> = tokens
            .iter()
            .map(
                |kept| json!({"name": kept.name, "access": kept.access, "created_at_ms": kept.created_at_ms}),
            )
            .collect();
        let trusted: Vec<_> = trusted
            .map(|(key, held)| json!({"key": show_key(key), "name": held.name, "may": held.rights.held()}))
            .collect();
        let revoked: Vec<_> = standing.revoked.iter().map(show_key).collect();
        return out.document(&json!({
            "name": node_name(&author), "key": show_key(&author), "file": dir.join(KEY_FILE), "open": policy.is_open(),
            "trusted": trusted, "revoked": revoked, "tokens": tokens,
        }));
    }
    out.line(&format!("{} {}", node_name(&author), show_key(&author)))?;
    for (key, held) in trusted {
        let name = if held.name.is_empty() { node_name(key) } else { printable(&held.name) };
        out.line(&format!("trusted {name} {} may {}", show_key(key), held.rights))?;
    }
    for key in &standing.revoked {
        out.line(&format!("revoked {}", show_key(key)))?;
    }
    for kept in tokens {
        let access = match kept.access {
            Access::Read => "reads",
            Access::Write => "reads and writes",
        };
        out.line(&format!("token {} {access}, made {}", kept.name, clock::utc(kept.created_at_ms)))?;
    }
    Ok(())
}

fn trust(settings: &Settings, args: &TrustArgs, out: &Output) -> Result<(), Failure> {
    let dir = &settings.data_dir.value;
    let subject = public_key(&args.key).ok_or_else(|| {
        Failure::new(Exit::Usage, "bad_key", format!("`{}` is not a public key", args.key))
            .hint("ed25519: and 64 hex digits, as `gangline key show` prints it on the other machine")
    })?;
    let keypair = own_key(dir)?;
    let own = keypair.author();
    if subject == own {
        let message = "that is this node's own key, which may everything here";
        return Err(Failure::new(Exit::Usage, "own_key", message).hint("give the key of another node"));
    }
    let rights = match (args.read_only, args.invite) {
        (true, _) => Rights::READER,
        (false, true) => Rights::ALL,
        (false, false) => Rights::MEMBER,
    };
    let grant = Grant {
        document: DOCUMENT,
        issuer: own,
        subject,
        rights,
        is_ticket: false,
        name: args.name.clone(),
        expires_at_ms: 0,
        id: random_id()?,
    };
    let record = sign(Statement::Grant(grant), &keypair)?;
    let now_ms = clock::now_ms();
    grants::change(dir, |ledger| {
        let mut policy = policy(settings, own, ledger);
        if policy.standing(now_ms).revoked.contains(&subject) {
            let message = format!("{} was revoked, for good", show_key(&subject));
            return Err(Failure::new(Exit::Conflict, "key_revoked", message)
                .hint("whoever has it makes a new key: move node.key away there, and trust the new one"));
        }
        learn(&mut policy, record, now_ms)?;
        Ok((policy.into_ledger(), ()))
    })?;
    if out.is_json() {
        return out
            .document(&json!({"trusted": show_key(&subject), "name": args.name, "may": rights.held()}));
    }
    out.line(&format!("{} may {rights}, also on a node that runs", args.name))
}

fn revoke(settings: &Settings, name: &str, out: &Output) -> Result<(), Failure> {
    let dir = &settings.data_dir.value;
    let now_ms = clock::now_ms();
    let (members, tickets) = match public_key(name) {
        Some(key) => (vec![key], Vec::new()),
        None => named(settings, name, now_ms)?,
    };
    let is_token = token::exists(dir, name)?;
    let is_key = !members.is_empty() || !tickets.is_empty();
    if members.len() > 1 || (is_key && is_token) {
        let mut found: Vec<String> = members.iter().chain(&tickets).map(show_key).collect();
        found.extend(is_token.then(|| "a token".to_owned()));
        let message = format!("`{name}` is the name of {}", found.join(" and "));
        return Err(Failure::new(Exit::Conflict, "ambiguous_name", message)
            .hint("give the key itself; a token of that name can be revoked once no key has it"));
    }
    if is_key {
        // With tickets of that name, or whoever has one would be back at once.
        return revoke_keys(settings, &[members, tickets].concat(), out);
    }
    token::revoke(dir, name)?;
    if out.is_json() {
        return out.document(&json!({"revoked": name}));
    }
    out.line(&format!("{name} is revoked, also for a node that runs"))
}

/// The keys that are called `name` here, and the one-time keys of tickets for somebody of that name.
fn named(settings: &Settings, name: &str, now_ms: u64) -> Result<(Vec<AuthorId>, Vec<AuthorId>), Failure> {
    let dir = &settings.data_dir.value;
    let ledger = grants::read(dir)?;
    // Tokens can be revoked where there is no key yet.
    let Some(keypair) = identity::open(dir)? else { return Ok((Vec::new(), Vec::new())) };
    let mut held = policy(settings, keypair.author(), ledger).standing(now_ms).held;
    held.remove(&keypair.author());
    let (members, tickets): (Vec<_>, Vec<_>) = held
        .iter()
        .filter(|(key, held)| held.name == name || (held.name.is_empty() && node_name(key) == name))
        .partition(|(_, held)| !held.rights.is_none());
    let keys = |found: Vec<(&AuthorId, &Held)>| found.into_iter().map(|(key, _)| *key).collect();
    Ok((keys(members), keys(tickets)))
}

fn revoke_keys(settings: &Settings, subjects: &[AuthorId], out: &Output) -> Result<(), Failure> {
    let dir = &settings.data_dir.value;
    let keypair = own_key(dir)?;
    let own = keypair.author();
    if subjects.contains(&own) {
        let message = "a node cannot revoke its own key";
        return Err(Failure::new(Exit::Usage, "own_key", message)
            .hint("others can: `gangline key revoke` there; here, move node.key away to get a new one"));
    }
    let now_ms = clock::now_ms();
    grants::change(dir, |ledger| {
        let mut policy = policy(settings, own, ledger);
        for subject in subjects {
            let revocation = Revocation { document: DOCUMENT, issuer: own, subject: *subject };
            learn(&mut policy, sign(Statement::Revocation(revocation), &keypair)?, now_ms)?;
        }
        Ok((policy.into_ledger(), ()))
    })?;
    for listed in subjects.iter().filter_map(|subject| settings.trusted.value.get(subject)) {
        eprintln!(
            "{} still stands under [trust] in the settings: take it out there too",
            printable(&listed.name)
        );
    }
    let shown: Vec<String> = subjects.iter().map(show_key).collect();
    if out.is_json() {
        return out.document(&json!({"revoked": shown}));
    }
    out.line(&format!("{} revoked for good, also for a node that runs", shown.join(", ")))
}

fn learn(policy: &mut Policy, record: Record, now_ms: u64) -> Result<(), Failure> {
    match policy.learn(record, now_ms) {
        Learned::New | Learned::Known => Ok(()),
        Learned::Refused(reason) => Err(Failure::new(Exit::Failed, "not_granted", reason.to_string())
            .hint("name keys under [trust] in gangline.toml instead")),
    }
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
