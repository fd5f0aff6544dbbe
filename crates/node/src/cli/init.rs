//! `gangline init`: a settings file to start from, with every default in it as a comment.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Global;
use super::output::Output;
use crate::config::{Flags, Limits, Settings};
use crate::failure::{Exit, Failure};

/// What `init` takes.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// A node to connect to; may be given several times
    #[arg(long, value_name = "URL")]
    peer: Vec<String>,
    /// An agent that works through this node; may be given several times
    #[arg(long, value_name = "NAME")]
    agent: Vec<String>,
    /// The address to listen on
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
}

/// Writes `gangline.toml` (or the file that `--config` names), never over another one.
pub(super) fn run(global: &Global, args: &InitArgs, out: &Output) -> Result<(), Failure> {
    let path = global.config.clone().unwrap_or_else(|| PathBuf::from("gangline.toml"));
    let text = text(args);
    // What we write, we can read; what was asked for may be wrong.
    Settings::resolve(&Flags::default(), &|_| None, Some((&path.display().to_string(), &text)))
        .map_err(|mistakes| Failure::settings(&mistakes))?;
    let shown = path.display();
    let written = File::options().write(true).create_new(true).open(&path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return Failure::new(Exit::Conflict, "settings_exist", format!("{shown} is there already"))
                .hint("edit it, or name another file with --config");
        }
        Failure::new(Exit::Failed, "settings_not_written", format!("cannot write {shown}: {error}"))
    })?;
    if out.is_json() {
        return out.document(&json!({"written": path}));
    }
    out.line(&format!("wrote {shown}"))?;
    out.line("start the node with: gangline up")
}

fn text(args: &InitArgs) -> String {
    let quoted = |text: &String| toml::Value::String(text.clone()).to_string();
    let mut lines = Vec::new();
    match args.peer.as_slice() {
        [] => {
            lines.push("# rendezvous = \"ws://other:3001/crdt-sync\"    # a string, or an array".to_owned())
        }
        [one] => lines.push(format!("rendezvous = {}", quoted(one))),
        several => {
            let urls: Vec<String> = several.iter().map(quoted).collect();
            lines.push(format!("rendezvous = [{}]", urls.join(", ")));
        }
    }
    match &args.listen {
        Some(listen) => lines.push(format!("listen = {}", quoted(listen))),
        None => lines.push("# listen = \"127.0.0.1:3001\"".to_owned()),
    }
    lines.push("# data_dir = \"./gangline-data\"".to_owned());
    lines.push("# insecure = false    # true: serve other machines without a trust list".to_owned());
    for agent in &args.agent {
        lines.push(format!("\n[[agent]]\nname = {}", quoted(agent)));
    }
    if args.agent.is_empty() {
        lines.push("\n# [[agent]]\n# name = \"coder-1\"".to_owned());
    }
    lines.push("\n# [trust]    # keys that may write; needed to listen on more than loopback".to_owned());
    lines.push(
        "# swift-otter = \"ed25519:…\"    # as `gangline key show` prints it on that machine".to_owned(),
    );
    lines.push("# allow_v1 = false    # let nodes in that cannot prove a key".to_owned());
    lines.push("\n# [tls]    # serve https:// and wss://".to_owned());
    lines.push("# self_signed = true    # or cert = \"cert.pem\" and key = \"key.pem\"".to_owned());
    lines.push("\n# [log_store]    # where logs live".to_owned());
    lines.push("# backend = \"sqlite\"    # \"git\" or \"memory\"; nodes of one machine may share it: path = \"/some/folder\"".to_owned());
    lines.push("\n# [lease]".to_owned());
    lines.push("# ttl = \"10s\"    # how long a dead node keeps a space".to_owned());
    lines.push("\n# [[reconcile]]    # a database that documents follow".to_owned());
    lines.push("\n# [limits]".to_owned());
    for (name, unit, limit) in Limits::default().each() {
        lines.push(format!("# {name} = {}", unit.show(limit.value)));
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Settings {
        Settings::resolve(&Flags::default(), &|_| None, Some(("gangline.toml", text))).unwrap()
    }

    #[test]
    fn what_is_written_reads_back() {
        let args = InitArgs {
            peer: vec!["ws://a:1/crdt-sync".into(), "ws://b:1/crdt-sync".into()],
            agent: vec!["coder \"1\"".into()],
            listen: Some("127.0.0.1:0".into()),
        };
        let settings = resolve(&text(&args));
        assert_eq!(settings.rendezvous.value, args.peer);
        assert_eq!(settings.agents.value, args.agent);
        assert_eq!(settings.listen.value, "127.0.0.1:0");
    }

    #[test]
    fn the_commented_defaults_are_the_defaults() {
        let none = InitArgs { peer: vec![], agent: vec![], listen: None };
        let text = text(&none);
        // Comments that are examples, not defaults.
        let examples = [
            "rendezvous",
            "[[agent]]",
            "name = \"coder-1\"",
            "[trust]",
            "swift-otter",
            "allow_v1",
            "[tls]",
            "cert",
            "[[reconcile]]",
        ];
        let uncommented: String = text
            .lines()
            .filter(|line| !examples.iter().any(|example| line.contains(example)))
            .map(|line| format!("{}\n", line.trim_start_matches("# ")))
            .collect();
        let (with, without) = (resolve(&uncommented), resolve(&text));
        assert_eq!(with.listen.value, without.listen.value);
        assert_eq!(with.data_dir.value, without.data_dir.value);
        let values =
            |settings: &Settings| settings.limits.each().iter().map(|(_, _, l)| l.value).collect::<Vec<_>>();
        assert_eq!(values(&with), values(&without));
    }
}
