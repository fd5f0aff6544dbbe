//! `gangline reconcile save|resolve`: from the document into the database, and choosing a side before.

use http::Method;
use serde_json::{Value, json};

use super::documents::{print, sides, value_of};
use super::shown::{list, text};
use super::which::each;
use super::{ResolveArgs, place};
use crate::cli::client::Client;
use crate::cli::output::{Output, printable};
use crate::failure::Failure;

pub(super) async fn save(client: &Client, ids: &[String], out: &Output) -> Result<(), Failure> {
    each(ids, "saving", async |id| {
        let saved = client.send(Method::POST, &place(id, "/save"), Some(&json!({}))).await;
        let reply = saved.map_err(|failure| with_sides(failure, id))?;
        if out.is_json() {
            return out.line(reply.text.trim_end());
        }
        out.line(&line(&reply.body))?;
        left(&reply.body).iter().try_for_each(|line| out.line(line))
    })
    .await
}

fn line(saved: &Value) -> String {
    let id = text(saved, "id");
    let places: Vec<String> = list(saved, "saved").iter().filter_map(Value::as_str).map(printable).collect();
    let version = saved.get("version").filter(|version| !version.is_null());
    match (places.is_empty(), version) {
        (true, _) => format!("{id}: nothing to save"),
        (false, Some(version)) => {
            printable(&format!("{id}: version {version} in the database: {}", places.join(", ")))
        }
        (false, None) => format!("{id}: saved: {}", places.join(", ")),
    }
}

/// What is left to be chosen: of these the side that does not show is in no row.
fn left(saved: &Value) -> Vec<String> {
    let conflicts = list(saved, "conflicts");
    let of = |conflict: &Value| match sides(conflict).as_slice() {
        [path, theirs, mine, ..] => {
            let side = if text(conflict, "shown") == "theirs" { "mine" } else { "theirs" };
            format!("  {path}: a conflict; {side} is not saved: theirs {theirs}, mine {mine}")
        }
        _ => String::new(),
    };
    let mut lines: Vec<String> = conflicts.iter().map(of).collect();
    if !lines.is_empty() {
        let id = text(saved, "id");
        lines.push(format!(
            "  to choose: gangline reconcile resolve {id} PLACE --theirs, --mine or --value VALUE"
        ));
    }
    lines
}

/// Names the places that stand against saving: conflicts with both sides and the way out.
fn with_sides(mut failure: Failure, id: &str) -> Failure {
    let details = failure.details.clone().unwrap_or_default();
    let conflicts = list(&details, "conflicts");
    for conflict in conflicts {
        if let [path, theirs, mine, ..] = sides(conflict).as_slice() {
            failure.message += &format!("\n  {path}: theirs {theirs}, mine {mine}");
        }
    }
    let named = |path: &str| conflicts.iter().any(|conflict| text(conflict, "path") == path);
    for field in list(&details, "fields").iter().filter(|field| !named(&text(field, "path"))) {
        let line = format!("{} {}", text(field, "path"), text(field, "what"));
        // The first one may have been said.
        if !failure.message.contains(&line) {
            failure.message += &format!("\n  {line}");
        }
    }
    if conflicts.is_empty() || failure.code != "conflict" {
        return failure;
    }
    failure.hint(format!(
        "gangline reconcile resolve {id} PLACE --theirs, --mine or --value VALUE; then save again"
    ))
}

pub(super) async fn resolve(client: &Client, args: &ResolveArgs, out: &Output) -> Result<(), Failure> {
    let body = body(args);
    let reply = client.send(Method::POST, &place(&args.id, "/resolve"), Some(&body)).await?;
    print(&reply, out)
}

fn body(args: &ResolveArgs) -> Value {
    if let Some(text) = &args.value {
        return json!({ "path": args.path, "value": value_of(text) });
    }
    json!({ "path": args.path, "take": if args.theirs { "theirs" } else { "mine" } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn a_save_says_what_the_database_has_now() {
        let saved = json!({"id": "w:1", "version": 8, "saved": ["name", "jobs.j1.body"], "save_id": "x"});
        assert_eq!(line(&saved), "w:1: version 8 in the database: name, jobs.j1.body");
        assert_eq!(line(&json!({"id": "w:1", "version": 8, "saved": []})), "w:1: nothing to save");
        assert_eq!(line(&json!({"id": "w:1", "version": null, "saved": ["name"]})), "w:1: saved: name");
    }

    #[test]
    fn a_save_says_what_is_left_to_be_chosen() {
        assert_eq!(left(&json!({"id": "w:1", "saved": [], "conflicts": []})), [""; 0]);
        let conflict =
            json!({"path": "name", "theirs": "a", "mine": "b", "kind": "field", "shown": "theirs"});
        let lines = left(&json!({"id": "w:1", "saved": [], "conflicts": [conflict]}));
        assert_eq!(lines[0], "  name: a conflict; mine is not saved: theirs a, mine b");
        assert!(lines[1].contains("gangline reconcile resolve w:1 PLACE"), "{lines:?}");
    }

    #[test]
    fn a_conflict_names_both_sides_and_the_way_out() {
        let mut failure = Failure::new(Exit::Conflict, "conflict", "w:1 is in conflict with the database");
        failure.details = Some(json!({
            "conflicts": [{"path": "name", "theirs": "a", "mine": null, "kind": "field", "shown": "theirs"}],
            "fields": [{"path": "name", "what": "has two values"}, {"path": "jobs.j2.name", "what": "may not be null"}],
        }));
        let told = with_sides(failure, "w:1").to_string();
        assert!(told.contains("\n  name: theirs a, mine null\n  jobs.j2.name may not be null\n"), "{told}");
        assert!(told.contains("gangline reconcile resolve w:1 PLACE --theirs"), "{told}");
        let other = Failure::new(Exit::Conflict, "deleted", "gone");
        assert_eq!(with_sides(other, "w:1").to_string(), "gone");
    }

    #[test]
    fn a_side_or_a_value_is_taken() {
        let args = |theirs, value: Option<&str>| ResolveArgs {
            id: "w:1".into(),
            path: "name".into(),
            theirs,
            mine: !theirs,
            value: value.map(str::to_owned),
        };
        assert_eq!(body(&args(true, None)), json!({"path": "name", "take": "theirs"}));
        assert_eq!(body(&args(false, None)), json!({"path": "name", "take": "mine"}));
        assert_eq!(body(&args(false, Some("null"))), json!({"path": "name", "value": null}));
        assert_eq!(body(&args(false, Some("a b"))), json!({"path": "name", "value": "a b"}));
    }
}
