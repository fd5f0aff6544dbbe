//! A WebSocket client by hand (RFC 6455), so that tests can send what no library would, and so that a node is
//! not only tested against the library that it uses itself.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use crate::http::PATIENCE;

const CONTINUE: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The sample key of the RFC, and the answer to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A text message.
    Text(Vec<u8>),
    /// A binary message.
    Binary(Vec<u8>),
    /// The other side says goodbye, with this code. Nothing follows.
    Close(u16),
}

/// The sending half. Clones send on the same connection, one frame at a time.
#[derive(Clone, Debug)]
pub struct Sender {
    stream: Arc<Mutex<TcpStream>>,
}

/// The receiving half. It answers pings.
#[derive(Debug)]
pub struct Receiver {
    stream: BufReader<TcpStream>,
    sender: Sender,
}

/// Dials the node at `address`.
///
/// # Errors
///
/// If nobody listens there. A refusal is an error that holds the answer.
pub fn connect(address: SocketAddr) -> io::Result<(Sender, Receiver)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!(
        "GET /crdt-sync HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::Error::other(format!("the answer broke off: {head}")));
        }
    }
    if !head.starts_with("HTTP/1.1 101 ") {
        return Err(io::Error::other(head));
    }
    assert!(head.contains(ACCEPT), "the node took the handshake without having read the key: {head}");
    let sender = Sender { stream: Arc::new(Mutex::new(stream)) };
    Ok((sender.clone(), Receiver { stream: reader, sender }))
}

impl Sender {
    /// Sends a text message in one frame.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub fn text(&self, payload: &[u8]) -> io::Result<()> {
        self.frame(true, TEXT, payload)
    }

    /// Sends a binary message in one frame.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub fn binary(&self, payload: &[u8]) -> io::Result<()> {
        self.frame(true, BINARY, payload)
    }

    /// Sends a binary message in frames of at most `length` bytes.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub fn fragments(&self, payload: &[u8], length: usize) -> io::Result<()> {
        let last = payload.len().div_ceil(length).saturating_sub(1);
        for (index, piece) in payload.chunks(length).enumerate() {
            self.frame(index == last, if index == 0 { BINARY } else { CONTINUE }, piece)?;
        }
        Ok(())
    }

    /// Sends bytes as they are, whether or not they are a frame.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)
    }

    /// Clients mask what they send. The mask is zero, so the payload goes out as it is.
    fn frame(&self, is_last: bool, opcode: u8, payload: &[u8]) -> io::Result<()> {
        let mut bytes = vec![if is_last { 0x80 | opcode } else { opcode }];
        match payload.len() {
            length @ 0..=125 => bytes.push(0x80 | u8::try_from(length).unwrap_or_default()),
            length @ 126..=0xffff => {
                bytes.push(0x80 | 126);
                bytes.extend(u16::try_from(length).unwrap_or_default().to_be_bytes());
            }
            length => {
                bytes.push(0x80 | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.extend_from_slice(payload);
        self.raw(&bytes)
    }
}

impl Receiver {
    /// Waits for the next message.
    ///
    /// # Errors
    ///
    /// If the connection breaks, or stays silent for longer than [`PATIENCE`].
    pub fn next_message(&mut self) -> io::Result<Message> {
        let mut message = Vec::new();
        let mut kind = CONTINUE;
        loop {
            let (is_last, opcode, payload) = self.frame()?;
            match opcode {
                PING => self.sender.frame(true, PONG, &payload)?,
                PONG => {}
                CLOSE => {
                    let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                    // The node may not wait for the answer.
                    let _ = self.sender.frame(true, CLOSE, &payload);
                    return Ok(Message::Close(code));
                }
                opcode => {
                    if opcode != CONTINUE {
                        kind = opcode;
                    }
                    message.extend(payload);
                    match kind {
                        _ if !is_last => {}
                        TEXT => return Ok(Message::Text(message)),
                        BINARY => return Ok(Message::Binary(message)),
                        other => return Err(io::Error::other(format!("a frame of unknown kind {other}"))),
                    }
                }
            }
        }
    }

    /// Reads on until the connection ends, and returns the code of the goodbye, if there was one.
    pub fn end(mut self) -> Option<u16> {
        loop {
            match self.next_message() {
                Ok(Message::Close(code)) => return Some(code),
                Ok(Message::Text(_) | Message::Binary(_)) => {}
                Err(_) => return None,
            }
        }
    }

    fn frame(&mut self) -> io::Result<(bool, u8, Vec<u8>)> {
        let [first, second] = self.bytes()?;
        let length = match second {
            126 => u64::from(u16::from_be_bytes(self.bytes()?)),
            127 => u64::from_be_bytes(self.bytes()?),
            masked @ 0x80.. => return Err(io::Error::other(format!("a masked frame: {masked}"))),
            length => u64::from(length),
        };
        let mut payload = Vec::new();
        if (&mut self.stream).take(length).read_to_end(&mut payload)? as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok((first & 0x80 != 0, first & 0x0f, payload))
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
