//! What happens in the demo, in order, and how it is told.

use std::time::Duration;

use http::Method;
use owo_colors::OwoColorize;
use serde_json::{Value, json};

use super::team::{Member, Team};
use crate::cli::output::{Output, printable};
use crate::clock;
use crate::failure::{Exit, Failure};
use crate::url::segment;

/// Pauses in the whole play.
const BEATS: u32 = 27;

/// Where it is told, and how fast.
pub(super) struct Stage<'a> {
    out: &'a Output,
    beat: Duration,
}

impl<'a> Stage<'a> {
    /// Tells to `out`, in about `duration`.
    pub(super) fn new(out: &'a Output, duration: Duration) -> Self {
        Self { out, beat: duration / BEATS }
    }

    /// One line for people, one document for programs.
    pub(super) fn say(&self, event: &str, line: &str) -> Result<(), Failure> {
        self.tell(event, line, json!({}))
    }

    fn tell(&self, event: &str, line: &str, more: Value) -> Result<(), Failure> {
        if !self.out.is_json() {
            return self.out.line(line);
        }
        let mut document = json!({ "event": event });
        if let (Some(document), Value::Object(more)) = (document.as_object_mut(), more) {
            document.extend(more);
        }
        self.out.document(&document)
    }

    fn heading(&self, event: &str, line: &str, more: Value) -> Result<(), Failure> {
        self.tell(event, &format!("\n{}", line.bold()), more)
    }

    /// The board by stages, for people.
    fn board(&self, items: &Value) -> Result<(), Failure> {
        if self.out.is_json() {
            return Ok(());
        }
        let items = items.as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |item: &Value, field: &str| {
            printable(item.get(field).and_then(Value::as_str).unwrap_or_default())
        };
        let mut stages: Vec<String> = items.iter().map(|item| text(item, "stage")).collect();
        stages.sort();
        stages.dedup();
        for stage in stages {
            let cards: Vec<String> = items
                .iter()
                .filter(|item| text(item, "stage") == stage)
                .map(|item| match text(item, "claimed_by").as_str() {
                    "" => text(item, "story_id"),
                    agent => format!("{} ({agent})", text(item, "story_id")),
                })
                .collect();
            self.out.line(&format!("    {stage:<10} {}", cards.join(", ")))?;
        }
        Ok(())
    }

    async fn beat(&self) {
        if !self.beat.is_zero() {
            clock::pause(self.beat).await;
        }
    }
}

/// Plays it all.
pub(super) async fn play(team: &Team, stage: &Stage<'_>) -> Result<(), Failure> {
    let [first, second, third] = team.members();
    let all = [first, second, third];
    introduce(&all, stage)?;

    stage.heading("adding", "Six items, added on node 1", json!({}))?;
    for (id, name) in [
        ("login", "Log in with a key"),
        ("search", "Search the board"),
        ("themes", "Dark and light"),
        ("import", "Import from a spreadsheet"),
        ("metrics", "Count what happens"),
        ("docs", "Write the handbook"),
    ] {
        add(first, stage, id, name).await?;
    }
    agreed(team, &all, stage).await?;

    stage.heading("working", "Three agents, one on each node, claim items and move them", json!({}))?;
    for (agent, node, story) in
        [("ada", first, "login"), ("bob", second, "themes"), ("cyd", third, "metrics")]
    {
        claim(node, stage, story, agent).await?;
        step(node, stage, story, "2_current", agent).await?;
    }
    agreed(team, &all, stage).await?;
    for (agent, node, story) in [("ada", first, "login"), ("bob", second, "themes")] {
        step(node, stage, story, "3_qa", agent).await?;
    }
    let items = agreed(team, &all, stage).await?;
    stage.board(&items)?;

    third.cut().await;
    let line = "Node 3 is cut off: its links are closed and it refuses new ones";
    stage.heading("cut", line, json!({ "node": third.name() }))?;
    stage.beat().await;
    claim(second, stage, "search", "bob").await?;
    step(first, stage, "login", "4_merge", "ada").await?;
    add(first, stage, "export", "Export as JSON").await?;
    claim(third, stage, "search", "cyd").await?;
    step(third, stage, "login", "2_current", "cyd").await?;
    step(third, stage, "metrics", "3_qa", "cyd").await?;
    add(third, stage, "export", "Export as CSV").await?;
    let here = team.agree(&[first, second]).await?;
    let there = team.agree(&[third]).await?;
    if here == there {
        return Err(Failure::new(Exit::Failed, "not_cut", "the boards agree although one node was cut off"));
    }
    stage.tell("apart", "  nodes 1 and 2 have", json!({ "together": here, "alone": there }))?;
    stage.board(&here)?;
    stage.say("apart_alone", "  node 3 has")?;
    stage.board(&there)?;
    stage.beat().await;

    third.heal();
    stage.heading("healed", "Node 3 is back", json!({ "node": third.name() }))?;
    let items = agreed(team, &all, stage).await?;
    stage.board(&items)?;
    sum_up(&all, stage, &items).await
}

