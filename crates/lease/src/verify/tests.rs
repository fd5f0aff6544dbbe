//! Golden bytes of what is hashed, and a verifier that names the first offender.

use bft_json_crdt::Keypair;
use proptest::prelude::*;

use super::*;
use crate::{
    event::{BatchSignature, Intent},
    grant::Grant,
    name::EventType,
    payload::Payload,
    rules::SpaceState,
};

const LIFE: Incarnation = Incarnation([0x11; 16]);

fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

fn space() -> SpaceName {
    SpaceName::new("team/a").unwrap()
}

fn intent(n: usize) -> Intent {
    let payload = format!("{{\"alias\":\"{n}\",\"target\":\"x:2\"}}");
    Intent {
        id: IntentId::new(&format!("intent-{n}")).unwrap(),
        kind: EventType::new("ALIAS_SET").unwrap(),
        payload: Payload::parse(payload.as_bytes()).unwrap(),
    }
}

/// A log of batches: who holds, under which epoch, how many events.
fn log(batches: &[(u8, u64, usize)]) -> (SpaceState, Vec<Event>) {
    let mut head = Head::start(&space(), LIFE);
    let mut events: Vec<Event> = Vec::new();
    let mut last = Epoch::NONE;
    for (holder, epoch, count) in batches {
        let grant = Grant::new(space(), LIFE, Epoch(*epoch), key(*holder).author());
        let intents: Vec<_> = (0..*count).map(|n| (intent(events.len() + n), key(9).author())).collect();
        let batch = grant.batch(head, &intents, &key(*holder)).unwrap();
        events.extend(batch.events().to_vec());
        head = batch.end();
        last = Epoch(*epoch);
    }
    (SpaceState { incarnation: LIFE, epoch: last, head }, events)
}

/// Links and signs everything from `from` on anew, as somebody who lies consistently would.
fn relink(events: &mut [Event], from: usize, holder: u8) {
    for n in from..events.len() {
        if n > 0 {
            events[n].prev = events[n - 1].hash;
        }
        events[n].hash = events[n].compute_hash(&space());
        if events[n].signature.is_some() {
            events[n].signature = Some(BatchSignature(key(holder).sign(&signed_words(&events[n].hash))));
        }
    }
}

fn check(events: &[Event]) -> Result<Head, Offence> {
    let mut verifier = Verifier::new(space(), LIFE);
    events.iter().try_for_each(|event| verifier.push(event))?;
    verifier.end()
}

#[test]
fn the_hashes_are_golden() {
    assert_eq!(
        Head::start(&space(), LIFE).hash.to_string(),
        "a1ea3f5bce2144537f77c1d9b633bd4682a76adb929904dfbfcd93cf63901c5d"
    );
    assert_eq!(
        intent(0).content().to_string(),
        "92b523a680950136e406bb56af57ca11d57f5417816358faa4646db243417b96"
    );
    let (_, events) = log(&[(1, 3, 2)]);
    assert_eq!(
        events[0].hash.to_string(),
        "49b99485c8a480d366b39394fc4b1afed29875e4b535a506ec0515805a2c0ccf"
    );
    assert_eq!(
        events[1].hash.to_string(),
        "81fb7054a85a9d142cf8f6db8e484914ac91b61b37940d79e14d3fd2fd1bd678"
    );
    let signature = events[1].signature.unwrap().0;
    let signature: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        signature,
        "a4e06f1bddb66b7b5555af68acc5286524c89fe0409cc0c605576595a748f227\
         9831b2392ed68a6995f6d309710273c0752ee10347a085af68f40397a89c9d09"
    );
    assert_eq!(events[0].signature, None, "one signature per batch, with its last event");
}

#[test]
fn what_the_hash_covers_is_as_it_is_drawn() {
    let (_, events) = log(&[(1, 3, 1)]);
    let event = &events[0];
    let mut bytes = b"gangline event 1\n".to_vec();
    let fields: [&[u8]; 9] = [
        b"team/a",
        &[0; 8],
        &[3, 0, 0, 0, 0, 0, 0, 0],
        b"intent-0",
        &event.author.0,
        &event.holder.0,
        b"ALIAS_SET",
        br#"{"alias":"0","target":"x:2"}"#,
        &event.prev.0,
    ];
    for field in fields {
        bytes.extend([u8::try_from(field.len()).unwrap(), 0, 0, 0]);
        bytes.extend(field);
    }
    assert_eq!(event.hash, Digest::of(&[&bytes]));
}

#[test]
fn an_honest_log_verifies() {
    let (state, events) = log(&[(1, 1, 3), (1, 1, 100), (2, 2, 1), (1, 7, 2)]);
    assert_eq!(verify(&space(), &state, events), Ok(state.head));
    let (state, _) = log(&[(1, 1, 1)]);
    let empty = SpaceState { head: Head::start(&space(), LIFE), ..state };
    assert_eq!(verify(&space(), &empty, []), Ok(empty.head));
}

