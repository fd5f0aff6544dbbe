//! Starts nodes in directories of their own, waits for their lines, and talks to them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until the answer is as expected. What asks waits for a process or an answer each time.
#[expect(clippy::disallowed_methods, reason = "a deadline for what is waited for")]
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what} never came");
    }
}

/// A `gangline` command in `dir`, untouched by the settings of whoever runs the tests.
pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gangline"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GANGLINE_")) {
        command.env_remove(name);
    }
    command.current_dir(dir).env("HOME", dir).env_remove("XDG_CONFIG_HOME").args(args).stdin(Stdio::null());
    command
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a command to its end.
pub(crate) fn run(dir: &Path, args: &[&str]) -> Ended {
    let output = command(dir, args).output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Lines of a process as they come.
pub(crate) struct Lines(Mutex<Receiver<String>>);

impl Lines {
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Self {
        let (send, receive) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self(Mutex::new(receive))
    }

    /// The next line; none at the end of the stream, or when it does not come in time.
    fn take(&self) -> Option<String> {
        self.0.lock().unwrap().recv_timeout(PATIENCE).ok()
    }

    pub(crate) fn next(&self) -> String {
        self.take().expect("a line in time")
    }

    /// The next line that contains `part`; those before are dropped.
    pub(crate) fn until(&self, part: &str) -> String {
        loop {
            let line = self.next();
            if line.contains(part) {
                return line;
            }
        }
    }

    /// All lines up to the end of the stream.
    pub(crate) fn rest(&self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.take() {
            lines.push(line);
        }
        lines
    }
}

/// A process that is ended with the test.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

impl Process {
    pub(crate) fn spawn(dir: &Path, args: &[&str]) -> Self {
        Self::of(command(dir, args))
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for the end by the end of stdout, then collects the exit code.
    pub(crate) fn ended(&mut self) -> i32 {
        self.stdout.rest();
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node that serves.
pub(crate) struct Node {
    pub(crate) process: Process,
    /// `http://127.0.0.1:port`, or with `https://` and a pin
    pub(crate) url: String,
    /// `127.0.0.1:port`
    pub(crate) addr: String,
    pub(crate) ready: Vec<String>,
}

impl Node {
    /// Starts `gangline up` in `dir` on a free port of loopback.
    pub(crate) fn start(dir: &TempDir) -> Self {
        Self::start_with(dir, &["--listen", "127.0.0.1:0"])
    }

    /// Starts `gangline up` with these arguments and waits until it serves.
    pub(crate) fn start_with(dir: &TempDir, args: &[&str]) -> Self {
        let args: Vec<&str> = ["up"].iter().chain(args).copied().collect();
        Self::of(Process::spawn(dir.path(), &args))
    }

    /// Starts `gangline up` where `limit`, such as `ulimit -n 256`, holds for its process.
    #[cfg(unix)]
    pub(crate) fn start_under(dir: &TempDir, limit: &str) -> Self {
        let plain = command(dir.path(), &["up", "--listen", "127.0.0.1:0"]);
        let mut limited = Command::new("sh");
        limited.arg("-c").arg(format!("{limit} && exec \"$0\" \"$@\"")).arg(plain.get_program());
        limited.args(plain.get_args()).current_dir(dir.path()).stdin(Stdio::null());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => limited.env(name, value),
                None => limited.env_remove(name),
            };
        }
        Self::of(Process::of(limited))
    }

    fn of(process: Process) -> Self {
        let mut ready = Vec::new();
        while !ready.last().is_some_and(|line: &String| line.starts_with("Ctrl-C stops")) {
            match process.stdout.take() {
                Some(line) => ready.push(line),
                None => panic!("no ready lines, but: {:?}", process.stderr.rest()),
            }
        }
        let url = ready[1].strip_prefix("board   ").unwrap().to_owned();
        let (scheme, addr) = url.split_once("://").unwrap();
        let addr = addr.replace("0.0.0.0", "127.0.0.1");
        let pin = ready.iter().find_map(|line| line.strip_prefix("pin     "));
        let pin = pin.map(|pin| format!("#{pin}")).unwrap_or_default();
        Self { process, url: format!("{scheme}://{addr}{pin}"), addr, ready }
    }

    pub(crate) fn sync_url(&self) -> String {
        let scheme = if self.url.starts_with("https") { "wss" } else { "ws" };
        let pin = self.url.split_once('#').map(|(_, pin)| format!("#{pin}")).unwrap_or_default();
        format!("{scheme}://{}/crdt-sync{pin}", self.addr)
    }

    /// Runs a client command against this node.
    pub(crate) fn cli(&self, dir: &TempDir, args: &[&str]) -> Ended {
        let args: Vec<&str> = ["--node", &self.url].iter().chain(args).copied().collect();
        run(dir.path(), &args)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, &[], body.as_bytes())
    }

    pub(crate) fn patch(&self, path: &str, body: &str) -> Answer {
        self.ask("PATCH", path, &[], body.as_bytes())
    }

    /// Sends a request with its length and reads the answer to the end.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += &format!("host: {}\r\n", self.addr);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Answer::read(&bytes)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn stop(mut self) {
        self.process.signal("TERM");
        assert_eq!(self.process.ended(), 0, "{:?}", self.process.stderr.rest());
    }
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer but {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let head = head.to_lowercase();
        let body = match head.contains("transfer-encoding: chunked") {
            true => unchunk(body),
            false => body.to_owned(),
        };
        Self { status, head, body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that this is a refusal with this status and code, told as all are.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["status"], status);
        assert!(!problem["hint"].as_str().unwrap().is_empty());
        problem
    }
}

fn unchunk(body: &str) -> String {
    let mut out = String::new();
    let mut rest = body;
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        out += &after[..size];
        rest = &after[size + 2..];
    }
    out
}
