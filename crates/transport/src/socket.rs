//! A WebSocket as the session sees it: takes batches of frames, gives batches of frames.
//!
//! One task owns it and polls both directions in turn, so neither starves the other and no lock is needed.
//! Long messages go out in fragments: the library's buffers stay small (it keeps what it once grew to), and
//! pings pass between them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream, StreamExt};
use gangline_doc::Entry;
use gangline_wire::limits::FRAME_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::metered::Metered;
use crate::session::{CloseReason, Outgoing, RawFrame, SessionSettings};

/// Read and write buffer of an idle connection, each.
const BUFFER_BYTES: usize = 4 << 10;
/// Longest frame that is written in one piece.
const FRAGMENT_BYTES: usize = 16 << 10;
/// Longest text of a close frame that is kept or sent, in bytes. A control frame holds 125.
const CLOSE_TEXT_BYTES_MAX: usize = 120;

/// The limits of a WebSocket between nodes: small buffers, frames within the wire's limit.
pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX))
}

/// What the socket did.
#[derive(Debug)]
pub(crate) enum SocketEvent {
    /// Frames came.
    Frames(Vec<RawFrame>),
    /// All that was handed over was taken.
    Sent,
    /// It is over.
    Ended(CloseReason),
}

pub(crate) struct Socket<S> {
    stream: WebSocketStream<Metered<S>>,
    outbox: VecDeque<Message>,
    is_sending: bool,
    is_unflushed: bool,
    has_ping: bool,
    inbox: Vec<RawFrame>,
    inbox_bytes: usize,
    batch_frames_max: usize,
    batch_bytes_max: usize,
    /// What ended the socket, to be told after the frames that came before.
    ended: Option<CloseReason>,
    is_reading_first: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Takes over a WebSocket whose handshake is done.
    pub(crate) fn new(stream: WebSocketStream<Metered<S>>, settings: &SessionSettings) -> Self {
        Self {
            stream,
            outbox: VecDeque::new(),
            is_sending: false,
            is_unflushed: false,
            has_ping: false,
            inbox: Vec::new(),
            inbox_bytes: 0,
            batch_frames_max: settings.batch_frames_max,
            batch_bytes_max: settings.batch_bytes_max,
            ended: None,
            is_reading_first: false,
        }
    }

    /// Hands over frames; [`SocketEvent::Sent`] follows.
    pub(crate) fn send(&mut self, frames: Vec<Outgoing>) {
        for frame in frames {
            match frame {
                Outgoing::Bulk(text) => self.push(Data::Text, Bytes::from(text)),
                Outgoing::Op(entry) => self.push(Data::Binary, Bytes::from_owner(Encoded(entry))),
            }
        }
        self.is_sending = true;
    }

    /// Hands over binary frames; [`SocketEvent::Sent`] follows.
    pub(crate) fn send_frames(&mut self, frames: Vec<Bytes>) {
        frames.into_iter().for_each(|frame| self.push(Data::Binary, frame));
        self.is_sending = true;
    }

    /// Sends a ping, unless one still waits.
    pub(crate) fn ping(&mut self) {
        if !self.has_ping {
            self.has_ping = true;
            self.outbox.push_front(Message::Ping(Bytes::new()));
        }
    }

    /// Waits for the next event. With `receive`, for frames too. May be dropped at any time without loss.
    pub(crate) async fn next(&mut self, receive: bool) -> SocketEvent {
        poll_fn(|cx| self.poll(cx, receive)).await
    }

    /// Says goodbye, and waits for the peer to do so. The caller bounds the time.
    pub(crate) async fn close(&mut self, reason: &CloseReason) {
        let is_stuck = matches!(
            reason,
            CloseReason::Lagging { .. }
                | CloseReason::NoProgress { .. }
                | CloseReason::Idle { .. }
                | CloseReason::Lost { .. }
        );
        if is_stuck {
            return;
        }
        let frame = CloseFrame {
            code: CloseCode::from(reason.code()),
            reason: cut(&reason.to_string(), CLOSE_TEXT_BYTES_MAX).into(),
        };
        if self.stream.close(Some(frame)).await.is_err() {
            return;
        }
        // Closing while bytes of the peer are unread would reset the connection, and the peer might lose
        // what it was sent last: so read until the peer has closed.
        while let Some(Ok(_)) = self.stream.next().await {}
        if matches!(reason, CloseReason::FrameTooLarge { .. }) {
            let mut sink = vec![0; BUFFER_BYTES];
            while self.stream.get_mut().read(&mut sink).await.is_ok_and(|count| count > 0) {}
        }
    }

