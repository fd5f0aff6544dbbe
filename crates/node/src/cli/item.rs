//! `gangline item …`: the board from the command line, over a node's HTTP.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::Global;
use super::client::{Client, Reply};
use super::output::{Output, printable};
use crate::clock;
use crate::config::{Flags, nearest};
use crate::failure::{Exit, Failure};
use crate::url::segment;

/// What can be done with items.
#[derive(Debug, Subcommand)]
pub(super) enum ItemCommand {
    /// Add an item
    Add(AddArgs),
    /// List all items
    List,
    /// Show one item
    Show(IdArgs),
    /// Change fields
    Set(SetArgs),
    /// Move an item to a stage, such as 2_current
    Move(MoveArgs),
    /// Claim an item for an agent, if nobody has it
    Claim(ClaimArgs),
    /// Give a claim up
    Release(ClaimArgs),
    /// Remove an item
    Rm(IdArgs),
    /// Say who changed what, and when
    History(IdArgs),
}

/// Which item.
#[derive(Debug, Args)]
pub(super) struct IdArgs {
    /// The item
    story_id: String,
}

/// What `item add` takes.
#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// What to call it, once and for all
    story_id: String,
    /// Its title
    #[arg(long)]
    name: Option<String>,
    /// Where it starts [default: 1_backlog]
    #[arg(long)]
    stage: Option<String>,
    /// Who is to work on it
    #[arg(long)]
    agent: Option<String>,
    /// What it waits for
    #[arg(long)]
    depends_on: Option<String>,
    /// It cannot go on
    #[arg(long)]
    blocked: bool,
    /// How often it was tried
    #[arg(long, value_name = "NUMBER")]
    retry_count: Option<u64>,
}

/// What `item set` takes.
#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// The item
    story_id: String,
    /// Fields and their values
    #[arg(required = true, value_name = "FIELD=VALUE")]
    fields: Vec<String>,
}

/// What `item move` takes.
#[derive(Debug, Args)]
pub(super) struct MoveArgs {
    /// The item
    story_id: String,
    /// Where to
    stage: String,
}

/// What `item claim` and `item release` take.
#[derive(Debug, Args)]
pub(super) struct ClaimArgs {
    /// The item
    story_id: String,
    /// For whom [default: the only agent in the settings, else the node itself]
    #[arg(long, env = "GANGLINE_AGENT", value_name = "NAME")]
    agent: Option<String>,
}

/// The fields that can be set, and how their values are read.
const FIELDS: [(&str, Reads); 8] = [
    ("stage", Reads::Text),
    ("name", Reads::Text),
    ("agent", Reads::Text),
    ("retry_count", Reads::Number),
    ("blocked", Reads::Truth),
    ("depends_on", Reads::Text),
    ("claimed_by", Reads::Text),
    ("claimed_at", Reads::Number),
];

#[derive(Clone, Copy)]
enum Reads {
    Text,
    Number,
    Truth,
}

pub(super) async fn run(
    client: &Client,
    global: &Global,
    command: &ItemCommand,
    out: &Output,
) -> Result<(), Failure> {
    let place = |id: &str| format!("/api/v1/items/{}", segment(id));
    match command {
        ItemCommand::Add(args) => {
            let body = new_item(args);
            let item = client.send(Method::POST, "/api/v1/items", Some(&body)).await?;
            print_item(&item, out)
        }
        ItemCommand::List => {
            let items = client.send(Method::GET, "/api/v1/items", None).await?;
            print_items(&items, out)
        }
        ItemCommand::Show(args) => {
            let item = client.send(Method::GET, &place(&args.story_id), None).await?;
            print_item(&item, out)
        }
        ItemCommand::Set(args) => {
            let body = fields(&args.fields)?;
            let item = client.send(Method::PATCH, &place(&args.story_id), Some(&body)).await?;
            print_item(&item, out)
        }
        ItemCommand::Move(args) => {
            let body = json!({"stage": args.stage});
            let item = client.send(Method::PATCH, &place(&args.story_id), Some(&body)).await?;
            print_item(&item, out)
        }
        ItemCommand::Claim(args) => {
            let agent = args.agent.clone().map_or_else(|| only_agent(global), |agent| Ok(Some(agent)))?;
            let body = agent.map_or_else(|| json!({}), |agent| json!({"agent": agent}));
            let path = format!("{}/claim", place(&args.story_id));
            print_item(&client.send(Method::POST, &path, Some(&body)).await?, out)
        }
        ItemCommand::Release(args) => {
            let body = args.agent.as_ref().map_or_else(|| json!({}), |agent| json!({"agent": agent}));
            let path = format!("{}/release", place(&args.story_id));
            print_item(&client.send(Method::POST, &path, Some(&body)).await?, out)
        }
        ItemCommand::Rm(args) => {
            client.send(Method::DELETE, &place(&args.story_id), None).await?;
            if out.is_json() {
                return out.document(&json!({"removed": args.story_id}));
            }
            out.line(&format!("removed {}", printable(&args.story_id)))
        }
        ItemCommand::History(args) => {
            let path = format!("{}/history", place(&args.story_id));
            print_history(&client.send(Method::GET, &path, None).await?, out)
        }
    }
}

