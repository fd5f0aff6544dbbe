//! Messages: their bytes are fixed, everything comes back as it was, and nothing else is understood.

use std::{sync::Arc, time::Duration};

use bft_json_crdt::{AuthorId, Digest, Keypair};
use proptest::prelude::*;

use super::{
    METHODS,
    codec::Wire,
    errors::Said,
    request::{Draft, Request},
};
use crate::{
    Access, AcquireError, AppendFailed, Ask, Batch, BatchSignature, Epoch, Event, EventType, Forward, Grant,
    Head, Incarnation, Intent, IntentId, Lease, Payload, Place, Placed, Reach, ReadLimit, Refused,
    RegistryError, RenewError, Reply, SealError, Seq, SpaceName, SpaceState, StoreError, Written,
    grant::BatchRefused,
    limits::{
        BATCH_BYTES_MAX, BATCH_EVENTS_MAX, MESSAGE_BYTES_MAX, PAYLOAD_BYTES_MAX, REMOTE_BYTES_MAX,
        REMOTE_EVENTS_MAX, SPACE_BYTES_MAX, URL_BYTES_MAX, WORD_BYTES_MAX,
    },
};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..300_u64, any::<u64>(), Just(u64::MAX), Just(1 << 63)]
}

fn seq() -> impl Strategy<Value = Seq> {
    number().prop_map(Seq)
}

fn epoch() -> impl Strategy<Value = Epoch> {
    number().prop_map(Epoch)
}

fn time() -> impl Strategy<Value = Duration> {
    number().prop_map(Duration::from_millis)
}

fn key() -> impl Strategy<Value = AuthorId> {
    any::<[u8; 32]>().prop_map(AuthorId)
}

fn hash() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    any::<[u8; 16]>().prop_map(Incarnation)
}

fn signature() -> impl Strategy<Value = BatchSignature> {
    (any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(one, two)| {
        let mut bytes = [0; 64];
        bytes.iter_mut().zip(one.into_iter().chain(two)).for_each(|(out, byte)| *out = byte);
        BatchSignature(bytes)
    })
}

fn space() -> impl Strategy<Value = SpaceName> {
    "[a-z0-9./:-]{1,128}".prop_map(|name| SpaceName::new(&name).unwrap())
}

fn id() -> impl Strategy<Value = IntentId> {
    "[A-Z0-9._-]{1,64}".prop_map(|id| IntentId::new(&id).unwrap())
}

fn intent() -> impl Strategy<Value = Intent> {
    (id(), "[A-Z_]{1,64}", "[a-zäß\"\\\\ ]{0,40}").prop_map(|(id, kind, text)| {
        let json = format!("{{\"text\":{:?}}}", text);
        Intent { id, kind: EventType::new(&kind).unwrap(), payload: Payload::parse(json.as_bytes()).unwrap() }
    })
}

fn reach() -> impl Strategy<Value = Reach> {
    (key(), proptest::option::of(".{0,300}")).prop_map(|(node, url)| Reach { node, url })
}

fn head() -> impl Strategy<Value = Head> {
    (seq(), hash()).prop_map(|(next, hash)| Head { next, hash })
}

fn state() -> impl Strategy<Value = SpaceState> {
    (incarnation(), epoch(), head()).prop_map(|(incarnation, epoch, head)| SpaceState {
        incarnation,
        epoch,
        head,
    })
}

fn placed() -> impl Strategy<Value = Placed> {
    (seq(), epoch(), hash(), hash()).prop_map(|(seq, epoch, hash, content)| Placed {
        seq,
        epoch,
        hash,
        content,
    })
}

fn lease() -> impl Strategy<Value = Lease> {
    (reach(), epoch(), time()).prop_map(|(holder, epoch, left)| Lease { holder, epoch, left })
}

fn event() -> impl Strategy<Value = Event> {
    let signature = proptest::option::of(signature());
    (seq(), epoch(), intent(), (key(), key()), (hash(), hash()), signature).prop_map(
        |(seq, epoch, intent, (author, holder), (prev, hash), signature)| {
            let Intent { id, kind, payload } = intent;
            Event { seq, epoch, id, author, holder, kind, payload, prev, hash, signature }
        },
    )
}

fn access() -> impl Strategy<Value = Access> {
    let moved = "[a-z:/.]{1,300}".prop_map(|to| Access::Moved { to: Place::new(&to).unwrap() });
    prop_oneof![Just(Access::Open), Just(Access::Copy), moved]
}