    fn push(&mut self, kind: Data, payload: Bytes) {
        if payload.len() <= FRAGMENT_BYTES {
            let frame = Frame::message(payload, OpCode::Data(kind), true);
            self.outbox.push_back(Message::Frame(frame));
            return;
        }
        let mut kind = kind;
        let mut rest = payload;
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(FRAGMENT_BYTES));
            let frame = Frame::message(piece, OpCode::Data(kind), rest.is_empty());
            self.outbox.push_back(Message::Frame(frame));
            kind = Data::Continue;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, receive: bool) -> Poll<SocketEvent> {
        // Whoever was served last goes second.
        self.is_reading_first = !self.is_reading_first;
        if self.is_reading_first && receive {
            if let Poll::Ready(event) = self.poll_receive(cx) {
                return Poll::Ready(event);
            }
            return self.poll_send(cx);
        }
        if let Poll::Ready(event) = self.poll_send(cx) {
            return Poll::Ready(event);
        }
        if receive { self.poll_receive(cx) } else { Poll::Pending }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<SocketEvent> {
        if let Err(error) = ready!(self.poll_drain(cx)) {
            return Poll::Ready(SocketEvent::Ended(ended_by(&error)));
        }
        if self.is_sending {
            self.is_sending = false;
            return Poll::Ready(SocketEvent::Sent);
        }
        Poll::Pending
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.outbox.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_ready(cx))?;
            let Some(message) = self.outbox.pop_front() else { break };
            if matches!(message, Message::Ping(_)) {
                self.has_ping = false;
            }
            self.is_unflushed = true;
            Pin::new(&mut self.stream).start_send(message)?;
        }
        if self.is_unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Collects what is there, up to the bounds of a batch.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<SocketEvent> {
        while self.ended.is_none()
            && self.inbox.len() < self.batch_frames_max
            && self.inbox_bytes < self.batch_bytes_max
        {
            let Poll::Ready(message) = Pin::new(&mut self.stream).poll_next(cx) else { break };
            let frame = match message {
                Some(Ok(Message::Text(text))) => RawFrame::Text(text.into()),
                Some(Ok(Message::Binary(bytes))) => RawFrame::Binary(bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(frame))) => {
                    self.ended = Some(closed_by_peer(frame.as_ref()));
                    break;
                }
                Some(Err(error)) => {
                    self.ended = Some(ended_by(&error));
                    break;
                }
                None => {
                    self.ended = Some(closed_by_peer(None));
                    break;
                }
            };
            self.inbox_bytes += frame.bytes();
            self.inbox.push(frame);
        }
        if !self.inbox.is_empty() {
            self.inbox_bytes = 0;
            return Poll::Ready(SocketEvent::Frames(std::mem::take(&mut self.inbox)));
        }
        match self.ended.clone() {
            Some(reason) => Poll::Ready(SocketEvent::Ended(reason)),
            None => Poll::Pending,
        }
    }
}

/// A frame that all peers share.
struct Encoded(Arc<Entry>);

impl AsRef<[u8]> for Encoded {
    fn as_ref(&self) -> &[u8] {
        self.0.v1()
    }
}

fn closed_by_peer(frame: Option<&CloseFrame>) -> CloseReason {
    match frame {
        // 1005: the frame came without a code.
        None => CloseReason::ByPeer { code: 1005, reason: String::new() },
        Some(frame) => CloseReason::ByPeer {
            code: frame.code.into(),
            reason: cut(&frame.reason, CLOSE_TEXT_BYTES_MAX).escape_debug().to_string(),
        },
    }
}

fn ended_by(error: &Error) -> CloseReason {
    if let Error::Capacity(CapacityError::MessageTooLong { size, max_size }) = error {
        return CloseReason::FrameTooLarge { bytes: *size, max: *max_size };
    }
    CloseReason::Lost { error: error.to_string() }
}

/// The longest start of `text` that takes at most `bytes_max` bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}
