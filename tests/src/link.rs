//! A stretch of network that a test can cut, stall and mend: a relay between a node that dials and the node
//! that it means. Its address stays, whatever is behind it, so a node may also start again on another port.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::node::{Node, Plan};

/// A link that leads nowhere until it is joined to a node.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    resumed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Where new connections lead. Without it they are closed at once.
    far: Option<SocketAddr>,
    /// Both ends of each connection.
    open: Vec<TcpStream>,
    is_stalled: bool,
    is_over: bool,
}

impl Link {
    /// Opens the near end.
    ///
    /// # Errors
    ///
    /// If there is no port.
    pub fn new() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::<Shared>::default();
        let relay = Arc::clone(&shared);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if relay.lock().is_over {
                    return;
                }
                // A node that is not there is as good as a link that is cut: `near` is dropped.
                let _ = connect(&relay, near);
            }
        });
        Ok(Self { address, shared })
    }

    /// Returns the address to dial.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/crdt-sync", self.address)
    }

    /// Leads new connections to `node`.
    pub fn join(&self, node: &Node) {
        self.shared.lock().far = Some(node.address());
    }

    /// Ends all connections and lets no new ones through. No byte passes once this returns.
    pub fn cut(&self) {
        let mut state = self.shared.lock();
        state.far = None;
        for stream in state.open.drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Holds back every byte while the connections stay up, as a network does that loses all packets.
    pub fn stall(&self) {
        self.shared.lock().is_stalled = true;
    }

    /// Lets bytes pass again, those held back first.
    pub fn resume(&self) {
        self.shared.lock().is_stalled = false;
        self.shared.resumed.notify_all();
    }
}

impl Plan {
    /// Lets the node dial whatever `link` leads to.
    #[must_use]
    pub fn through(self, link: &Link) -> Self {
        let url = link.url();
        self.args(&["--peer", &url])
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
        self.shared.lock().is_over = true;
        self.resume();
        // Wakes the thread that accepts, so that it ends.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes bytes on as soon as they may pass.
    fn pass(&self, bytes: &[u8], to: &mut TcpStream) -> io::Result<()> {
        let state = self.lock();
        let stalled = |state: &mut State| state.is_stalled;
        let state = self.resumed.wait_while(state, stalled).unwrap_or_else(PoisonError::into_inner);
        drop(state);
        to.write_all(bytes)
    }
}

/// Connects `near` to the far end, and passes on in both directions what comes.
fn connect(shared: &Arc<Shared>, near: TcpStream) -> io::Result<()> {
    let mut state = shared.lock();
    let far = TcpStream::connect(state.far.ok_or(io::ErrorKind::NotConnected)?)?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
    }
    state.open.extend([near.try_clone()?, far.try_clone()?]);
    drop(state);
    for (mut from, mut to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 16 << 10];
            loop {
                let count = from.read(&mut buffer).unwrap_or_default();
                let bytes = buffer.get(..count).unwrap_or_default();
                if bytes.is_empty() || shared.pass(bytes, &mut to).is_err() {
                    break;
                }
            }
            // One end is gone, so the other one has nobody to talk to.
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
