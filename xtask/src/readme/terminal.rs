//! A folder of its own, the variables of a fresh shell, and what was started in it.
#![expect(
    clippy::disallowed_methods,
    reason = "a command that never prints what it should must not hang the run"
)]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::blocks::Command;
use super::ports::{self, Ports};
use super::promise::is_kept;

/// How long something may take to start serving, to stop, or to travel to another node.
const PATIENCE: Duration = Duration::from_secs(20);

/// How wide the terminal is: what fits on the rendered page.
const COLUMNS: u16 = 100;

/// Where the README's commands run.
pub(crate) struct Terminal {
    folder: PathBuf,
    path: std::ffi::OsString,
    ports: Ports,
    servers: Vec<Server>,
}

/// A command that keeps running.
struct Server {
    text: String,
    child: Child,
    log: PathBuf,
}

impl Terminal {
    /// Makes the folder, which must not exist; `programs` comes first in its `PATH`.
    pub(crate) fn open(folder: PathBuf, programs: &Path, ports: Ports) -> Result<Terminal> {
        std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let paths = [programs.to_path_buf()].into_iter().chain(std::env::split_paths(&inherited));
        Ok(Terminal { folder, path: std::env::join_paths(paths)?, ports, servers: Vec::new() })
    }

    /// Writes a file that commands use.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<()> {
        std::fs::write(self.folder.join(name), content).with_context(|| format!("cannot write {name}"))
    }

    /// Runs a command; it must succeed, or fail if it `is_refused`, and print what is shown.
    pub(crate) fn run(&self, command: &Command, varies: &[String], is_refused: bool) -> Result<()> {
        let (status, printed) = self.output(command)?;
        let shown = self.shown(command);
        if status.success() == is_refused {
            bail!("{status}; it printed:\n{}", printed.join("\n"));
        }
        if !is_kept(&shown, &printed, varies) {
            bail!("shown:\n{}\nprinted:\n{}", shown.join("\n"), printed.join("\n"));
        }
        Ok(())
    }

    /// Runs a command again and again until it prints what is shown.
    pub(crate) fn run_until_kept(&self, command: &Command, varies: &[String]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.run(command, varies, false) {
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Starts a command that keeps running, and waits until it has printed what is shown.
    pub(crate) fn serve(&mut self, command: &Command, varies: &[String]) -> Result<()> {
        let log = self.folder.join(format!("server-{}.log", self.servers.len()));
        let stderr = File::create(&log)?;
        // With `exec` the shell becomes the command, so that its exit code is the command's own.
        let mut process = Process::new("sh");
        self.prepare(process.arg("-c").arg(format!("exec {}", self.text(command))));
        let mut child = process.stdout(Stdio::piped()).stderr(stderr).spawn()?;
        let lines = follow(child.stdout.take().expect("stdout was asked to be piped"));
        self.servers.push(Server { text: command.text.clone(), child, log });

        let shown = self.shown(command);
        let deadline = Instant::now() + PATIENCE;
        let mut printed = Vec::new();
        while !is_kept(&shown, &printed, varies) {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => printed.push(line),
                Err(_) => bail!("not ready; shown:\n{}\nprinted:\n{}", shown.join("\n"), printed.join("\n")),
            }
        }
        Ok(())
    }

    /// What everything that still runs has said on stderr.
    pub(crate) fn logs(&self) -> String {
        let said = |server: &Server| {
            let log = std::fs::read_to_string(&server.log).unwrap_or_default();
            format!("`{}` says:\n{log}", server.text)
        };
        self.servers.iter().map(said).collect::<Vec<_>>().join("\n")
    }

    /// Asks everything that still runs to stop, latest first; each must exit with 0 in time.
    pub(crate) fn close(mut self) -> Result<()> {
        while let Some(mut server) = self.servers.pop() {
            server.terminate()?;
            let status = server.wait()?;
            if !status.success() {
                let log = std::fs::read_to_string(&server.log).unwrap_or_default();
                bail!("`{}` got SIGTERM and ended with {status}; on stderr:\n{log}", server.text);
            }
        }
        Ok(())
    }

    /// Runs a command in a terminal, because programs print tables there and plain text elsewhere.
    fn output(&self, command: &Command) -> Result<(ExitStatus, Vec<String>)> {
        let text = format!("stty cols {COLUMNS} rows 50 -onlcr\n{}", self.text(command));
        let mut process = Process::new("script");
        process.args(["--quiet", "--return", "--command", &text, "/dev/null"]);
        let output = self.prepare(&mut process).output().context("cannot start `script`")?;
        let printed = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        Ok((output.status, printed))
    }

    /// Gives a process the folder and the variables of a fresh shell.
    fn prepare<'a>(&self, process: &'a mut Process) -> &'a mut Process {
        process.current_dir(&self.folder).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GANGLINE_") {
                process.env_remove(name);
            }
        }
        let address = format!("127.0.0.1:{}", self.ports.free(ports::DEFAULT));
        process.env("GANGLINE_NODE", format!("http://{address}")).env("GANGLINE_LISTEN", address);
        process.env("SHELL", "/bin/sh").env("TERM", "xterm").env("NO_COLOR", "1");
        process.env("PATH", &self.path).env("HOME", &self.folder).env_remove("XDG_CONFIG_HOME")
    }

    fn text(&self, command: &Command) -> String {
        self.ports.replace(&command.text.replace("cargo run --release -- ", "gangline "))
    }

    fn shown(&self, command: &Command) -> Vec<String> {
        command.promise.iter().map(|line| self.ports.replace(line)).collect()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // Already failing: what cannot be stopped or removed any more is not worth a second error.
            let _ = server.child.kill();
            let _ = server.child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Server {
    /// Sends SIGTERM, through the shell: the standard library only knows how to kill.
    fn terminate(&self) -> Result<()> {
        let status = Process::new("sh").arg("-c").arg(format!("kill -TERM {}", self.child.id())).status()?;
        if !status.success() {
            bail!("`{}` had already ended", self.text);
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                self.child.kill()?;
                bail!("`{}` got SIGTERM and still ran after {} s", self.text, PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The lines of a stream as they come; the stream is read to its end, so that its writer never blocks.
fn follow(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            // Nobody listens any more once the ready lines were seen.
            let _ = sender.send(line);
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(name: &str) -> Terminal {
        let folder = std::env::temp_dir().join(format!("gangline-terminal-{name}-{}", std::process::id()));
        Terminal::open(folder, Path::new("/nonexistent"), Ports::pick(&[]).unwrap()).unwrap()
    }

    fn command(text: &str, promise: &[&str]) -> Command {
        Command {
            line: 1,
            text: text.into(),
            promise: promise.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    #[test]
    fn a_broken_promise_a_failure_and_a_dead_server_are_noticed() {
        let mut terminal = terminal("broken");
        terminal.run(&command("echo a; echo b >&2", &["a", "b"]), &[], false).unwrap();
        terminal.run(&command("test -t 1 && stty size", &["50 100"]), &[], false).unwrap();
        assert!(terminal.run(&command("echo a", &["b"]), &[], false).is_err());
        assert!(terminal.run(&command("echo a", &[]), &[], false).is_err());
        assert!(terminal.run(&command("echo a; exit 3", &["a"]), &[], false).is_err());
        terminal.run(&command("echo a; exit 3", &["a"]), &[], true).unwrap();
        assert!(terminal.run(&command("echo a", &["a"]), &[], true).is_err());
        assert!(terminal.serve(&command("echo only this", &["ready"]), &[]).is_err());
    }

    #[test]
    fn a_server_runs_until_the_end_and_must_stop_well() {
        let mut terminal = terminal("well");
        let well = "sh -c 'trap \"exit 0\" TERM; touch up; echo ready; while :; do sleep 0.01; done'";
        terminal.serve(&command(well, &["ready"]), &[]).unwrap();
        terminal.run_until_kept(&command("test -e up", &[]), &[]).unwrap();
        let folder = terminal.folder.clone();
        terminal.close().unwrap();
        assert!(!folder.exists());
    }

    #[test]
    fn a_server_that_dies_of_the_signal_did_not_stop_well() {
        let mut terminal = terminal("badly");
        terminal.serve(&command("sh -c 'echo ready; exec sleep 60'", &["ready"]), &[]).unwrap();
        assert!(terminal.close().is_err());
    }
}