fn store_error() -> impl Strategy<Value = StoreError> {
    let source = |text: String| Arc::new(Said(text));
    prop_oneof![
        (".{0,40}", ".{0,40}")
            .prop_map(move |(place, text)| StoreError::Refused { place, source: source(text) }),
        (".{0,40}", ".{0,40}")
            .prop_map(move |(place, text)| StoreError::Unknown { place, source: source(text) }),
        (".{0,40}", ".{0,40}").prop_map(|(place, what)| StoreError::Damaged { place, what }),
    ]
}

fn registry_error() -> impl Strategy<Value = RegistryError> {
    (".{0,40}", ".{0,40}").prop_map(|(place, text)| RegistryError { place, source: Arc::new(Said(text)) })
}

fn seal_error() -> impl Strategy<Value = SealError> {
    prop_oneof![
        (epoch(), epoch()).prop_map(|(presented, current)| SealError::NotAbove { presented, current }),
        access().prop_map(|access| SealError::Closed { access }),
        Just(SealError::Absent),
        store_error().prop_map(SealError::Store),
    ]
}

fn append_failed() -> impl Strategy<Value = AppendFailed> {
    prop_oneof![
        (epoch(), epoch()).prop_map(|(presented, current)| AppendFailed::Fenced { presented, current }),
        (head(), head()).prop_map(|(expected, head)| AppendFailed::Moved { expected, head }),
        (incarnation(), proptest::option::of(incarnation()))
            .prop_map(|(expected, found)| AppendFailed::OtherLife { expected, found }),
        store_error().prop_map(AppendFailed::Store),
    ]
}

