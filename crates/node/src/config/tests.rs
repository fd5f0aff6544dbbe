//! Settings from every source: what wins, what is refused, and what the refusal says.

mod reconcile;

use super::*;

const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fn resolve(flags: &Flags, env: &[(&str, &str)], text: &str) -> Result<Settings, Vec<String>> {
    let lookup = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    Settings::resolve(flags, &lookup, Some(("gangline.toml", text)))
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn check_mistakes(text: &str, expected: &[&str]) {
    let mistakes = resolve(&Flags::default(), &[], text).expect_err("the file has mistakes");
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    for (mistake, expected) in mistakes.iter().zip(expected) {
        assert!(mistake.contains(expected), "expected {expected:?} in {mistake:?}");
    }
}

#[test]
fn the_seeds_file_works_unchanged() {
    let text = "rendezvous = \"ws://remote:3001/crdt-sync\"\n\n[[agent]]\nname = \"coder-1\"\n";
    let settings = resolve(&Flags::default(), &[], text).unwrap();
    assert_eq!(settings.rendezvous.value, ["ws://remote:3001/crdt-sync"]);
    assert_eq!(settings.agents.value, ["coder-1"]);
    assert_eq!(settings.listen, Sourced::default("127.0.0.1:3001".into()));
    let several = "rendezvous = [\"ws://a:1/crdt-sync\", \"ws://b:2/crdt-sync\"]";
    assert_eq!(resolve(&Flags::default(), &[], several).unwrap().rendezvous.value.len(), 2);
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let file = "# settings\nlisten = \"127.0.0.1:1\"\n";
    let origin = |flags: &Flags, env: &[(&str, &str)], text: &str| {
        let listen = resolve(flags, env, text).unwrap().listen;
        format!("{} {}", listen.value, listen.origin)
    };
    let flags = Flags { listen: Some("127.0.0.1:3".into()), ..Flags::default() };
    let env = [("GANGLINE_LISTEN", "127.0.0.1:2")];
    assert_eq!(origin(&flags, &env, file), "127.0.0.1:3 --listen");
    assert_eq!(origin(&Flags::default(), &env, file), "127.0.0.1:2 GANGLINE_LISTEN");
    assert_eq!(origin(&Flags::default(), &[], file), "127.0.0.1:1 gangline.toml:2");
    assert_eq!(origin(&Flags::default(), &[], ""), "127.0.0.1:3001 default");
}

#[test]
fn unknown_keys_have_a_place_and_a_suggestion() {
    check_mistakes(
        "listne = \"x\"\npeers = \"ws://a:1/b\"\n[limits]\nbody_byte_max = 1\n[[agent]]\nnmae = \"x\"\n",
        &[
            "gangline.toml:1: unknown key `listne`; did you mean `listen`?",
            "gangline.toml:2: unknown key `peers`; did you mean `rendezvous`?",
            "gangline.toml:4: unknown key `limits.body_byte_max`; did you mean `limits.body_bytes_max`?",
            "gangline.toml:5: an agent needs a `name`",
            "gangline.toml:6: unknown key `agent.nmae`; did you mean `agent.name`?",
        ],
    );
}

#[test]
fn logs_and_leases_have_usable_defaults() {
    let logs = resolve(&Flags::default(), &[], "").unwrap().logs;
    assert_eq!((logs.backend.value, logs.registry.value), (LogBackend::Sqlite, LeaseKeeper::Store));
    assert_eq!(logs.lease(), gangline_lease::LeaseSettings::default());
    let text = "[log_store]\npath = \"/l\"\n[lease]\nttl = \"1s\"\nadvertise = \"https://a:1/\"\n";
    let logs = resolve(&Flags::default(), &[], text).unwrap().logs;
    assert_eq!(logs.path.value.as_deref(), Some(std::path::Path::new("/l")));
    assert_eq!(logs.advertise.value.as_deref(), Some("https://a:1"));
    for ttl in ["1s", "7s", "1h"] {
        let logs = resolve(&Flags::default(), &[], &format!("[lease]\nttl = \"{ttl}\"")).unwrap().logs;
        assert_eq!(logs.lease().check(), Ok(()), "the margin goes with the ttl");
    }
}

#[test]
fn leases_that_are_not_safe_are_refused() {
    for (text, mistake) in [
        ("[lease]\nttl = \"999ms\"", "gangline.toml:2: `lease.ttl` = \"999ms\" is not safe"),
        ("[lease]\nttl = \"2h\"", "gangline.toml:2: `lease.ttl` = \"2h\" is not safe"),
        ("[lease]\nttl = 10", "gangline.toml:2: `lease.ttl` is a time such as"),
        ("[lease]\ntll = \"1s\"", "unknown key `lease.tll`; did you mean `lease.ttl`?"),
        ("lease = 1", "`lease` is a table"),
        ("log_store = 1", "`log_store` is a table"),
        ("[log_store]\nbackend = \"sqlit\"", "is not known; did you mean \"sqlite\"?"),
        (
            "[log_store]\nbackend = \"memory\"\npath = \"x\"",
            "gangline.toml:3: `log_store.path` means nothing",
        ),
        ("[log_store]\npath = \"\"", "`log_store.path` is empty"),
        ("[lease]\ncoordinator = \"http://a:1\"", "means nothing without registry = \"node\""),
        ("[lease]\nfollow = \"*\"", "`lease.follow` means nothing without"),
        ("[lease]\nadvertise = \"ws://a:1\"", "does not begin with http:// or https://"),
        ("[lease]\nadvertise = \"http://a:1/x\"", "goes on behind the port"),
        ("[lease]\nadvertise = \"http://0.0.0.0:1\"", "is no address that can be reached"),
        ("[lease]\nadvertise = \"http://a:99999\"", "is not the URL of a node"),
        (
            "listen = \"0.0.0.0:1\"\ninsecure = true\n[log_store]\npath = \"x\"",
            "gangline.toml:4: this node listens on all addresses",
        ),
    ] {
        check_mistakes(text, &[mistake]);
    }
    check_mistakes(
        "[lease]\nregistry = \"node\"\nfollow = [\"a b\"]",
        &[
            "gangline.toml:2: `lease.registry` = \"node\" wants to know which",
            "gangline.toml:3: `lease.follow` has \"a b\"",
        ],
    );
    let open = "listen = \"0.0.0.0:1\"\ninsecure = true";
    assert!(resolve(&Flags::default(), &[], open).is_ok(), "a log of one's own is nobody else's");
}

#[test]
fn wrong_types_and_broken_files_have_a_line() {
    check_mistakes("\nlisten = 3001\n", &["gangline.toml:2: `listen` is a string, found integer"]);
    check_mistakes("rendezvous = [1]", &["`rendezvous` is a string, found integer"]);
    check_mistakes("[agent]\nname = \"x\"", &["two brackets: [[agent]]"]);
    check_mistakes("a = 1\nb = = 2\n", &["gangline.toml:2: "]);
    check_mistakes(
        "[limits]\nheader_timeout = 10\n",
        &["gangline.toml:2: `limits.header_timeout`: `10` is not a time"],
    );
    check_mistakes("[limits]\nbody_bytes_max = 1\n", &["below \"1KiB\", the least it may be"]);
    check_mistakes(
        "[[agent]]\nname=\"a\"\n[[agent]]\nname=\"a\"\n",
        &["gangline.toml:4: two agents are called `a`"],
    );
    check_mistakes("insecure = \"yes\"", &["`insecure` is true or false, found string"]);
}

#[test]
fn trust_takes_names_with_keys() {
    let text = format!("[trust]\nswift-otter = \"ed25519:{KEY}\"\nallow_v1 = true\n");
    let settings = resolve(&Flags::default(), &[], &text).unwrap();
    let listed: Vec<_> = settings.trusted.value.values().collect();
    assert_eq!((listed.len(), listed[0].name.as_str()), (1, "swift-otter"));
    assert_eq!(listed[0].rights, gangline_trust::Rights::MEMBER);
    assert!(settings.allow_v1.value);
    let turned = format!("[trust]\n{KEY} = \"swift-otter\"\n");
    assert_eq!(resolve(&Flags::default(), &[], &turned).unwrap().trusted.value, settings.trusted.value);
    check_mistakes(
        "[trust]\nalow_v1 = true\n",
        &["`trust.alow_v1` is not a public key; did you mean `allow_v1`?"],
    );
    check_mistakes(
        "[trust]\nbob = \"12\"\n",
        &["gangline.toml:2: `trust.bob` is not a public key; a name and"],
    );
    check_mistakes(&format!("[trust]\na = \"{KEY}\"\nb = \"{KEY}\"\n"), &["`a` and `b` are one key"]);
}

#[test]
fn trust_takes_tables_with_rights() {
    let text = format!("[trust]\nbob = {{ key = \"ed25519:{KEY}\", may = [\"connect\", \"read\"] }}\n");
    let settings = resolve(&Flags::default(), &[], &text).unwrap();
    assert_eq!(settings.trusted.value.values().next().unwrap().rights, gangline_trust::Rights::READER);
    let member = format!("[trust.bob]\nkey = \"{KEY}\"\n");
    let settings = resolve(&Flags::default(), &[], &member).unwrap();
    assert_eq!(settings.trusted.value.values().next().unwrap().rights, gangline_trust::Rights::MEMBER);
    check_mistakes(
        &format!("[trust.bob]\nkey = \"{KEY}\"\nmay = [\"wirte\", \"fly\"]\n"),
        &[
            "gangline.toml:3: `trust.bob.may` has `wirte`, which is no right; did you mean `write`?",
            "`trust.bob.may` has `fly`, which is no right; known here: connect, read, write, invite",
        ],
    );
    check_mistakes("[trust.bob]\nmay = [\"read\"]\n", &["`trust.bob` names no `key`"]);
    check_mistakes("[trust.bob]\nkey = \"12\"\n", &["gangline.toml:2: `trust.bob.key` is not a public key"]);
    check_mistakes(&format!("[trust.bob]\nkey = \"{KEY}\"\nmay = []\n"), &["the key may nothing"]);
    check_mistakes(
        &format!("[trust.bob]\nkey = \"{KEY}\"\nmya = []\n"),
        &["gangline.toml:3: unknown key `trust.bob.mya`; did you mean `trust.bob.may`?"],
    );
}

#[test]
fn a_certificate_comes_from_files_or_from_the_node() {
    let tls = |text: &str| resolve(&Flags::default(), &[], text).unwrap().tls.value;
    assert_eq!(tls(""), None);
    assert_eq!(tls("[tls]\nself_signed = true"), Some(TlsSettings::SelfSigned));
    let files = TlsSettings::Files { cert: "c.pem".into(), key: "k.pem".into() };
    assert_eq!(tls("[tls]\ncert = \"c.pem\"\nkey = \"k.pem\""), Some(files));
    for (text, mistake) in [
        ("[tls]\n", "`tls` names no certificate; write cert and key"),
        ("[tls]\ncert = \"c\"\n", "`tls.cert` stands without `tls.key`"),
        ("[tls]\nkey = \"k\"\n", "`tls.key` stands without `tls.cert`"),
        ("[tls]\nself_signed = true\ncert = \"c\"\nkey = \"k\"\n", "stands beside files"),
        ("[tls]\nself_singed = true\n", "unknown key `tls.self_singed`; did you mean `tls.self_signed`?"),
        ("tls = true\n", "`tls` is a table"),
    ] {
        check_mistakes(text, &[mistake]);
    }
}

#[test]
fn peers_are_checked() {
    let peer = |url: &str| {
        let flags = Flags { peers: vec![url.into()], ..Flags::default() };
        resolve(&flags, &[], "").map(|_| ()).map_err(|mistakes| mistakes.join(" "))
    };
    assert_eq!(peer("ws://127.0.0.1:3001/crdt-sync"), Ok(()));
    let pinned = format!("wss://a:1/crdt-sync#sha256={}", "5e".repeat(32));
    assert_eq!(peer(&pinned), Ok(()));
    assert!(peer("wss://a#sha256=5e").unwrap_err().contains("is no pin of a certificate"));
    assert!(peer("https://a:1/crdt-sync").unwrap_err().ends_with("did you mean wss://a:1/crdt-sync?"));
    assert!(peer("http://a:1/crdt-sync").unwrap_err().ends_with("did you mean ws://a:1/crdt-sync?"));
    assert!(peer("127.0.0.1:3001").unwrap_err().starts_with("--peer: "));
    assert!(peer("127.0.0.1:3001").unwrap_err().ends_with("for example ws://127.0.0.1:3001/crdt-sync"));
    assert!(peer("ws:///x").is_err());
}

#[test]
fn off_loopback_wants_a_trust_list_or_an_explicit_word() {
    let refusal = |text: &str| resolve(&Flags::default(), &[], text).unwrap().refusal(false);
    assert_eq!(refusal(""), None);
    assert_eq!(refusal("listen = \"[::1]:0\""), None);
    assert_eq!(refusal("listen = \"0.0.0.0:1\"\ninsecure = true"), None);
    assert_eq!(refusal(&format!("listen = \"0.0.0.0:1\"\n[trust]\na = \"{KEY}\"")), None);
    let invited = resolve(&Flags::default(), &[], "listen = \"0.0.0.0:1\"").unwrap();
    assert_eq!(invited.refusal(true), None, "who was invited is a list too");
    let mistake = refusal("listen = \"0.0.0.0:1\"").expect("refused").to_string();
    for part in ["gangline invite", "[trust]", "insecure = true", "gangline key show", "gangline.toml:1"] {
        assert!(mistake.contains(part), "{mistake}");
    }
    assert!(
        refusal("listen = \"0.0.0.0:1\"\n[trust]\nallow_v1 = true").is_some(),
        "an empty list is no list"
    );
}

#[test]
fn environment_is_checked_too() {
    let mistakes = resolve(&Flags::default(), &[("GANGLINE_INSECURE", "maybe")], "").unwrap_err();
    assert_eq!(mistakes, ["GANGLINE_INSECURE: `maybe` is neither true nor false"]);
    let settings =
        resolve(&Flags::default(), &[("GANGLINE_RENDEZVOUS", "ws://a:1/x, ws://b:1/x")], "").unwrap();
    assert_eq!(settings.rendezvous.value, ["ws://a:1/x", "ws://b:1/x"]);
}
