//! What only a node with a document's source can do with it, and the messages by which a node without asks for it.
//!
//! A call of method [`METHOD`] has a [`Question`] as JSON, the reply an [`Answered`]. A node that does not know the method,
//! or what is asked, refuses the call, and has done nothing.

use std::time::Duration;

use bft_json_crdt::{AuthorId, Digest};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::actions::{self, Push, Save};
use crate::api::blocking;
use crate::api::body::json as parse;
use crate::api::problem::Problem;
use crate::documents::{Documents, Found, Guest};

/// The method of calls about documents.
pub(super) const METHOD: u32 = 32;
/// Most heads of a document that are waited for.
pub(super) const HEADS_MAX: usize = 1_024;
/// Longest actor that is taken from another node, in characters.
const ACTOR_CHARS_MAX: usize = 200;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// Whether there is a source for it.
    Find,
    /// To open it.
    Open,
    Plan,
    Reconcile,
    Save,
    Verify,
}

/// A question to another node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) what: What,
    /// The document; none where only its name is known.
    pub(super) id: Option<String>,
    pub(super) name: String,
    /// What the asking node has of it, which is to be there before anything is done.
    #[serde(default)]
    pub(super) heads: Vec<Head>,
    /// As the body of the HTTP request has them.
    #[serde(default)]
    pub(super) options: Value,
}

/// A change, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) digest: String,
    pub(super) author: Option<String>,
}

/// An answer, as it is over HTTP.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) body: Value,
    /// After how many seconds to come again.
    #[serde(default)]
    pub(super) again_in: Option<u32>,
    /// What the answering node has of the document now.
    #[serde(default)]
    pub(super) heads: Vec<String>,
}

impl Answered {
    /// It was done.
    pub(super) fn done(body: Value, heads: Vec<String>) -> Self {
        Self { status: StatusCode::OK.as_u16(), body, again_in: None, heads }
    }

    /// It was refused.
    pub(super) fn refused(problem: &Problem) -> Self {
        let (status, again_in) = (problem.status().as_u16(), problem.is_again_in());
        Self { status, body: problem.body(), again_in, heads: Vec::new() }
    }

    /// The code of a refusal.
    pub(super) fn code(&self) -> &str {
        self.body.get("code").and_then(Value::as_str).unwrap_or_default()
    }
}

/// What is to be done.
pub(super) enum Work {
    Plan,
    Reconcile(Push),
    Save(Save),
    Verify,
}

impl Work {
    /// Reads what a request says of it.
    ///
    /// # Errors
    /// When it says what it cannot.
    pub(super) fn of(what: What, options: Value) -> Result<Self, Problem> {
        fn read<T: for<'de> Deserialize<'de>>(options: Value) -> Result<T, Problem> {
            serde_json::from_value(options).map_err(|error| {
                let hint = "GET /api/v1/openapi.json describes the body";
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_options", error.to_string(), hint)
            })
        }
        match what {
            What::Plan => Ok(Self::Plan),
            What::Reconcile => read(options).map(Self::Reconcile),
            What::Save => read(options).map(Self::Save),
            What::Verify => Ok(Self::Verify),
            What::Find | What::Open => Err(Problem::internal("that is no work")),
        }
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// As [`Work::of`], and when it is no JSON.
    pub(super) fn in_body(what: What, body: &[u8]) -> Result<Self, Problem> {
        Self::of(what, if body.is_empty() { json!({}) } else { parse(body)? })
    }

    /// How another node is asked for it.
    pub(super) fn told(&self) -> (What, Value) {
        match self {
            Self::Plan => (What::Plan, Value::Null),
            Self::Reconcile(push) => (What::Reconcile, json!(push)),
            Self::Save(save) => (What::Save, json!(save)),
            Self::Verify => (What::Verify, Value::Null),
        }
    }

    /// Whether anything is done that cannot be done twice without a thought.
    pub(super) fn is_write(&self) -> bool {
        matches!(self, Self::Reconcile(_) | Self::Save(_))
    }

    /// Whether it depends on what people have written.
    pub(super) fn needs_edits(&self) -> bool {
        matches!(self, Self::Plan | Self::Save(_))
    }

    /// Says that somebody at another node wants it: what that node says of them, and which node it is.
    pub(super) fn at(mut self, node: &str) -> Self {
        if let Self::Reconcile(Push { actor, .. }) | Self::Save(Save { actor }) = &mut self {
            let who: Option<String> = actor.take().map(|actor| actor.chars().take(ACTOR_CHARS_MAX).collect());
            *actor = Some(who.map_or_else(|| node.to_owned(), |who| format!("{who} at {node}")));
        }
        self
    }

    /// Does it, at a node that has the source.
    ///
    /// # Errors
    /// As the routes say.
    pub(super) async fn carry_out(&self, documents: &Documents, found: Found) -> Result<Value, Problem> {
        match self {
            Self::Plan => actions::plan(documents, found).await,
            Self::Reconcile(push) => actions::reconcile(documents, found, push).await,
            Self::Save(wish) => actions::save(documents, found, wish).await,
            Self::Verify => actions::verify(documents, found).await,
        }
    }
}

/// Waits until a document has changes, and returns those that have not come in time. Nobody waits for those alone whose
/// author it does not take.
pub(super) async fn arrived(
    guest: &Guest,
    mut wanted: Vec<(Digest, Option<AuthorId>)>,
    limit: Duration,
) -> Result<Vec<(Digest, Option<AuthorId>)>, Problem> {
    let mut durable = guest.durable.clone();
    let wait = async {
        loop {
            durable.mark_unchanged();
            let (replica, asked) = (guest.replica.clone(), wanted.clone());
            wanted = blocking(move || {
                let lacks = |(digest, _): &(Digest, _)| replica.read(|base| !base.contains(digest)).0;
                asked.into_iter().filter(lacks).collect()
            })
            .await?;
            let accepts = guest.replica.accepts();
            let is_refused = |author: &AuthorId| accepts.as_ref().is_some_and(|keys| !keys.contains(author));
            let is_hopeless = wanted.iter().all(|(_, author)| author.as_ref().is_some_and(is_refused));
            if is_hopeless || durable.changed().await.is_err() {
                return Ok(());
            }
        }
    };
    // In time or not, what has not come is in `wanted`.
    timeout(limit, wait).await.unwrap_or(Ok(()))?;
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on_is_read_as_it_was_sent_and_says_where_it_comes_from() {
        let body = br#"{"actor": "amy", "accept_restored": true}"#;
        let (what, options) = Work::in_body(What::Reconcile, body).unwrap().told();
        let there = Work::of(what, options).unwrap().at("swift-otter");
        let expected = json!({"actor": "amy at swift-otter", "accept_restored": true});
        assert_eq!(there.told(), (What::Reconcile, expected));
        let nobody = Work::in_body(What::Save, b"").unwrap();
        assert_eq!(nobody.told(), (What::Save, json!({})));
        assert_eq!(nobody.at("swift-otter").told().1, json!({"actor": "swift-otter"}));
        let refused = Work::in_body(What::Save, br#"{"accept_restored": true}"#).err().unwrap();
        assert_eq!(refused.code(), "bad_options");
    }
}
