//! The command line: what can be asked, and how failures are told.

mod client;
mod complete;
mod demo;
mod doctor;
mod init;
mod invite;
mod item;
mod join;
mod key;
mod lease;
mod log;
mod output;
mod peer;
mod progress;
mod reconcile;
mod settings;
mod simulate;
mod sse;
mod status;
mod up;
mod version;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use self::client::Client;
use self::output::Output;
use crate::config::{Flags, Found, Settings, locate, parse_time};
use crate::failure::{Exit, Failure};
use crate::logging::{self, LogFormat};

/// Where a node is looked for when nobody says.
const NODE_DEFAULT: &str = "http://127.0.0.1:3001";

/// One binary for shared boards: items that people and agents move on any machine, signed and in step on all.
#[derive(Debug, Parser)]
#[command(name = "gangline", version, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = "Start a node with `gangline up`, see it work with `gangline demo`.")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
struct Global {
    /// The node to talk to [default: http://127.0.0.1:3001]
    #[arg(long, global = true, env = "GANGLINE_NODE", value_name = "URL", help_heading = "Everywhere")]
    node: Option<String>,
    /// The token for a node on another machine
    #[arg(long, global = true, env = "GANGLINE_TOKEN", hide_env_values = true, help_heading = "Everywhere")]
    token: Option<String>,
    /// Print JSON: one document, or one per line for streams; errors too
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
    /// The settings file [default: ./gangline.toml, then the user's own]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    config: Option<PathBuf>,
    /// How long to wait for a node's answer
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = parse_time, help_heading = "Everywhere")]
    timeout: Duration,
    /// How log lines look
    #[arg(
        long,
        global = true,
        env = "GANGLINE_LOG_FORMAT",
        value_enum,
        default_value = "human",
        help_heading = "Everywhere"
    )]
    log_format: LogFormat,
    /// What is logged: a level, or a list such as info,gangline_transport=debug
    #[arg(long, global = true, env = "GANGLINE_LOG", value_name = "FILTER", help_heading = "Everywhere")]
    log: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node
    Up(up::UpArgs),
    /// Watch three nodes work, part and agree again, in one process
    Demo(demo::DemoArgs),
    /// Play a mesh of nodes on virtual time, with faults and liars, and check what must hold
    Simulate(simulate::SimulateArgs),
    /// Write a settings file to start from
    Init(init::InitArgs),
    /// Print a ticket by which another node can join
    Invite(invite::InviteArgs),
    /// Join another node by a ticket
    Join(join::JoinArgs),
    /// See and change the board's items
    #[command(subcommand)]
    Item(item::ItemCommand),
    /// Append-only logs with one writer at a time: append, read, verify
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Who may append to a log, and for how long
    #[command(subcommand)]
    Lease(lease::LeaseCommand),
    /// Documents that follow a database
    #[command(subcommand)]
    Reconcile(reconcile::ReconcileCommand),
    /// Print changes as they happen
    Watch(watch::WatchArgs),
    /// Say how a node is
    Status,
    /// Look at settings, data, key, port, clock and peers, and say what to do
    Doctor,
    /// See a node's peers
    #[command(subcommand)]
    Peer(peer::PeerCommand),
    /// This node's key, the keys it trusts, and tokens for its HTTP
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Check and show settings
    #[command(subcommand)]
    Config(settings::ConfigCommand),
    /// Print the version
    Version,
    /// Print a completion script for a shell
    Completions(complete::CompleteArgs),
}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let wants_json = args.iter().skip(1).take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) if wants_json => return report(&usage(&error), true),
        Err(error) => {
            let _ = error.print();
            return Exit::Usage.into();
        }
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.code == output::BROKEN_PIPE => ExitCode::SUCCESS,
        Err(failure) if failure.code == output::SAID => failure.exit.into(),
        Err(failure) => report(&failure, cli.global.json),
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let global = &cli.global;
    let is_node = matches!(cli.command, Command::Up(_));
    let filter = global.log.as_deref().unwrap_or(if is_node { "info" } else { "error" });
    logging::start(global.log_format, filter).map_err(|error| {
        Failure::new(Exit::Usage, "bad_log_filter", format!("--log: {error}")).hint("for example --log debug")
    })?;
    let out = Output::new(global.json);
    match &cli.command {
        Command::Up(args) => up::run(global, args, &out),
        Command::Demo(args) => demo::run(args, &out),
        Command::Simulate(args) => simulate::run(args, &out),
        Command::Init(args) => init::run(global, args, &out),
        Command::Invite(args) => invite::run(global, args, &out),
        Command::Join(args) => join::run(global, args, &out),
        Command::Item(command) => {
            let client = global.client()?;
            block_on(item::run(&client, global, command, &out))
        }
        Command::Log(command) => block_on(log::run(command, || global.client(), &out)),
        Command::Lease(command) => {
            let client = global.client()?;
            block_on(lease::run(command, &client, &out))
        }
        Command::Reconcile(command) => reconcile::run(global, command, &out),
        Command::Watch(args) => {
            let client = global.client()?;
            block_on(watch::run(&client, args, &out))
        }
        Command::Status => {
            let client = global.client()?;
            block_on(status::run(&client, &out))
        }
        Command::Doctor => {
            let settings = global.settings(&Flags::default())?;
            let client = global.client_of(&settings)?;
            block_on(doctor::run(&settings, &client, &out))
        }
        Command::Peer(command) => {
            let client = global.client()?;
            block_on(peer::run(command, &client, &out))
        }
        Command::Key(command) => key::run(global, command, &out),
        Command::Config(command) => settings::run(global, command, &out),
        Command::Version => version::run(&out),
        Command::Completions(args) => complete::run(args, &out),
    }
}

