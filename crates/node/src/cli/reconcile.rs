//! `gangline reconcile …`: documents that follow a database, and the sources that they follow.

mod documents;
mod key;
mod look;
mod plan;
mod run;
mod save;
mod shown;
mod source;
mod which;

use clap::{ArgGroup, Args, Subcommand};

pub(super) use self::run::line;
pub(super) use self::shown::{count, list, number, text, versions};
use self::which::WhichArgs;
use super::output::Output;
use super::{Global, block_on};
use crate::failure::Failure;
use crate::url::segment;

/// What can be done with documents that follow a database.
#[derive(Debug, Subcommand)]
pub(super) enum ReconcileCommand {
    /// List documents: their version, what is not saved, conflicts
    List(ListArgs),
    /// Show a document: its fields and rows, what is not saved, conflicts
    Show(IdArgs),
    /// Change a field or a row of a document; the database has it after `save`
    Set(SetArgs),
    /// Say what following the database would change, field by field; exits 0: nothing, 10: changes, 4: conflicts
    Plan(WhichArgs),
    /// Follow the database now, in place of waiting until the node notices
    Run(RunArgs),
    /// Write what people have changed into the database
    Save(SaveArgs),
    /// Choose a side of a conflict, or a new value
    Resolve(ResolveArgs),
    /// Compare documents with the rows that they follow
    Verify(WhichArgs),
    /// Say who changed what in a document, people and the database
    History(HistoryArgs),
    /// Say why a field shows what it shows
    Explain(ExplainArgs),
    /// Say how sources are: what they follow, how far, and what is wrong
    Status(StatusArgs),
    /// Stop following a database until `resume`
    Pause(SourceArgs),
    /// Follow a database again
    Resume(SourceArgs),
    /// Add an outbox to a database, by which changes are noticed at once; prints the SQL and asks
    Install(InstallArgs),
    /// Remove what `install` has added; prints the SQL and asks
    Uninstall(InstallArgs),
    /// The keys of sources, the same at every node that reconciles one
    #[command(subcommand)]
    Key(key::SourceKeyCommand),
}

/// What `reconcile list` takes.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only documents of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

/// Which document.
#[derive(Debug, Args)]
pub(super) struct IdArgs {
    /// The document, such as workflow:42
    id: String,
}

/// What `reconcile set` takes.
#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// The document, such as workflow:42
    id: String,
    /// A field (name), a row (jobs.j1) or a row's field (jobs.j1.body)
    path: String,
    /// JSON, or else a text; null removes a row; `-` reads a text from stdin
    #[arg(allow_hyphen_values = true)]
    value: String,
}

/// What `reconcile run` takes.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Who wrote the database, for the notice and the history
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Follow also a version older than the one before: the database was put back from a backup
    #[arg(long)]
    accept_restored: bool,
}

/// What `reconcile save` takes.
#[derive(Debug, Args)]
pub(super) struct SaveArgs {
    /// Documents, such as workflow:42
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// What `reconcile resolve` takes.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("side").required(true).args(["theirs", "mine", "value"]))]
pub(super) struct ResolveArgs {
    /// The document, such as workflow:42
    id: String,
    /// Where the conflict is, as `show` names it: jobs.j1.body
    path: String,
    /// Take the database's side
    #[arg(long)]
    theirs: bool,
    /// Keep the document's side
    #[arg(long)]
    mine: bool,
    /// Take this instead
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    value: Option<String>,
}

/// What `reconcile history` takes.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// The document, such as workflow:42
    id: String,
    /// At most so many, the newest
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: u64,
}

/// What `reconcile explain` takes.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The document, such as workflow:42
    id: String,
    /// A field (name) or a row's field (jobs.j1.body)
    path: String,
}

/// What `reconcile status` takes.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Only this source
    name: Option<String>,
}

/// Which source.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// The source's name, as the settings have it
    name: String,
}

/// What `reconcile install` and `uninstall` take.
#[derive(Debug, Args)]
pub(super) struct InstallArgs {
    /// The source's name, as the settings have it
    name: String,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
    /// Print the SQL and do nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

pub(super) fn run(global: &Global, command: &ReconcileCommand, out: &Output) -> Result<(), Failure> {
    if let ReconcileCommand::Key(command) = command {
        return key::run(global, command, out);
    }
    let client = &global.client()?;
    block_on(async {
        match command {
            ReconcileCommand::List(args) => documents::list(client, args.source.as_deref(), out).await,
            ReconcileCommand::Show(args) => documents::show(client, &args.id, out).await,
            ReconcileCommand::Set(args) => documents::set(client, args, out).await,
            ReconcileCommand::Plan(args) => plan::run(client, args, out).await,
            ReconcileCommand::Run(args) => run::run(client, args, out).await,
            ReconcileCommand::Save(args) => save::save(client, &args.ids, out).await,
            ReconcileCommand::Resolve(args) => save::resolve(client, args, out).await,
            ReconcileCommand::Verify(args) => look::verify(client, args, out).await,
            ReconcileCommand::History(args) => look::history(client, args, out).await,
            ReconcileCommand::Explain(args) => look::explain(client, args, out).await,
            ReconcileCommand::Status(args) => source::status(client, args.name.as_deref(), out).await,
            ReconcileCommand::Pause(args) => source::pause(client, &args.name, true, out).await,
            ReconcileCommand::Resume(args) => source::pause(client, &args.name, false, out).await,
            ReconcileCommand::Install(args) => source::install(client, args, source::Way::In, out).await,
            ReconcileCommand::Uninstall(args) => source::install(client, args, source::Way::Out, out).await,
            ReconcileCommand::Key(_) => Ok(()),
        }
    })
}

/// The path of a document, or of what is below it.
fn place(id: &str, below: &str) -> String {
    format!("/api/v1/documents/{}{below}", segment(id))
}