fn introduce(all: &[&Member], stage: &Stage<'_>) -> Result<(), Failure> {
    let nodes: Vec<Value> =
        all.iter().map(|member| json!({ "name": member.name(), "board": member.url() })).collect();
    let lines: Vec<String> = all
        .iter()
        .zip(1..)
        .map(|(member, number)| format!("  node {number}  {:<16} board {}", member.name(), member.url()))
        .collect();
    let text = format!("{}\n{}", "Three nodes in one process, with real sockets".bold(), lines.join("\n"));
    stage.tell("started", &text, json!({ "nodes": nodes }))
}

/// Reads what each node answers over HTTP, and says what became of the disputes.
async fn sum_up(all: &[&Member], stage: &Stage<'_>, items: &Value) -> Result<(), Failure> {
    let mut boards = Vec::new();
    for member in all {
        boards.push(done(member.ask(Method::GET, "/api/v1/items", None).await?)?);
    }
    let agree = boards.iter().all(|board| board == items);
    let [first, ..] = all else { return Ok(()) };
    let conflicts = done(first.ask(Method::GET, "/api/v1/conflicts", None).await?)?;
    let conflicts = conflicts.as_object().cloned().unwrap_or_default();
    for (story, values) in &conflicts {
        for value in values.as_array().map(Vec::as_slice).unwrap_or_default() {
            let text = |key: &str| printable(value.get(key).and_then(Value::as_str).unwrap_or_default());
            // The time of a claim is a number and goes with its claim.
            if value.get("value").is_some_and(Value::is_string) {
                let line = format!(
                    "    conflict   {}: {} was also {:?}",
                    printable(story),
                    text("field"),
                    text("value")
                );
                if !stage.out.is_json() {
                    stage.out.line(&line)?;
                }
            }
        }
    }
    let count = items.as_array().map_or(0, Vec::len);
    let changes = first.changes();
    let line = format!(
        "\n{} {count} items, {changes} signed changes on each node, {} items with values kept for people to settle.",
        "All three boards agree:".green().bold(),
        conflicts.len(),
    );
    let more =
        json!({ "agree": agree, "items": count, "changes": changes, "conflicts": conflicts, "board": items });
    if !agree {
        return Err(Failure::new(
            Exit::Failed,
            "no_agreement",
            "the nodes answer different boards over HTTP",
        ));
    }
    stage.tell("summary", &line, more)
}

async fn agreed(team: &Team, all: &[&Member], stage: &Stage<'_>) -> Result<Value, Failure> {
    let items = team.agree(all).await?;
    let count = items.as_array().map_or(0, Vec::len);
    let line = format!("  {} all three boards agree, {count} items", "✓".green());
    stage.tell("agreed", &line, json!({ "items": count }))?;
    stage.beat().await;
    Ok(items)
}

async fn add(node: &Member, stage: &Stage<'_>, story: &str, name: &str) -> Result<(), Failure> {
    let body = json!({ "story_id": story, "name": name });
    done(node.ask(Method::POST, "/api/v1/items", Some(&body)).await?)?;
    told(node, stage, "added", story, &format!("added {story}: {name}")).await
}

async fn claim(node: &Member, stage: &Stage<'_>, story: &str, agent: &str) -> Result<(), Failure> {
    let path = format!("/api/v1/items/{}/claim", segment(story));
    done(node.ask(Method::POST, &path, Some(&json!({ "agent": agent }))).await?)?;
    told(node, stage, "claimed", story, &format!("{agent} claimed {story}")).await
}

async fn step(node: &Member, stage: &Stage<'_>, story: &str, to: &str, agent: &str) -> Result<(), Failure> {
    let path = format!("/api/v1/items/{}", segment(story));
    done(node.ask(Method::PATCH, &path, Some(&json!({ "stage": to }))).await?)?;
    told(node, stage, "moved", story, &format!("{agent} moved {story} to {to}")).await
}

async fn told(node: &Member, stage: &Stage<'_>, event: &str, story: &str, line: &str) -> Result<(), Failure> {
    let line = format!("  {:<16} {line}", node.name());
    stage.tell(event, &line, json!({ "node": node.name(), "story_id": story }))?;
    stage.beat().await;
    Ok(())
}

/// The body of an answer that says yes.
fn done(reply: crate::cli::client::Reply) -> Result<Value, Failure> {
    if reply.status.is_success() {
        return Ok(reply.body);
    }
    Err(Failure::new(Exit::Failed, "demo_failed", format!("a node refused: {} {}", reply.status, reply.body)))
}