impl Global {
    fn client(&self) -> Result<Client, Failure> {
        let url = self.node.as_deref().filter(|url| !url.is_empty()).unwrap_or(NODE_DEFAULT);
        Client::new(url, self.token.clone().filter(|token| !token.is_empty()), self.timeout)
    }

    /// The node that these settings are for, unless another is named.
    fn client_of(&self, settings: &Settings) -> Result<Client, Failure> {
        if self.node.as_deref().is_some_and(|url| !url.is_empty()) {
            return self.client();
        }
        let url = format!("http://{}", settings.listen.value);
        Client::new(&url, self.token.clone().filter(|token| !token.is_empty()), self.timeout)
    }

    /// The settings file that counts here, if there is one.
    fn settings_file(&self) -> Result<Option<Found>, Failure> {
        locate(self.config.as_deref(), &variable)
            .map_err(|error| Failure::new(Exit::Settings, "settings_unreadable", error))
    }

    /// The settings with `flags` on top.
    fn settings(&self, flags: &Flags) -> Result<Settings, Failure> {
        let found = self.settings_file()?;
        let file = found.as_ref().map(|found| (found.path.as_str(), found.text.as_str()));
        Settings::resolve(flags, &variable, file).map_err(|mistakes| Failure::settings(&mistakes))
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs a client's work on this thread.
fn block_on<R>(work: impl Future<Output = Result<R, Failure>>) -> Result<R, Failure> {
    runtime(tokio::runtime::Builder::new_current_thread())?.block_on(work)
}

fn runtime(mut builder: tokio::runtime::Builder) -> Result<tokio::runtime::Runtime, Failure> {
    builder.enable_all().build().map_err(|error| {
        Failure::new(Exit::Failed, "no_runtime", format!("the system gives no threads: {error}"))
    })
}

fn usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let hint = text.lines().map(str::trim).find_map(|line| line.strip_prefix("tip: "));
    let failure = Failure::new(Exit::Usage, "usage", message);
    failure.hint(hint.unwrap_or("--help says what can be asked"))
}

fn report(failure: &Failure, json: bool) -> ExitCode {
    use std::io::Write;
    let mut stderr = anstream::stderr().lock();
    let _ = if json {
        writeln!(stderr, "{}", failure.to_json())
    } else {
        use owo_colors::OwoColorize;
        writeln!(stderr, "{} {}", "error:".red().bold(), output::printable_lines(&failure.to_string()))
    };
    failure.exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_makes_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_errors_keep_their_tip() {
        let error = Cli::try_parse_from(["gangline", "itme"]).unwrap_err();
        let failure = usage(&error);
        assert!(failure.message.contains("itme"), "{failure}");
        assert!(failure.hint.unwrap().contains("item"));
    }
}
