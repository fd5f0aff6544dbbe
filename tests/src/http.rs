//! Just enough HTTP to ask a node on this machine: one request per connection, over a plain socket.
//!
//! Requests say HTTP/1.0, so that every answer, streams included, is the plain bytes until the end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long a node may leave an open question unanswered before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The status line and the headers, in lower case.
    pub head: String,
    /// The body, as it came.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns the body as JSON.
    ///
    /// # Panics
    ///
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&self.body)),
        }
    }
}

/// Asks `address` and reads the whole answer. A `body` is sent as JSON.
///
/// # Errors
///
/// If nobody listens there, or the answer does not come in time or is no HTTP.
pub fn request(address: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> io::Result<Response> {
    request_within(PATIENCE, address, method, path, body)
}

/// As [`request`], of a node that may have stopped: no read waits for longer than `patience`.
///
/// # Errors
///
/// As [`request`]. Whether the node has done what it was asked for is not known then.
pub fn request_within(
    patience: Duration,
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> io::Result<Response> {
    let (status, head, mut stream) = ask(patience, address, method, path, body)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(Response { status, head, body: bytes })
}

/// Asks `address` and returns the status and the stream, at the first byte of the body.
///
/// # Errors
///
/// As [`request`].
pub fn open(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> io::Result<(u16, BufReader<TcpStream>)> {
    let (status, _, stream) = ask(PATIENCE, address, method, path, body)?;
    Ok((status, stream))
}

fn ask(
    patience: Duration,
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> io::Result<(u16, String, BufReader<TcpStream>)> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("not a status line: {line:?}")))?;
    let mut head = String::new();
    while !line.trim().is_empty() {
        head.push_str(&line.to_lowercase());
        line.clear();
        stream.read_line(&mut line)?;
    }
    Ok((status, head, stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_question_and_its_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; 4096];
            let length = stream.read(&mut asked).unwrap();
            stream
                .write_all(b"HTTP/1.0 201 Created\r\ncontent-type: application/json\r\n\r\n{\"a\":1}")
                .unwrap();
            String::from_utf8_lossy(asked.get(..length).unwrap()).into_owned()
        });
        let answer = request(address, "POST", "/x", Some(&serde_json::json!({"b": 2}))).unwrap();
        assert_eq!((answer.status, answer.json()), (201, serde_json::json!({"a": 1})));
        assert!(answer.head.ends_with("content-type: application/json\r\n"), "{answer:?}");
        let asked = server.join().unwrap();
        assert!(asked.starts_with("POST /x HTTP/1.0\r\n") && asked.ends_with("\r\n\r\n{\"b\":2}"), "{asked}");
    }
}
