//! `gangline join`: takes a ticket, so that the next `gangline up` dials the node that gave it.

use std::path::PathBuf;

use clap::Args;
use gangline_transport::{CertPin, PeerUrl};
use gangline_trust::{Grant, JoinError, Learned, Rights, Statement, Ticket, TicketError};
use serde_json::json;

use super::Global;
use super::output::Output;
use crate::assemble::open_data;
use crate::clock;
use crate::config::Flags;
use crate::failure::{Exit, Failure};
use crate::identity::{node_name, show_key};
use crate::trust::{grants, policy, random_id, rendezvous, sign};

/// What `join` takes.
#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    /// What `gangline invite` printed
    ticket: String,
    /// What to be called there, unless the ticket says [default: this node's name]
    #[arg(long)]
    name: Option<String>,
    /// The data directory [default: ./gangline-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub(super) fn run(global: &Global, args: &JoinArgs, out: &Output) -> Result<(), Failure> {
    let now_ms = clock::now_ms();
    let ticket: Ticket = args.ticket.parse().map_err(|error| refused(&error))?;
    let grant = ticket.grant().clone();
    if grant.is_expired(now_ms) {
        return Err(expired(grant.expires_at_ms));
    }
    let urls = urls(&ticket)?;
    let settings = global.settings(&Flags { data_dir: args.data_dir.clone(), ..Flags::default() })?;
    let dir = &settings.data_dir.value;
    // Holds the directory's lock until the end: not beside a running node.
    let data = open_data(&settings).map_err(|failure| match failure.code.as_str() {
        "data_dir_in_use" => failure.hint("stop the node, join, and start it again"),
        _ => failure,
    })?;
    let keypair = &data.keypair;
    let own = keypair.author();
    if grant.issuer == own {
        let message = "this node gave the ticket itself";
        return Err(Failure::new(Exit::Conflict, "own_ticket", message)
            .hint("use it on another machine, or with another --data-dir"));
    }
    let name = args.name.clone().unwrap_or_else(|| node_name(&own));
    let mut records = ticket
        .join(own, &name, random_id()?, now_ms)
        .map_err(|error| {
            if matches!(error, JoinError::Expired { .. }) {
                return expired(grant.expires_at_ms);
            }
            Failure::new(Exit::Usage, "bad_name", error.to_string())
                .hint("a name has at most 64 bytes and no control characters")
        })?
        .to_vec();
    let host = Grant {
        issuer: own,
        subject: grant.issuer,
        rights: Rights::ALL,
        is_ticket: false,
        name: node_name(&grant.issuer),
        expires_at_ms: 0,
        id: random_id()?,
        document: grant.document,
    };
    let has_host = |policy: &gangline_trust::Policy| policy.rights_of(&grant.issuer, now_ms) == Rights::ALL;
    let host = sign(Statement::Grant(host), keypair)?;
    grants::change(dir, |ledger| {
        let mut policy = policy(&settings, own, ledger);
        if !has_host(&policy) {
            // First: the others count by it.
            records.insert(0, host);
        }
        for record in records {
            if let Learned::Refused(reason) = policy.learn(record, now_ms) {
                return Err(Failure::new(Exit::Failed, "not_joined", reason.to_string()));
            }
        }
        if !has_host(&policy) {
            let message = format!("{} was revoked here, for good", show_key(&grant.issuer));
            return Err(Failure::new(Exit::Refused, "key_revoked", message)
                .hint("they need a new key (node.key moved away), and you a ticket by it"));
        }
        Ok((policy.into_ledger(), ()))
    })?;
    rendezvous::add(dir, &urls)?;
    let shown: Vec<String> = urls.iter().map(ToString::to_string).collect();
    if out.is_json() {
        return out.document(&json!({
            "joined": show_key(&grant.issuer), "name": node_name(&grant.issuer), "urls": shown,
            "may": grant.rights.held(), "key": show_key(&own),
        }));
    }
    out.line(&format!("joined {} ({})", node_name(&grant.issuer), show_key(&grant.issuer)))?;
    out.line(&format!("this node may {} there; `gangline up` dials {}", grant.rights, shown.join(", ")))
}

fn urls(ticket: &Ticket) -> Result<Vec<PeerUrl>, Failure> {
    let pin = ticket.pin().map(CertPin);
    ticket
        .urls()
        .iter()
        .map(|url| {
            let url: PeerUrl = url.parse()?;
            match pin {
                Some(pin) if url.is_tls() => url.with_pin(pin),
                Some(_) | None => Ok(url),
            }
        })
        .collect::<Result<_, gangline_transport::UrlError>>()
        .map_err(|error| {
            Failure::new(Exit::Refused, "ticket_forged", format!("the ticket leads nowhere: {error}"))
                .hint("ask for another one: gangline invite --url URL")
        })
}

fn refused(error: &TicketError) -> Failure {
    let (exit, code, hint) = match error {
        TicketError::NoTicket => (Exit::Usage, "bad_ticket", "give the line that `gangline invite` printed"),
        TicketError::Mistyped => {
            (Exit::Usage, "bad_ticket", "copy the line again, from its first character to its last")
        }
        TicketError::Version(_) => {
            (Exit::Failed, "ticket_too_new", "update gangline here, or have the ticket made by this version")
        }
        TicketError::Forged(_) | TicketError::Contradicts(_) | TicketError::Malformed(_) | _ => (
            Exit::Refused,
            "ticket_forged",
            "do not use it; ask for another one, by a way on which nobody can change it",
        ),
    };
    Failure::new(exit, code, error.to_string()).hint(hint)
}

fn expired(at_ms: u64) -> Failure {
    let message = format!("the ticket expired at {}", clock::utc(at_ms));
    Failure::new(Exit::Refused, "ticket_expired", message).hint(
        "ask for another one: gangline invite --expires 7d; and look whether this machine's clock is right",
    )
}