fn written() -> impl Strategy<Value = Written> {
    prop_oneof![
        head().prop_map(Written::Done),
        proptest::collection::vec((0..BATCH_EVENTS_MAX, placed()), 0..5).prop_map(Written::Duplicate),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let refused = prop_oneof![
        placed().prop_map(Refused::IdReused),
        ".{0,40}".prop_map(Refused::Diverged),
        access().prop_map(Refused::Closed),
        Just(Refused::Busy),
        ".{0,40}".prop_map(Refused::Forbidden),
    ];
    prop_oneof![
        placed().prop_map(Reply::Done),
        placed().prop_map(Reply::Known),
        proptest::option::of(lease()).prop_map(Reply::Redirect),
        refused.prop_map(Reply::Refused),
        Just(Reply::Unknown),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let forward = (space(), intent(), key(), epoch(), any::<u8>());
    let intents = proptest::collection::vec((intent(), key()), 0..6);
    let draft = (space(), incarnation(), epoch(), head(), intents, signature());
    let size = || number().prop_map(|size| usize::try_from(size).unwrap());
    prop_oneof![
        forward.prop_map(|(space, intent, author, epoch, hops)| Request::Forward(Forward {
            space,
            intent,
            author,
            epoch,
            hops
        })),
        (space(), reach(), time(), epoch()).prop_map(|(space, holder, ttl, above)| Request::Acquire {
            space,
            ask: Ask { holder, ttl, above }
        }),
        (space(), key(), epoch(), time()).prop_map(|(space, node, epoch, ttl)| Request::Renew {
            space,
            node,
            epoch,
            ttl
        }),
        (space(), key(), epoch()).prop_map(|(space, node, epoch)| Request::Release { space, node, epoch }),
        space().prop_map(|space| Request::Lease { space }),
        (space(), epoch(), incarnation()).prop_map(|(space, epoch, first)| Request::Seal {
            space,
            epoch,
            first
        }),
        draft.prop_map(|(space, incarnation, epoch, head, intents, signature)| Request::Append(Draft {
            space,
            incarnation,
            epoch,
            head,
            intents,
            signature
        })),
        space().prop_map(|space| Request::State { space }),
        space().prop_map(|space| Request::Access { space }),
        (space(), seq(), size(), size()).prop_map(|(space, from, count, bytes)| Request::Read {
            space,
            from,
            limit: ReadLimit { count, bytes }
        }),
        (space(), id()).prop_map(|(space, id)| Request::Find { space, id }),
        (proptest::option::of(space()), size()).prop_map(|(after, count)| Request::Spaces { after, count }),
        (proptest::option::of(space()), size()).prop_map(|(after, count)| Request::States { after, count }),
    ]
}

/// Comes back as it was, and no shorter or longer message means the same. Errors have no equality: their words and
/// bytes have.
fn check<T: Wire + std::fmt::Debug>(value: &T) {
    let bytes = value.encode();
    let back = T::decode(&bytes).unwrap();
    assert_eq!(format!("{back:?}"), format!("{value:?}"));
    assert_eq!(back.encode(), bytes);
    for cut in [bytes.len().saturating_sub(1), bytes.len() / 2] {
        assert!(cut == bytes.len() || T::decode(&bytes[..cut]).is_err(), "cut after {cut} bytes");
    }
    assert!(T::decode(&[bytes.as_slice(), &[0]].concat()).is_err(), "something follows");
}

/// Whatever is understood has these bytes and no others.
fn only_one_spelling<T: Wire>(bytes: &[u8]) {
    if let Ok(value) = T::decode(bytes) {
        assert_eq!(value.encode(), bytes);
    }
}

fn all_replies(bytes: &[u8]) {
    only_one_spelling::<Reply>(bytes);
    only_one_spelling::<Result<Lease, AcquireError>>(bytes);
    only_one_spelling::<Result<(), RenewError>>(bytes);
    only_one_spelling::<Result<(), RegistryError>>(bytes);
    only_one_spelling::<Result<Option<Lease>, RegistryError>>(bytes);
    only_one_spelling::<Result<SpaceState, SealError>>(bytes);
    only_one_spelling::<Result<Written, AppendFailed>>(bytes);
    only_one_spelling::<Result<Option<SpaceState>, StoreError>>(bytes);
    only_one_spelling::<Result<Option<Access>, StoreError>>(bytes);
    only_one_spelling::<Result<Vec<Event>, StoreError>>(bytes);
    only_one_spelling::<Result<Option<Placed>, StoreError>>(bytes);
    only_one_spelling::<Result<Vec<SpaceName>, StoreError>>(bytes);
    only_one_spelling::<Result<Vec<(SpaceName, SpaceState)>, StoreError>>(bytes);
}

proptest! {
    #[test]
    fn requests_come_back_as_they_were(request in request()) {
        let body = request.body();
        prop_assert!(METHODS.contains(&request.method()));
        prop_assert_eq!(Request::decode(request.method(), &body).unwrap(), request.clone());
        prop_assert!(Request::decode(request.method(), &[body.as_slice(), &[0]].concat()).is_err());
        prop_assert!(Request::decode(request.method(), &body[..body.len() - 1]).is_err());
    }

    #[test]
    fn replies_come_back_as_they_were(
        reply in reply(),
        lease in lease(),
        state in state(),
        access in access(),
        placed in placed(),
        written in written(),
        events in proptest::collection::vec(event(), 0..5),
        spaces in proptest::collection::vec(space(), 0..5),
        epoch in epoch(),
    ) {
        check(&reply);
        check::<Result<Lease, AcquireError>>(&Ok(lease.clone()));
        check::<Result<Lease, AcquireError>>(&Err(AcquireError::Held(lease.clone())));
        check::<Result<Option<Lease>, RegistryError>>(&Ok(Some(lease)));
        check::<Result<(), RenewError>>(&Ok(()));
        check::<Result<(), RenewError>>(&Err(RenewError::Lost { epoch }));
        check::<Result<SpaceState, SealError>>(&Ok(state));
        check::<Result<Option<SpaceState>, StoreError>>(&Ok(None));
        check::<Result<Option<Access>, StoreError>>(&Ok(Some(access)));
        check::<Result<Option<Placed>, StoreError>>(&Ok(Some(placed)));
        check::<Result<Written, AppendFailed>>(&Ok(written));
        check::<Result<Vec<Event>, StoreError>>(&Ok(events));
        check::<Result<Vec<(SpaceName, SpaceState)>, StoreError>>(
            &Ok(spaces.iter().map(|name| (name.clone(), state)).collect()),
        );
        check::<Result<Vec<SpaceName>, StoreError>>(&Ok(spaces));
    }

    #[test]
    fn errors_come_back_as_they_were(
        store in store_error(),
        registry in registry_error(),
        seal in seal_error(),
        append in append_failed(),
    ) {
        check::<Result<Option<Placed>, StoreError>>(&Err(store));
        check::<Result<(), RegistryError>>(&Err(registry.clone()));
        check::<Result<Lease, AcquireError>>(&Err(registry.clone().into()));
        check::<Result<(), RenewError>>(&Err(registry.into()));
        check::<Result<SpaceState, SealError>>(&Err(seal));
        check::<Result<Written, AppendFailed>>(&Err(append));
    }

    #[test]
    fn nothing_else_is_understood(bytes in proptest::collection::vec(any::<u8>(), 0..200), method in 14..30_u32) {
        all_replies(&bytes);
        if let Ok(request) = Request::decode(method, &bytes) {
            prop_assert_eq!((request.method(), request.body()), (method, bytes));
        }
    }

    /// Close to what is good, where the limits are.
    #[test]
    fn a_flipped_byte_is_another_message_or_none(
        request in request(),
        reply in reply(),
        event in event(),
        at in any::<prop::sample::Index>(),
        with in 1..=255_u8,
    ) {
        let mut body = request.body();
        let at_body = at.index(body.len());
        body[at_body] ^= with;
        if let Ok(other) = Request::decode(request.method(), &body) {
            prop_assert_eq!(other.body(), body);
            prop_assert_ne!(other, request);
        }
        for mut bytes in [reply.encode(), Ok::<_, StoreError>(vec![event]).encode()] {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
            all_replies(&bytes);
        }
    }
}

fn word<T>(make: impl Fn(&str) -> T, bytes: usize) -> T {
    make(&"x".repeat(bytes))
}

fn payload(bytes: usize) -> Payload {
    let form = format!("{{\"x\":\"{}\"}}", "y".repeat(bytes - 8));
    Payload::parse(form.as_bytes()).unwrap()
}

/// An event or an intent with everything as long as it may be, but for the payload.
fn longest(payload: Payload) -> Event {
    Event {
        seq: Seq(u64::MAX),
        epoch: Epoch(u64::MAX),
        id: word(|id| IntentId::new(id).unwrap(), WORD_BYTES_MAX),
        author: AuthorId([1; 32]),
        holder: AuthorId([2; 32]),
        kind: word(|kind| EventType::new(kind).unwrap(), WORD_BYTES_MAX),
        payload,
        prev: Digest([3; 32]),
        hash: Digest([4; 32]),
        signature: Some(BatchSignature([5; 64])),
    }
}

#[test]
fn the_largest_batch_and_the_largest_read_fit_a_call() {
    let events = vec![longest(payload(REMOTE_BYTES_MAX / REMOTE_EVENTS_MAX)); REMOTE_EVENTS_MAX];
    assert!(Ok::<_, StoreError>(events).encode().len() <= MESSAGE_BYTES_MAX);
    let one = Ok::<_, StoreError>(vec![longest(payload(PAYLOAD_BYTES_MAX)); REMOTE_BYTES_MAX >> 20]);
    assert!(one.encode().len() <= MESSAGE_BYTES_MAX);
    let bytes = BATCH_BYTES_MAX / BATCH_EVENTS_MAX;
    for (events, bytes) in [(BATCH_EVENTS_MAX, bytes), (2, PAYLOAD_BYTES_MAX), (1, PAYLOAD_BYTES_MAX)] {
        let Event { id, kind, payload, author, .. } = longest(payload(bytes));
        let draft = Draft {
            space: word(|name| SpaceName::new(name).unwrap(), SPACE_BYTES_MAX),
            incarnation: Incarnation([0; 16]),
            epoch: Epoch(u64::MAX),
            head: Head { next: Seq(u64::MAX), hash: Digest([0; 32]) },
            intents: vec![(Intent { id, kind, payload }, author); events],
            signature: BatchSignature([0; 64]),
        };
        assert!(Request::Append(draft).body().len() <= MESSAGE_BYTES_MAX);
    }
}

#[test]
fn limits_hold_before_anything_is_taken() {
    let place = Request::Lease { space: SpaceName::new("s").unwrap() };
    let mut long = vec![0x81, 0x01];
    long.extend([b'a'; 129]);
    let refused = Request::decode(place.method(), &long).unwrap_err().to_string();
    assert_eq!(refused, "the name of a space: 129, the limit is 128");
    // A count that its message cannot hold.
    let many = [&[0][..], &[0xff, 0x1f]].concat();
    let refused = Result::<Vec<Event>, StoreError>::decode(&many).unwrap_err().to_string();
    assert_eq!(refused, "the message ends in the middle of events");
    let more = [&[0][..], &[0x81, 0x20]].concat();
    let refused = Result::<Vec<Event>, StoreError>::decode(&more).unwrap_err().to_string();
    assert_eq!(refused, "events: 4097, the limit is 4096");
    for bad in ["80", "8000", "ffffffffffffffffff02", "ffffffffffffffffffff01"] {
        let bytes = bytes_of(bad);
        assert!(Seq::decode(&bytes).is_err(), "{bad}");
    }
    let reach = Reach { node: AuthorId([1; 32]), url: Some("u".repeat(URL_BYTES_MAX + 1)) };
    assert_eq!(Reach::decode(&reach.encode()).unwrap().url, None, "not told, instead of not understood");
    let error = StoreError::Damaged { place: "p".into(), what: "ä".repeat(2_000) };
    let StoreError::Damaged { what, .. } = StoreError::decode(&error.encode()).unwrap() else { panic!() };
    assert_eq!(what, "ä".repeat(512), "cut between characters");
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn draft(key: &Keypair) -> Draft {
    let space = SpaceName::new("s").unwrap();
    let life = Incarnation([7; 16]);
    let grant = Grant::new(space.clone(), life, Epoch(3), key.author());
    let intent = |id: &str| Intent {
        id: IntentId::new(id).unwrap(),
        kind: EventType::new("T").unwrap(),
        payload: Payload::parse(b"{}").unwrap(),
    };
    let intents = [(intent("a"), AuthorId([1; 32])), (intent("b"), AuthorId([2; 32]))];
    let batch = grant.batch(Head::start(&space, life), &intents, key).unwrap();
    Draft::of(&batch)
}

#[test]
fn bytes_are_fixed() {
    let space = SpaceName::new("s").unwrap();
    let node = AuthorId([0xaa; 32]);
    let a = "aa".repeat(32);
    let reach = Reach { node, url: Some("u".into()) };
    let golden = |request: &Request, method: u32, body: &str| {
        assert_eq!((request.method(), hex_of(&request.body())), (method, body.replace(' ', "")));
    };
    let Draft { intents, .. } = draft(&Keypair::from_seed(&[9; 32]));
    let forward = Forward {
        space: space.clone(),
        intent: intents[0].0.clone(),
        author: node,
        epoch: Epoch(300),
        hops: 1,
    };
    golden(&Request::Forward(forward), 16, &format!("0173 0161 0154 027b7d {a} ac02 01"));
    let ask = Ask { holder: reach.clone(), ttl: Duration::from_secs(10), above: Epoch(2) };
    golden(&Request::Acquire { space: space.clone(), ask }, 17, &format!("0173 {a} 010175 904e 02"));
    let (epoch, ttl) = (Epoch(2), Duration::from_millis(5));
    golden(&Request::Renew { space: space.clone(), node, epoch, ttl }, 18, &format!("0173 {a} 02 05"));
    golden(&Request::Release { space: space.clone(), node, epoch }, 19, &format!("0173 {a} 02"));
    golden(&Request::Lease { space: space.clone() }, 20, "0173");
    let first = Incarnation([0xbb; 16]);
    golden(
        &Request::Seal { space: space.clone(), epoch, first },
        21,
        &format!("0173 02 {}", "bb".repeat(16)),
    );
    let key = Keypair::from_seed(&[9; 32]);
    let (one, two) = ("01".repeat(32), "02".repeat(32));
    let start = Head::start(&space, Incarnation([7; 16])).hash;
    let signature = hex_of(&draft(&key).signature.0);
    assert!(signature.starts_with("8be4dac8"), "{signature}");
    golden(
        &Request::Append(draft(&key)),
        22,
        &format!(
            "0173 {} 03 00 {start} 02 0161 0154 027b7d {one} 0162 0154 027b7d {two} {signature}",
            "07".repeat(16)
        ),
    );
    golden(&Request::State { space: space.clone() }, 23, "0173");
    golden(&Request::Access { space: space.clone() }, 24, "0173");
    let limit = ReadLimit { count: 10, bytes: 1 << 20 };
    golden(&Request::Read { space: space.clone(), from: Seq(5), limit }, 25, "0173 05 0a 808040");
    golden(&Request::Find { space: space.clone(), id: IntentId::new("a").unwrap() }, 26, "0173 0161");
    golden(&Request::Spaces { after: Some(space), count: 1 }, 27, "010173 01");
    golden(&Request::Spaces { after: None, count: 0 }, 27, "00 00");
    golden(&Request::States { after: None, count: 300 }, 28, "00 ac02");

    let b = "bb".repeat(32);
    let placed = Placed { seq: Seq(1), epoch, hash: Digest([0xaa; 32]), content: Digest([0xbb; 32]) };
    let lease = Lease { holder: reach, epoch, left: Duration::from_millis(5) };
    let same = |bytes: Vec<u8>, hex: &str| assert_eq!(hex_of(&bytes), hex.replace(' ', ""));
    same(Reply::Done(placed).encode(), &format!("00 01 02 {a} {b}"));
    same(Reply::Redirect(Some(lease.clone())).encode(), &format!("01 01 {a} 010175 02 05"));
    same(Reply::Redirect(None).encode(), "01 00");
    same(Reply::Refused(Refused::Busy).encode(), "02 03");
    same(Reply::Unknown.encode(), "03");
    same(Reply::Known(placed).encode(), &format!("04 01 02 {a} {b}"));
    same(Err::<Lease, _>(AcquireError::Held(lease)).encode(), &format!("01 00 {a} 010175 02 05"));
    same(Ok::<(), RenewError>(()).encode(), "00");
    same(Err::<(), _>(RenewError::Lost { epoch }).encode(), "01 00 02");
    same(Err::<SpaceState, _>(SealError::Closed { access: Access::Copy }).encode(), "01 01 04636f7079");
    let duplicate = Written::Duplicate(vec![(1, placed)]);
    same(Ok::<_, AppendFailed>(duplicate).encode(), &format!("00 01 01 01 01 02 {a} {b}"));
    let unknown = StoreError::Unknown { place: "p".into(), source: Arc::new(Said("w".into())) };
    same(Err::<Written, _>(AppendFailed::Store(unknown)).encode(), "01 03 01 0170 0177");
    let moved = Access::Moved { to: Place::new("t").unwrap() };
    same(Ok::<_, StoreError>(Some(moved)).encode(), "00 01 076d6f7665642074");
}

/// What a coordinator computes from a draft is what the holder meant.
#[test]
fn a_batch_arrives_as_it_was() {
    let key = Keypair::from_seed(&[9; 32]);
    let draft = draft(&key);
    let batch = Batch::receive(draft.clone(), key.author()).unwrap();
    assert_eq!(Draft::of(&batch), draft);
    assert_eq!(batch.grant().holder(), key.author());
    assert_eq!(batch.events().len(), 2);
    assert_eq!(batch.end().next, Seq(2));
    let mut verifier = crate::Verifier::new(draft.space.clone(), draft.incarnation);
    batch.events().iter().for_each(|event| verifier.push(event).unwrap());
    assert_eq!(verifier.end().unwrap(), batch.end());
}

#[test]
fn only_what_the_holder_signed_is_a_batch() {
    let key = Keypair::from_seed(&[9; 32]);
    let mallory = Keypair::from_seed(&[8; 32]).author();
    let good = draft(&key);
    let forged = |draft: Draft, holder| {
        assert_eq!(Batch::receive(draft, holder), Err(BatchRefused::Forged { holder }))
    };
    forged(good.clone(), mallory);
    forged(Draft { space: SpaceName::new("t").unwrap(), ..good.clone() }, key.author());
    forged(
        Draft { incarnation: Incarnation([8; 16]), head: Head { next: Seq(1), ..good.head }, ..good.clone() },
        key.author(),
    );
    forged(Draft { head: Head { hash: Digest([0; 32]), ..good.head }, ..good.clone() }, key.author());
    forged(Draft { epoch: Epoch(4), ..good.clone() }, key.author());
    let mut swapped = good.clone();
    swapped.intents.swap(0, 1);
    forged(swapped, key.author());
    let mut other_author = good.clone();
    other_author.intents[0].1 = mallory;
    forged(other_author, key.author());
    let mut shorter = good.clone();
    shorter.intents.pop();
    forged(shorter, key.author());

    let none = Draft { intents: Vec::new(), ..good.clone() };
    assert_eq!(Batch::receive(none, key.author()), Err(BatchRefused::Empty));
    let no_epoch = Draft { epoch: Epoch::NONE, ..good.clone() };
    assert_eq!(Batch::receive(no_epoch, key.author()), Err(BatchRefused::NoEpoch));
    let mut twice = good.clone();
    twice.intents[1] = twice.intents[0].clone();
    let id = twice.intents[0].0.id.clone();
    assert_eq!(Batch::receive(twice, key.author()), Err(BatchRefused::IntentTwice(id)));
    let many = Draft { intents: vec![good.intents[0].clone(); BATCH_EVENTS_MAX + 1], ..good.clone() };
    assert!(matches!(Batch::receive(many, key.author()), Err(BatchRefused::TooLarge { .. })));
    let mut large = good;
    large.intents.iter_mut().for_each(|(intent, _)| intent.payload = payload(PAYLOAD_BYTES_MAX));
    large.intents.push(large.intents[0].clone());
    assert!(matches!(Batch::receive(large, key.author()), Err(BatchRefused::TooLarge { .. })));
}