/// The agent that the settings here name, if there is exactly one. The node may run elsewhere.
fn only_agent(global: &Global) -> Result<Option<String>, Failure> {
    let settings = global.settings(&Flags::default())?;
    match settings.agents.value.as_slice() {
        [one] => Ok(Some(one.clone())),
        [] => Ok(None),
        [_, ..] => Err(Failure::new(Exit::Usage, "which_agent", "the settings name several agents")
            .hint(format!("say for whom: --agent {}", settings.agents.value.join(" or --agent ")))),
    }
}

fn new_item(args: &AddArgs) -> Value {
    let mut item = Map::new();
    item.insert("story_id".into(), args.story_id.clone().into());
    let texts = [
        ("name", &args.name),
        ("stage", &args.stage),
        ("agent", &args.agent),
        ("depends_on", &args.depends_on),
    ];
    for (field, value) in texts {
        if let Some(value) = value {
            item.insert(field.into(), value.clone().into());
        }
    }
    if args.blocked {
        item.insert("blocked".into(), true.into());
    }
    if let Some(count) = args.retry_count {
        item.insert("retry_count".into(), count.into());
    }
    Value::Object(item)
}

/// Reads `FIELD=VALUE` pairs.
fn fields(pairs: &[String]) -> Result<Value, Failure> {
    let mut object = Map::new();
    for pair in pairs {
        let wrong = |message: String| Failure::new(Exit::Usage, "bad_field", message);
        let Some((field, value)) = pair.split_once('=') else {
            return Err(
                wrong(format!("`{pair}` is not FIELD=VALUE")).hint("for example name=\"Fix the login\"")
            );
        };
        let Some((_, reads)) = FIELDS.iter().find(|(name, _)| *name == field) else {
            let names = FIELDS.map(|(name, _)| name);
            let hint = match nearest(field, &names) {
                _ if field == "story_id" => {
                    "a story_id stays as it is: add another item and remove this one".into()
                }
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the fields are {}", names.join(", ")),
            };
            return Err(wrong(format!("items have no field `{field}` to set")).hint(hint));
        };
        let read = match reads {
            Reads::Text => Value::String(value.to_owned()),
            Reads::Number => match value.parse::<serde_json::Number>() {
                Ok(number) => Value::Number(number),
                Err(_) => return Err(wrong(format!("`{field}` is a number, `{value}` is none"))),
            },
            Reads::Truth => match value {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => return Err(wrong(format!("`{field}` is true or false, not `{value}`"))),
            },
        };
        object.insert(field.to_owned(), read);
    }
    Ok(Value::Object(object))
}

/// A value as people read it: texts without quotes.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn cell(item: &Value, field: &str) -> String {
    item.get(field).map(plain).unwrap_or_default()
}

fn print_items(reply: &Reply, out: &Output) -> Result<(), Failure> {
    if out.is_json() {
        return out.line(reply.text.trim_end());
    }
    const SHOWN: [&str; 5] = ["story_id", "stage", "name", "agent", "claimed_by"];
    let items = reply.body.as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = items.iter().map(|item| SHOWN.iter().map(|field| cell(item, field)).collect()).collect();
    out.rows(&["STORY", "STAGE", "NAME", "AGENT", "CLAIMED BY"], rows)
}

fn print_item(reply: &Reply, out: &Output) -> Result<(), Failure> {
    if out.is_json() {
        return out.line(reply.text.trim_end());
    }
    let item = &reply.body;
    let names = std::iter::once("story_id").chain(FIELDS.iter().map(|(name, _)| *name));
    for name in names {
        let value = match (name, item.get(name).and_then(Value::as_f64)) {
            // A moment reads better as one; the number is in --json.
            ("claimed_at", Some(at)) if at > 0.0 && at < 1e11 => utc(at),
            _ => cell(item, name),
        };
        out.line(format!("{name:<12}{}", printable(&value)).trim_end())?;
    }
    Ok(())
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller has looked at the range"
)]
fn utc(seconds: f64) -> String {
    clock::utc((seconds * 1000.0) as u64)
}

fn print_history(reply: &Reply, out: &Output) -> Result<(), Failure> {
    if out.is_json() {
        return out.line(reply.text.trim_end());
    }
    let entries = reply.body.as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = entries
        .iter()
        .map(|entry| {
            let at = entry.get("received_at_ms").and_then(Value::as_u64).unwrap_or_default();
            let what = match cell(entry, "action").as_str() {
                "set" => format!("{} = {}", cell(entry, "field"), cell(entry, "value")),
                other => other.to_owned(),
            };
            vec![clock::utc(at), cell(entry, "author_name"), what, cell(entry, "signature")]
        })
        .collect();
    out.rows(&["WHEN", "WHO", "WHAT", "SIGNATURE"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[&str]) -> Result<Value, Failure> {
        fields(&pairs.iter().map(|pair| (*pair).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn values_are_read_as_their_fields_want() {
        let read = set(&["name=a=b", "retry_count=2", "blocked=true", "claimed_at=1.5", "agent="]).unwrap();
        assert_eq!(
            read,
            json!({"name": "a=b", "retry_count": 2, "blocked": true, "claimed_at": 1.5, "agent": ""})
        );
    }

    #[test]
    fn mistakes_say_what_was_meant() {
        for (pair, part) in [
            ("name", "FIELD=VALUE"),
            ("stagee=x", "did you mean `stage`?"),
            ("story_id=x", "stays as it is"),
            ("retry_count=x", "is a number"),
            ("retry_count=1 ", "is a number"),
            ("blocked=yes", "true or false"),
        ] {
            let failure = set(&[pair]).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.to_string().contains(part), "{failure}");
        }
    }
}