#[test]
fn each_lie_is_named_at_the_first_event_that_tells_it() {
    let honest = || log(&[(1, 1, 3), (2, 2, 3), (1, 3, 3)]).1;

    let mut events = honest();
    events.remove(4);
    assert_eq!(check(&events), Err(Offence::Gap { expected: Seq(4), found: Seq(5) }));

    let mut events = honest();
    events[4].prev = events[0].hash;
    assert!(matches!(check(&events), Err(Offence::Chain { seq: Seq(4), .. })));

    let mut events = honest();
    events[4].payload = Payload::parse(b"{}").unwrap();
    assert!(matches!(check(&events), Err(Offence::Hash { seq: Seq(4), .. })));

    let mut events = honest();
    events[3..6].iter_mut().for_each(|event| event.payload = Payload::parse(b"{}").unwrap());
    relink(&mut events, 3, 1);
    assert!(matches!(check(&events), Err(Offence::Forged { seq: Seq(5), .. })));

    let mut events = honest();
    events[6..].iter_mut().for_each(|event| event.epoch = Epoch(1));
    relink(&mut events, 6, 1);
    let fell = Offence::EpochFell { seq: Seq(6), before: Epoch(2), found: Epoch(1) };
    assert_eq!(check(&events), Err(fell));

    let mut events = honest();
    events[6..].iter_mut().for_each(|event| event.epoch = Epoch(2));
    relink(&mut events, 6, 1);
    assert!(matches!(check(&events), Err(Offence::TwoHolders { seq: Seq(6), epoch: Epoch(2), .. })));

    let mut events = honest();
    events[2].signature = None;
    assert_eq!(check(&events), Err(Offence::Unsigned { seq: Seq(0) }));
    let mut events = honest();
    events[8].signature = None;
    assert_eq!(check(&events), Err(Offence::Unsigned { seq: Seq(6) }));

    let mut events = honest();
    events[7].id = events[0].id.clone();
    relink(&mut events, 7, 1);
    assert!(matches!(check(&events), Err(Offence::IntentTwice { seq: Seq(7), .. })));

    let (state, mut events) = log(&[(1, 1, 3), (2, 2, 3)]);
    events.truncate(3);
    assert!(matches!(verify(&space(), &state, events), Err(Offence::OtherEnd { .. })));

    let (state, events) = log(&[(1, 1, 3), (2, 2, 3)]);
    let sealed_lower = SpaceState { epoch: Epoch(1), ..state };
    assert!(matches!(verify(&space(), &sealed_lower, events), Err(Offence::EpochFell { .. })));
}

#[test]
fn a_log_of_another_space_or_life_is_none() {
    let (state, events) = log(&[(1, 1, 3)]);
    let other_space = SpaceName::new("team/b").unwrap();
    assert!(matches!(verify(&other_space, &state, events.clone()), Err(Offence::Chain { seq: Seq(0), .. })));
    let other_life = SpaceState { incarnation: Incarnation([0x12; 16]), ..state };
    assert!(matches!(verify(&space(), &other_life, events), Err(Offence::Chain { seq: Seq(0), .. })));
}

#[test]
fn no_signature_covers_more_than_a_batch() {
    let grant = Grant::new(space(), LIFE, Epoch(1), key(1).author());
    let intents: Vec<_> = (0..=BATCH_EVENTS_MAX).map(|n| (intent(n), key(9).author())).collect();
    let batch = grant.batch(Head::start(&space(), LIFE), &intents, &key(1)).unwrap();
    assert_eq!(check(batch.events()), Err(Offence::Unsigned { seq: Seq(0) }));
    let batch = grant.batch(Head::start(&space(), LIFE), &intents[1..], &key(1)).unwrap();
    assert_eq!(check(batch.events()), Ok(batch.end()));
}

proptest! {
    #[test]
    fn any_change_of_any_field_shows(at in 0..9_usize, field in 0..10_usize, byte in 1..=255_u8) {
        let mut events = log(&[(1, 1, 3), (2, 2, 3), (1, 3, 3)]).1;
        let honest = events.clone();
        let event = &mut events[at];
        match field {
            0 => event.seq = Seq(event.seq.0 ^ u64::from(byte)),
            1 => event.epoch = Epoch(event.epoch.0 ^ u64::from(byte)),
            2 => event.id = IntentId::new("another").unwrap(),
            3 => event.author.0[7] ^= byte,
            4 => event.holder.0[7] ^= byte,
            5 => event.kind = EventType::new("ANOTHER").unwrap(),
            6 => event.payload = Payload::parse(b"{}").unwrap(),
            7 => event.prev.0[7] ^= byte,
            8 => event.hash.0[7] ^= byte,
            _ => match &mut event.signature {
                Some(signature) => signature.0[7] ^= byte,
                // Moved from the end of the batch to its middle.
                None => event.signature = honest.iter().find_map(|event| event.signature),
            },
        }
        prop_assert!(check(&honest).is_ok());
        prop_assert!(check(&events).is_err());
    }
}
