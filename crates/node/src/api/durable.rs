//! `?durable=N` on a write: it is answered when N nodes hold it on disk, this one among them, or says in time that
//! they do not.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::App;
use super::board::blocking;
use super::problem::Problem;

/// On the answer: how many nodes hold the write on disk.
const HEADER: HeaderName = HeaderName::from_static("gangline-durable");
/// Most nodes that can be asked for.
const NODES_MAX: usize = 64;
/// How long a write waits for other nodes, unless it says so itself.
const WAIT_MS: u64 = 5_000;
/// How long it may wait at most.
const WAIT_MS_MAX: u64 = 60_000;

/// What a write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    nodes: usize,
    wait_ms: u64,
}

/// Lets a write through, and its answer once enough nodes hold it.
pub(super) async fn wait(State(app): State<App>, request: Request, next: Next) -> Response {
    let is_write = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let wish = match wish(request.uri().query().unwrap_or_default()) {
        Ok(wish) => wish.filter(|_| is_write),
        Err(problem) => return problem.into_response(),
    };
    let response = next.run(request).await;
    let Some(wish) = wish.filter(|_| response.status().is_success()) else { return response };
    wait_for(&app, wish, response).await.unwrap_or_else(IntoResponse::into_response)
}

async fn wait_for(app: &App, wish: Wish, mut response: Response) -> Result<Response, Problem> {
    let (replica, author) = (app.replica.clone(), app.author);
    // All of this node's chain up to here: the write lies in it.
    let tip = blocking(move || replica.read(|base| base.tip_of(&author)).0).await?;
    let others = match tip {
        Some(tip) => app.links.held_by(tip, wish.nodes - 1, wish.wait_ms).await,
        None => 0,
    };
    let nodes = others + 1;
    if nodes < wish.nodes {
        let detail = format!(
            "the write is on this node's disk, and {nodes} of {} nodes hold it after {} ms",
            wish.nodes, wish.wait_ms
        );
        let hint =
            "it stays and is passed on when peers come; `gangline peer list` says who lacks what and why";
        let problem = Problem::new(StatusCode::GATEWAY_TIMEOUT, "not_durable_enough", detail, hint);
        return Err(problem.with("durable", nodes).with("wanted", wish.nodes));
    }
    response.headers_mut().insert(HEADER, HeaderValue::from(nodes));
    Ok(response)
}

fn wish(query: &str) -> Result<Option<Wish>, Problem> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (mut nodes, mut wait_ms) = (None, WAIT_MS);
    for (name, value) in pairs {
        match name {
            "durable" => {
                let count = value.parse().ok().filter(|count| (1..=NODES_MAX).contains(count));
                let detail = || format!("durable={value} is not a number of nodes from 1 to {NODES_MAX}");
                nodes = Some(count.ok_or_else(|| bad("durable", detail()))?);
            }
            "durable_ms" => {
                let time = value.parse().ok().filter(|time| *time <= WAIT_MS_MAX);
                let detail = || format!("durable_ms={value} is not a time of 0 to {WAIT_MS_MAX} ms");
                wait_ms = time.ok_or_else(|| bad("durable_ms", detail()))?;
            }
            _ => {}
        }
    }
    Ok(nodes.map(|nodes| Wish { nodes, wait_ms }))
}

fn bad(parameter: &str, detail: String) -> Problem {
    let hint = "write for example ?durable=2, and &durable_ms=1000 to wait no longer than that";
    Problem::new(StatusCode::BAD_REQUEST, "bad_parameter", detail, hint).with("parameter", parameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_or_refused() {
        let read = |query| wish(query).map_err(|problem| problem.code());
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("durable=2"), Ok(Some(Wish { nodes: 2, wait_ms: WAIT_MS })));
        assert_eq!(read("a=b&durable=3&durable_ms=10"), Ok(Some(Wish { nodes: 3, wait_ms: 10 })));
        for query in ["durable=0", "durable=two", "durable=65", "durable=2&durable_ms=60001", "durable="] {
            assert_eq!(read(query), Err("bad_parameter"), "{query}");
        }
    }
}
