//! The two protocols behind one face: what their machines are told, and what they want.

use std::sync::Arc;

use bft_json_crdt::json_crdt::VersionVector;
use bft_json_crdt::{AuthorId, Change, Digest};
use bytes::Bytes;
use gangline_doc::{Entry, LogSeq, ReadLimit};
use gangline_transport::PeerRights;
use gangline_transport::link::{Answer, Incoming, Link, LinkEffect, LinkInput, LinkNotice, Query};
use gangline_transport::session::{
    Applied, CloseReason, Effect, Evicted, Input, Millis, Notice, Outgoing, RawFrame, Received, Session,
};

use crate::node::BOARD;

/// What runs at one end of a connection.
pub(crate) enum Machine {
    Link(Box<Link>),
    Session(Box<Session>),
    /// Nothing but what a hostile node makes up.
    Puppet,
}

/// What a machine is told.
pub(crate) enum Told {
    Understood(Vec<Incoming>),
    Received(Received),
    Answered(usize, Answer),
    Applied(Result<Applied, String>),
    Busy(Vec<Change>),
    Stored(Result<(), String>),
    Entries(usize, Result<Vec<Arc<Entry>>, String>),
    Sent,
    Admitted(Result<PeerRights, String>),
    Served(u64, Bytes),
    Released(Vec<Digest>),
    Durable(usize, LogSeq),
    Evicted(Evicted),
    Traffic { received: u64, written: u64 },
    AskAgain,
    Tick,
}

/// What a machine wants.
pub(crate) enum Want {
    Receive,
    Query(usize, Query),
    Apply(usize, Vec<Change>),
    Read(usize, LogSeq, ReadLimit),
    Send(Vec<RawFrame>),
    Admit(AuthorId),
    Serve(u64, Bytes),
    CheckPending(Vec<Digest>),
    Ping,
    /// There is a peer; in version 2 it has proved its key.
    Established(Option<AuthorId>),
    BadFrame,
    Acked(usize, VersionVector),
    /// Nothing that concerns the simulation.
    Nothing,
    Close(CloseReason),
}

impl Machine {
    pub(crate) fn handle(&mut self, now: Millis, told: Told) {
        match self {
            Self::Link(link) => {
                if let Some(input) = link_input(told) {
                    link.handle(now, input);
                }
            }
            Self::Session(session) => {
                if let Some(input) = session_input(told) {
                    session.handle(now, input);
                }
            }
            Self::Puppet => {}
        }
    }

