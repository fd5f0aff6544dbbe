//! A real node: the program in a process of its own, on a port that the system picks.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::feed::Feed;
use crate::http::{self, Response};

/// How a node is started. The same plan can start it again after a crash.
#[derive(Clone, Debug)]
pub struct Plan {
    program: PathBuf,
    data_dir: PathBuf,
    listen: String,
    args: Vec<String>,
}

impl Plan {
    /// Plans a node that keeps its data in `data_dir`. Tests of the package `gangline` find the `program` in
    /// `env!("CARGO_BIN_EXE_gangline")`.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            data_dir: data_dir.into(),
            listen: "127.0.0.1:0".into(),
            args: Vec::new(),
        }
    }

    /// Returns where the node keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Lets the node listen where another has listened, for those who know it there.
    #[must_use]
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.listen = address.to_string();
        self
    }

    /// Lets the node dial `peer`.
    #[must_use]
    pub fn peer(self, peer: &Node) -> Self {
        let url = peer.sync_url();
        self.args(&["--peer", &url])
    }

    /// Adds arguments of `gangline up`.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Starts the node and waits until it serves.
    ///
    /// # Errors
    ///
    /// If it ends before it serves; the error holds what it said.
    pub fn start(&self) -> io::Result<Node> {
        std::fs::create_dir_all(&self.data_dir)?;
        let log = self.data_dir.with_extension("log");
        let mut command = Command::new(&self.program);
        command.args(["up", "--listen", &self.listen, "--data-dir"]).arg(&self.data_dir).args(&self.args);
        // No settings but these: not the user's, not those of a node in the current folder.
        let inherited = std::env::vars_os().map(|(name, _)| name);
        for name in inherited.filter(|name| name.to_string_lossy().starts_with("GANGLINE_")) {
            command.env_remove(name);
        }
        command.current_dir(&self.data_dir).env("HOME", &self.data_dir).env_remove("XDG_CONFIG_HOME");
        let stderr = File::options().create(true).append(true).open(&log)?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn()?;
        let stdout = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        match ready_address(stdout) {
            Ok(address) => Ok(Node { child, address, log }),
            Err(error) => {
                // A node that does not serve is of no use, whether it still runs or not.
                let _ = child.kill();
                let _ = child.wait();
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                Err(io::Error::other(format!("{error}; on stderr:\n{said}")))
            }
        }
    }
}

/// A node that serves. It is killed when dropped.
#[derive(Debug)]
pub struct Node {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Node {
    /// Returns where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address that other nodes dial.
    #[must_use]
    pub fn sync_url(&self) -> String {
        format!("ws://{}/crdt-sync", self.address)
    }

    /// Returns the process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the file that holds what the node said on stderr.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Asks the node's HTTP API.
    ///
    /// # Errors
    ///
    /// If the node does not answer.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Response> {
        http::request(self.address, method, path, body)
    }

    /// Returns the items that the node shows.
    ///
    /// # Errors
    ///
    /// If the node does not answer.
    pub fn items(&self) -> io::Result<Value> {
        Ok(self.request("GET", "/api/v1/items", None)?.json())
    }

    /// Waits until `is_there` holds for the items, asking again after each change that the node announces.
    ///
    /// # Errors
    ///
    /// If the node falls silent before; the error holds the items that it shows.
    pub fn wait_for_items(&self, is_there: impl Fn(&Value) -> bool) -> io::Result<Value> {
        // Opened before the first look, so that no change can fall between the two.
        let mut feed = Feed::open(self.address, "/api/v1/watch")?;
        loop {
            let items = self.items()?;
            if is_there(&items) {
                return Ok(items);
            }
            feed.next_event().map_err(|error| io::Error::other(format!("{error}; the items: {items}")))?;
        }
    }

    /// Kills the process as a power cut would.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Asks the node to stop, with SIGTERM, and waits for its end.
    ///
    /// # Errors
    ///
    /// If it had ended already.
    pub fn stop(mut self) -> io::Result<ExitStatus> {
        self.signal("TERM")?;
        self.child.wait()
    }

    /// Stops the process where it is, as a machine does that sleeps, until [`Node::wake`].
    ///
    /// # Errors
    ///
    /// If it had ended already.
    pub fn pause(&self) -> io::Result<()> {
        self.signal("STOP")
    }

    /// Lets the process go on.
    ///
    /// # Errors
    ///
    /// If it had ended already.
    pub fn wake(&self) -> io::Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> io::Result<()> {
        // Through the shell: the standard library only knows how to kill.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status()?;
        if sent.success() { Ok(()) } else { Err(io::Error::other("the node had ended already")) }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may be dead already; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Finds the address in the ready lines: `board   http://127.0.0.1:3001`. The rest of the output is read
/// and dropped, so that the node never waits for its reader.
fn ready_address(mut stdout: impl BufRead + Send + 'static) -> io::Result<SocketAddr> {
    let mut said = String::new();
    loop {
        let start = said.len();
        if stdout.read_line(&mut said)? == 0 {
            return Err(io::Error::other(format!("it ended before it served; on stdout:\n{said}")));
        }
        let line = said.get(start..).unwrap_or_default().trim();
        if let Some(url) = line.strip_prefix("board").map(str::trim) {
            let address = url.trim_start_matches("http://").trim_end_matches('/');
            let address = address.parse().map_err(|_| io::Error::other(format!("no address: {line}")))?;
            std::thread::spawn(move || io::copy(&mut stdout, &mut io::sink()));
            return Ok(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_line_holds_the_address() {
        let said = "gangline 0.1.0 · node swift-otter\nboard   http://127.0.0.1:4711\nsync    ws://…\n";
        assert_eq!(ready_address(said.as_bytes()).unwrap(), "127.0.0.1:4711".parse().unwrap());
        let error = ready_address("gangline 0.1.0\n".as_bytes()).unwrap_err();
        assert!(error.to_string().contains("gangline 0.1.0"), "{error}");
    }

    #[test]
    fn a_program_that_does_not_serve_is_an_error_with_its_words() {
        let dir = std::env::temp_dir().join(format!("gangline-plan-{}", std::process::id()));
        assert!(Plan::new("/bin/false", &dir).start().is_err());
        std::fs::remove_file(dir.with_extension("log")).unwrap();
        std::fs::remove_dir(&dir).unwrap();
    }
}
