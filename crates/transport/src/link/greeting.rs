//! How two nodes meet: the hellos, the proofs, and what the gate says.

use std::collections::BTreeSet;

use bft_json_crdt::{AuthorId, DocumentId};
use bytes::Bytes;
use gangline_wire::v2::{self, Abilities, Frame, Hello, RefuseCode, Transcript};

use super::{Link, LinkEffect, LinkNotice};
use crate::gate::PeerRights;
use crate::session::Millis;

/// How far the two have introduced themselves.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    pub(super) said: Option<Vec<u8>>,
    pub(super) heard: Option<(Hello, Bytes)>,
    pub(super) transcript: Option<Transcript>,
    pub(super) is_asking: bool,
    pub(super) has_shown: bool,
    pub(super) peer: Option<AuthorId>,
    /// Both know that documents come and go.
    pub(super) may_open: bool,
    /// Documents of this side's hello that it closed before the other side had proved itself.
    pub(super) closed_early: BTreeSet<DocumentId>,
}

impl Link {
    /// Says hello once it is known, and on disk, what there is to say.
    pub(super) fn greet(&mut self) {
        if self.greeting.said.is_none() && self.documents.are_ready() {
            let hello = Hello {
                key: self.keypair.author(),
                nonce: self.start.nonce,
                is_bound: self.start.channel.is_some(),
                documents: self.number_all(),
                abilities: self.start.opens_documents.then(Abilities::all),
            };
            let bytes = v2::encode(&Frame::Hello(hello));
            self.outbox.push_back(bytes.clone().into());
            self.greeting.said = Some(bytes);
        }
        if self.greeting.transcript.is_none()
            && let (Some(said), Some((heard, bytes))) = (&self.greeting.said, &self.greeting.heard)
        {
            let channel = self.start.channel.filter(|_| heard.is_bound);
            let transcript = match self.start.is_dialer {
                true => Transcript::new(said, bytes, channel),
                false => Transcript::new(bytes, said, channel),
            };
            let signature = self.keypair.sign(&transcript.message(self.start.is_dialer));
            self.greeting.transcript = Some(transcript);
            // Whoever dials shows its grants before its key is judged: by them it may be let in.
            if self.start.is_dialer {
                let credentials = std::mem::take(&mut self.start.credentials);
                if !credentials.is_empty() {
                    self.say(&Frame::Records(credentials));
                }
            }
            self.say(&Frame::Proof(signature));
        }
    }

    pub(super) fn hello(&mut self, hello: Hello, bytes: Bytes) {
        if self.greeting.heard.is_some() {
            return self.broken("a second hello");
        }
        self.greeting.heard = Some((hello, bytes));
    }

    pub(super) fn proof(&mut self, signature: &[u8; 64]) {
        let (Some((hello, _)), Some(transcript)) = (&self.greeting.heard, &self.greeting.transcript) else {
            return self.broken("a proof before the hellos");
        };
        if self.greeting.peer.is_some() {
            return self.broken("a second proof");
        }
        let key = hello.key;
        if !key.verify(&transcript.message(!self.start.is_dialer), signature) {
            return self.refuse(RefuseCode::BadProof, "the proof is not that of the key in the hello".into());
        }
        self.greeting.is_asking = true;
        self.effects.push_back(LinkEffect::Admit(key));
    }

    pub(super) fn admitted(&mut self, now: Millis, verdict: Result<PeerRights, String>) {
        self.greeting.is_asking = false;
        let rights = match verdict {
            Ok(rights) => rights,
            Err(reason) => return self.refuse(RefuseCode::NotTrusted, reason),
        };
        if self.greeting.peer.is_some() {
            // Trust changed, and the peer may stay.
            self.rights = rights;
            self.look_at_all();
            return;
        }
        let Some((hello, _)) = &mut self.greeting.heard else { return };
        let (peer, theirs) = (hello.key, std::mem::take(&mut hello.documents));
        self.greeting.may_open = self.start.opens_documents && hello.opens_documents();
        self.greeting.peer = Some(peer);
        let name = rights.name.clone();
        self.rights = rights;
        self.effects.push_back(LinkEffect::Notice(LinkNotice::Established { peer, name }));
        let records = std::mem::take(&mut self.start.records);
        self.tell_records(records);
        self.share_all(theirs);
        self.begin_catalog(now);
    }

    pub(super) fn tell_records(&mut self, records: Vec<Bytes>) {
        if records.is_empty() || self.greeting.peer.is_none() {
            self.start.records.extend(records);
            return;
        }
        self.say(&Frame::Records(records));
    }
}