    pub(crate) fn want(&mut self) -> Option<Want> {
        match self {
            Self::Link(link) => Some(link_want(link.poll_effect()?)),
            Self::Session(session) => Some(session_want(session.poll_effect()?)),
            Self::Puppet => None,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        match self {
            Self::Link(link) => link.next_deadline(),
            Self::Session(session) => session.next_deadline(),
            Self::Puppet => None,
        }
    }

    /// Whose key was proved.
    pub(crate) fn peer(&self) -> Option<AuthorId> {
        match self {
            Self::Link(link) => link.peer(),
            Self::Session(_) | Self::Puppet => None,
        }
    }

    pub(crate) fn is_established(&self) -> bool {
        match self {
            Self::Link(link) => link.peer().is_some(),
            Self::Session(session) => session.is_established(),
            Self::Puppet => false,
        }
    }

    /// Frames that wait in the machine.
    pub(crate) fn queued(&self) -> usize {
        match self {
            Self::Link(link) => link.queued(),
            Self::Session(_) | Self::Puppet => 0,
        }
    }

    /// Both sides have told each other all.
    pub(crate) fn is_level(&self) -> bool {
        match self {
            Self::Link(link) => link.is_caught_up() && link.behind() == 0,
            Self::Session(session) => session.is_caught_up() && session.behind() == 0,
            Self::Puppet => true,
        }
    }
}

fn link_input(told: Told) -> Option<LinkInput> {
    Some(match told {
        Told::Understood(incoming) => LinkInput::Received(incoming),
        Told::Answered(document, answer) => LinkInput::Answered(document, answer),
        Told::Applied(applied) => LinkInput::Applied(applied),
        Told::Busy(changes) => LinkInput::Busy(changes),
        Told::Stored(stored) => LinkInput::Stored(stored),
        Told::Entries(document, entries) => LinkInput::Entries(document, entries),
        Told::Sent => LinkInput::Sent,
        Told::Admitted(verdict) => LinkInput::Admitted(verdict),
        Told::Served(id, body) => LinkInput::Served { id, result: Ok(body) },
        Told::Released(digests) => LinkInput::Released(digests),
        Told::Durable(document, durable) => LinkInput::Durable(document, durable),
        Told::Evicted(evicted) => LinkInput::Evicted(evicted),
        Told::Traffic { received, written } => LinkInput::Traffic { received, written },
        Told::AskAgain => LinkInput::AskAgain,
        Told::Tick => LinkInput::Tick,
        Told::Received(_) => return None,
    })
}

fn session_input(told: Told) -> Option<Input> {
    Some(match told {
        Told::Received(received) => Input::Received(received),
        Told::Applied(applied) => Input::Applied(applied),
        Told::Busy(changes) => Input::Busy(changes),
        Told::Stored(stored) => Input::Stored(stored),
        Told::Entries(_, entries) => Input::Entries(entries),
        Told::Sent => Input::Sent,
        Told::Released(digests) => Input::Released(digests),
        Told::Durable(BOARD, durable) => Input::Durable(durable),
        Told::Evicted(evicted) => Input::Evicted(evicted),
        Told::Traffic { received, written } => Input::Traffic { received, written },
        Told::Tick => Input::Tick,
        Told::AskAgain
        | Told::Understood(_)
        | Told::Answered(..)
        | Told::Admitted(_)
        | Told::Served(..)
        | Told::Durable(..) => return None,
    })
}

fn link_want(effect: LinkEffect) -> Want {
    match effect {
        LinkEffect::Receive => Want::Receive,
        LinkEffect::Query(document, query) => Want::Query(document, query),
        LinkEffect::Apply(document, changes) => Want::Apply(document, changes),
        LinkEffect::Read { document, from, limit } => Want::Read(document, from, limit),
        LinkEffect::Send(frames) => Want::Send(frames.into_iter().map(RawFrame::Binary).collect()),
        LinkEffect::Admit(key) => Want::Admit(key),
        // Every method of the simulation is an echo.
        LinkEffect::Serve { id, method: _, body } => Want::Serve(id, body),
        LinkEffect::CheckPending(waiting) => {
            Want::CheckPending(waiting.into_iter().map(|(_, digest)| digest).collect())
        }
        LinkEffect::Ping => Want::Ping,
        LinkEffect::Close(reason) => Want::Close(reason),
        LinkEffect::Notice(LinkNotice::Established { peer, .. }) => Want::Established(Some(peer)),
        LinkEffect::Notice(LinkNotice::Acked { document, vector }) => Want::Acked(document, vector),
        LinkEffect::Notice(LinkNotice::BadFrame { .. }) => Want::BadFrame,
        LinkEffect::Notice(
            LinkNotice::CaughtUp
            | LinkNotice::HeldBack { .. }
            | LinkNotice::HeldThere { .. }
            | LinkNotice::Exchange { .. }
            | LinkNotice::Presence(_),
        )
        | LinkEffect::Learn(_)
        | LinkEffect::Offer(_)
        | LinkEffect::Catalog(_)
        | LinkEffect::Replied { .. } => Want::Nothing,
    }
}

fn session_want(effect: Effect) -> Want {
    match effect {
        Effect::Receive => Want::Receive,
        Effect::Apply(changes) => Want::Apply(BOARD, changes),
        Effect::Read { from, limit, alone: _ } => Want::Read(BOARD, from, limit),
        Effect::Send(frames) => Want::Send(frames.into_iter().map(raw).collect()),
        Effect::Ping => Want::Ping,
        Effect::CheckPending(digests) => Want::CheckPending(digests),
        Effect::Notice(Notice::Established) => Want::Established(None),
        Effect::Notice(Notice::BadFrame { .. }) => Want::BadFrame,
        Effect::Notice(Notice::CaughtUp | Notice::HeldBack { .. } | Notice::Withheld { .. }) => Want::Nothing,
        Effect::Close(reason) => Want::Close(reason),
    }
}

fn raw(frame: Outgoing) -> RawFrame {
    match frame {
        Outgoing::Bulk(text) => RawFrame::Text(text.into()),
        Outgoing::Op(entry) => RawFrame::Binary(Bytes::copy_from_slice(entry.v1())),
    }
}
