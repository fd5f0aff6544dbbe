//! `gangline invite`: a ticket by which another node can join, with or without a running node here.

use std::path::PathBuf;
use std::time::Duration;

use bft_json_crdt::keypair::{Keypair, make_keypair};
use clap::Args;
use gangline_transport::{CertPin, PeerUrl, SYNC_PATH};
use gangline_trust::{Grant, Rights, Ticket};
use serde_json::json;

use super::Global;
use super::output::Output;
use crate::assemble::open_data;
use crate::config::{Flags, Settings, TlsSettings, parse_time};
use crate::failure::{Exit, Failure};
use crate::trust::{self, grants, policy, random_id};
use crate::{certificate, clock, identity};

/// What `invite` takes.
#[derive(Debug, Args)]
pub(super) struct InviteArgs {
    /// What to call whoever joins [default: what they call themselves]
    #[arg(long)]
    name: Option<String>,
    /// They may read and nothing more
    #[arg(long)]
    read_only: bool,
    /// How long the ticket is good, such as 12h or 7d; who has joined by then stays
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_time)]
    expires: Duration,
    /// Where they reach this node, such as wss://host:3001/crdt-sync; may be given several times
    #[arg(long, value_name = "URL")]
    url: Vec<String>,
    /// The data directory [default: ./gangline-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub(super) fn run(global: &Global, args: &InviteArgs, out: &Output) -> Result<(), Failure> {
    let settings = global.settings(&Flags { data_dir: args.data_dir.clone(), ..Flags::default() })?;
    if args.expires.is_zero() {
        return Err(Failure::new(Exit::Usage, "bad_expiry", "a ticket that has expired is of no use")
            .hint("for example --expires 12h"));
    }
    let urls = urls(&settings, &args.url)?;
    let keypair = own_key(&settings)?;
    let pin = pin(&settings, &urls)?;
    let now_ms = clock::now_ms();
    let lasts_ms = u64::try_from(args.expires.as_millis()).unwrap_or(u64::MAX);
    let key = make_keypair();
    let grant = Grant {
        document: trust::DOCUMENT,
        issuer: keypair.author(),
        subject: key.author(),
        rights: if args.read_only { Rights::READER } else { Rights::MEMBER },
        is_ticket: true,
        name: args.name.clone().unwrap_or_default(),
        expires_at_ms: now_ms.saturating_add(lasts_ms),
        id: random_id()?,
    };
    let texts = urls.iter().map(address).collect();
    let ticket = Ticket::issue(texts, pin.map(|pin| pin.0), key, grant, &keypair).map_err(|error| {
        Failure::new(Exit::Usage, "bad_ticket", error.to_string()).hint(
            "a name has at most 64 bytes and no control characters, a ticket at most 4 URLs of 512 bytes",
        )
    })?;
    grants::change(&settings.data_dir.value, |ledger| {
        let mut policy = policy(&settings, keypair.author(), ledger);
        match policy.learn(ticket.record().clone(), now_ms) {
            gangline_trust::Learned::Refused(reason) => {
                Err(Failure::new(Exit::Failed, "not_granted", reason.to_string()))
            }
            gangline_trust::Learned::New | gangline_trust::Learned::Known => Ok((policy.into_ledger(), ())),
        }
    })?;
    tell(&settings, &ticket, out)
}

fn tell(settings: &Settings, ticket: &Ticket, out: &Output) -> Result<(), Failure> {
    let grant = ticket.grant();
    if out.is_json() {
        return out.document(&json!({
            "ticket": ticket.to_string(),
            "urls": ticket.urls(),
            "pin": ticket.pin().map(|pin| format!("sha256={}", CertPin(pin))),
            "may": grant.rights.held(),
            "expires_at_ms": grant.expires_at_ms,
            "key": identity::show_key(&grant.subject),
        }));
    }
    out.line(&ticket.to_string())?;
    eprintln!(
        "For one node, until {}: whoever has the line can join, so pass it on as you would a password.\n\
         There: gangline join TICKET   Take it back: gangline key revoke {}",
        clock::utc(grant.expires_at_ms),
        identity::show_key(&grant.subject)
    );
    if settings.is_loopback()
        && ticket.urls().iter().all(|url| url.contains("//127.") || url.contains("//[::1]"))
    {
        eprintln!("It leads to this machine only; say with --url how others reach it.");
    }
    Ok(())
}

/// The node's key; a node that was never started gets one, and its log.
fn own_key(settings: &Settings) -> Result<Keypair, Failure> {
    match identity::open(&settings.data_dir.value)? {
        Some(keypair) => Ok(keypair),
        None => Ok(open_data(settings)?.keypair),
    }
}

/// Where the node is reached: as it was said, or where it listens if that is an address that means anything.
fn urls(settings: &Settings, given: &[String]) -> Result<Vec<PeerUrl>, Failure> {
    let parse = |url: &String| {
        url.parse::<PeerUrl>().map_err(|error| {
            Failure::new(Exit::Usage, "bad_url", format!("--url: {error}"))
                .hint(format!("for example wss://host:3001{SYNC_PATH}"))
        })
    };
    if !given.is_empty() {
        return given.iter().map(parse).collect();
    }
    let listen = &settings.listen.value;
    let is_reachable = settings.addresses().is_ok_and(|all| {
        all.iter().all(|address| address.port() != 0 && !address.ip().to_canonical().is_unspecified())
    });
    if !is_reachable {
        let message = format!("the node listens on {listen}, which is no address that others could dial");
        return Err(Failure::new(Exit::Usage, "no_url", message)
            .hint(format!("say how they reach it: --url wss://host:3001{SYNC_PATH} (ws:// without [tls])")));
    }
    let scheme = if settings.tls.value.is_some() { "wss" } else { "ws" };
    Ok(vec![parse(&format!("{scheme}://{listen}{SYNC_PATH}"))?])
}

/// The pin of a URL, or of the certificate that this node makes.
fn pin(settings: &Settings, urls: &[PeerUrl]) -> Result<Option<CertPin>, Failure> {
    if let Some(pin) = urls.iter().find_map(PeerUrl::pin) {
        return Ok(Some(pin));
    }
    if settings.tls.value != Some(TlsSettings::SelfSigned) || !urls.iter().any(PeerUrl::is_tls) {
        return Ok(None);
    }
    Ok(certificate::open(settings)?.map(|tls| tls.pin()))
}

/// The URL without its pin.
fn address(url: &PeerUrl) -> String {
    url.to_string().split('#').next().unwrap_or_default().to_owned()
}
