//! What is in the repository is what git expects there, and is checked: whose it is, whether it is what was written,
//! and that neither a lost index nor what a killed process leaves behind changes anything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use gangline_lease::{
    Access, Event, EventStore, EventType, Intent, IntentId, Offence, Payload, Place, ReadLimit, Seq,
    SpaceName, SpaceState, StoreError,
    conformance::{ManualClock, Member, Open, Team, block_on, intent},
    copying::copy,
    verify,
};
use gangline_store::{BootClock, GitLog, MemoryEventStore, MemoryLeaseRegistry, OpenGitLogError};

const ALL: ReadLimit = ReadLimit { count: 10_000, bytes: usize::MAX };

fn named(name: &str) -> SpaceName {
    SpaceName::new(name).unwrap()
}

fn space() -> SpaceName {
    named("team/Pages:1")
}

fn open(path: &Path) -> Result<GitLog, OpenGitLogError> {
    GitLog::open(path, BootClock::of("boot", ManualClock::new()))
}

fn team(path: &Path) -> Team {
    let (clock, path) = (ManualClock::new(), path.to_owned());
    let boot = BootClock::of("boot", Arc::clone(&clock) as _);
    let open: Open = Box::new(move || {
        let log = Arc::new(GitLog::open(&path, boot.clone()).unwrap());
        (Arc::clone(&log) as _, log as _)
    });
    Team::new(clock, open)
}

fn in_memory() -> Team {
    let clock = ManualClock::new();
    let (store, registry) = (MemoryEventStore::new(), MemoryLeaseRegistry::new(Arc::clone(&clock) as _));
    Team::new(clock, Box::new(move || (Arc::new(store.clone()), Arc::new(registry.clone()))))
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    git_with(dir, arguments, "")
}

/// Runs git, with what it reads.
fn git_with(dir: &Path, arguments: &[&str], input: &str) -> String {
    let file = dir.with_extension("input");
    fs::write(&file, input).unwrap();
    let mut git = Command::new("git");
    git.current_dir(dir).args(arguments).stdin(fs::File::open(&file).unwrap());
    // What the machine has configured is no part of a test.
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
    let output = git.output().expect("these tests need git");
    let [out, errors] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "git {arguments:?}: {out}{errors}");
    assert!(!errors.contains("warning"), "git {arguments:?}: {errors}");
    out
}

fn read(log: &GitLog, space: &SpaceName) -> Result<Vec<Event>, StoreError> {
    block_on(log.read(space, Seq(0), ALL))
}

fn state(log: &GitLog, space: &SpaceName) -> SpaceState {
    block_on(log.state(space)).unwrap().unwrap()
}

fn branch(repository: &Path) -> String {
    git(repository, &["for-each-ref", "--format=%(refname)", "refs/heads/gangline/log"]).trim().to_owned()
}

fn damage(answer: Result<Vec<Event>, StoreError>) -> String {
    match answer {
        Err(StoreError::Damaged { what, .. }) => what,
        other => panic!("damaged, but: {other:?}"),
    }
}

#[test]
fn people_read_a_log_with_git_and_copy_it_with_git() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("log.git");
    let team = team(&repository);
    let (alice, bob) = (team.member(1), team.member(2));
    for n in 0..3 {
        alice.append(&space(), &format!("i{n}")).unwrap();
    }
    bob.append(&space(), "forwarded").unwrap();
    let expected = team.verified(&space());
    assert_eq!(git(&repository, &["fsck", "--strict", "--full"]), "");
    let branch = branch(&repository);
    assert_eq!(branch, "refs/heads/gangline/log/team,+pages=1");
    let key = alice.node().to_string();
    let subjects = git(&repository, &["log", "--format=%an %s", &branch]);
    let line = |rest: &str| format!("{} team/Pages:1: {rest}\n", &key[..12]);
    let lines = [
        line("3 ALIAS_SET"),
        line("2 ALIAS_SET"),
        line("1 ALIAS_SET"),
        line("0 ALIAS_SET"),
        line("claim (epoch 1, next 0)"),
    ];
    assert_eq!(subjects, lines.concat());
    let trailers = "--format=%(trailers:key=Gangline-Intent,valueonly,separator=%x2c) %(trailers:key=Gangline-Next,valueonly)";
    assert_eq!(git(&repository, &["log", "-1", trailers, &branch]).trim(), "forwarded 4");
    let body = git(&repository, &["show", "--format=%b", &branch]);
    let event = format!(
        "{{\"seq\":3,\"type\":\"ALIAS_SET\",\"payload\":{{\"alias\":2,\"target\":\"x:forwarded\"}},\
         \"intent\":\"forwarded\",\"epoch\":1,\"author\":\"{}\",\"hash\":\"{}\"}}\n\n",
        bob.node(),
        expected[3].hash
    );
    assert!(body.starts_with(&event), "{body}");

    git(dir.path(), &["clone", "--bare", "--quiet", "log.git", "clone.git"]);
    git(dir.path(), &["clone", "--quiet", "--no-checkout", "log.git", "clone"]);
    let before = files(&dir.path().join("clone.git"));
    let clone = GitLog::open_readonly(&dir.path().join("clone.git")).unwrap();
    assert_eq!(block_on(clone.spaces(None, 10)).unwrap(), [space()]);
    let events = read(&clone, &space()).unwrap();
    assert_eq!(events, expected);
    assert_eq!(verify(&space(), &state(&clone, &space()), events).unwrap().next, Seq(4));
    assert!(block_on(clone.find(&space(), &intent("i1").id)).unwrap().is_some());
    let sealed = block_on(clone.seal(&space(), gangline_lease::Epoch(9), expected_life(&clone)));
    assert!(sealed.unwrap_err().to_string().contains("refused"));
    assert_eq!(files(&dir.path().join("clone.git")), before, "whoever only reads leaves nothing");
}

fn expected_life(log: &GitLog) -> gangline_lease::Incarnation {
    state(log, &space()).incarnation
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn repositories_of_others_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mine = at("mine.git");
    team(&mine).member(1).append(&space(), "a").unwrap();
    git(dir.path(), &["clone", "--bare", "--quiet", "mine.git", "clone.git"]);
    git(dir.path(), &["init", "--quiet", "tree"]);
    fs::create_dir(at("files")).unwrap();
    fs::write(at("files/text"), "a text").unwrap();
    for (name, why) in [
        ("clone.git", "has branches, and it was not this program"),
        ("tree", "is a working tree"),
        ("files", "has other files"),
    ] {
        let before: Vec<PathBuf> =
            files(&at(name)).into_iter().filter(|path| !path.ends_with("gangline/lock")).collect();
        let error = open(&at(name)).unwrap_err();
        assert!(
            matches!(error, OpenGitLogError::Foreign { .. }) && error.to_string().contains(why),
            "{error}"
        );
        let after: Vec<PathBuf> =
            files(&at(name)).into_iter().filter(|path| !path.ends_with("gangline/lock")).collect();
        assert_eq!(after, before);
    }
    git(&mine, &["config", "gangline.format", "2"]);
    let error = open(&mine).unwrap_err();
    assert!(matches!(error, OpenGitLogError::Newer { found: 2, known: 1, .. }), "{error}");

    git(dir.path(), &["init", "--bare", "--quiet", "empty.git"]);
    open(&at("empty.git")).unwrap();
    open(&at("empty.git")).unwrap();
}

/// Deleted, emptied, overwritten, cut: while a process has it open, and while none has.
#[test]
fn an_index_that_is_lost_or_damaged_changes_nothing() {
    type Harm = fn(&Path);
    let harms: [Harm; 5] = [
        |file| fs::remove_file(file).unwrap(),
        |file| fs::write(file, b"").unwrap(),
        |file| fs::write(file, vec![0x5a; 20_000]).unwrap(),
        |file| {
            fs::write(file, &fs::read(file).unwrap()[..fs::metadata(file).unwrap().len() as usize / 2])
                .unwrap()
        },
        |file| {
            let mut bytes = fs::read(file).unwrap();
            let from = bytes.len() / 3;
            bytes[from..].iter_mut().for_each(|byte| *byte ^= 0x55);
            fs::write(file, bytes).unwrap();
        },
    ];
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("log.git");
    let mut n = 0;
    for is_open in [false, true] {
        for (which, harm) in harms.iter().enumerate() {
            for ends in [&["db"][..], &["db-wal"], &["db", "db-wal", "lock"]] {
                let mut open_team = Some(team(&repository));
                let alice: Member = open_team.as_ref().unwrap().member(1);
                alice.append(&space(), &format!("i{n}")).unwrap();
                let (alice, team) = if is_open {
                    (Some(alice), open_team.unwrap())
                } else {
                    drop(alice);
                    drop(open_team.take());
                    (None, team(&repository))
                };
                let side = repository.join("gangline");
                let hit = fs::read_dir(&side).unwrap().map(|entry| entry.unwrap().path()).filter(|path| {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    name.starts_with("index-") && ends.iter().any(|end| name.ends_with(&format!(".{end}")))
                });
                hit.for_each(|path| harm(&path));
                let alice = alice.unwrap_or_else(|| team.member(1));
                for known in 0..=n {
                    let placed = alice.append(&space(), &format!("i{known}")).unwrap();
                    assert_eq!(placed.seq, Seq(known), "harm {which} to {ends:?}, open: {is_open}");
                }
                n += 1;
            }
        }
    }
    assert_eq!(team(&repository).verified(&space()).len() as u64, n);
}

#[test]
fn an_index_of_another_history_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("log.git");
    let team = team(&repository);
    let alice = team.member(1);
    for n in 0..4 {
        alice.append(&space(), &format!("i{n}")).unwrap();
    }
    drop(alice);
    // Somebody puts back an older commit, as a backup would be.
    let branch = branch(&repository);
    git(&repository, &["update-ref", &branch, &format!("{branch}~2")]);
    assert_eq!(team.verified(&space()).len(), 2);
    let log = open(&repository).unwrap();
    assert_eq!(block_on(log.find(&space(), &intent("i3").id)).unwrap(), None);
    assert_eq!(team.member(2).append(&space(), "i3").unwrap().seq, Seq(2));
    assert_eq!(team.verified(&space()).len(), 3);
}

#[test]
fn what_a_killed_process_leaves_behind_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("log.git");
    let team = team(&repository);
    let alice = team.member(1);
    alice.append(&space(), "a").unwrap();
    let branch = branch(&repository);
    let lock = repository.join(format!("{branch}.lock"));
    fs::write(&lock, b"").unwrap();
    fs::write(repository.join("objects/17/tmp_object_git2_abcdef"), b"half an object").unwrap();
    assert_eq!(alice.append(&space(), "b").unwrap().seq, Seq(1));
    assert!(!lock.exists());
    assert_eq!(team.verified(&space()).len(), 2);
}

/// A commit with another text, put in the place of the tip.
fn forge(repository: &Path, change: impl Fn(String) -> String) {
    let branch = branch(repository);
    let text = git(repository, &["cat-file", "commit", &branch]);
    let forged = git_with(repository, &["hash-object", "-t", "commit", "-w", "--stdin"], &change(text));
    git(repository, &["update-ref", &branch, forged.trim()]);
}

#[test]
fn what_was_altered_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("log.git");
    let team = team(&repository);
    let alice = team.member(1);
    for n in 0..3 {
        alice.append(&space(), &format!("i{n}")).unwrap();
    }
    drop(alice);
    let branch = branch(&repository);
    let tip = git(&repository, &["rev-parse", &branch]);
    let back = || git(&repository, &["update-ref", &branch, tip.trim()]);
    let readonly = || GitLog::open_readonly(&repository).unwrap();

    forge(&repository, |text| text.replace("x:i2", "y:i2"));
    let what = damage(read(&readonly(), &space()));
    assert!(what.starts_with("event 2 of space team/Pages:1: it is not what was written"), "{what}");
    back();

    // With its hash made to fit, the signature does not.
    let mut event = read(&readonly(), &space()).unwrap().pop().unwrap();
    let before = event.hash.to_string();
    event.payload = Payload::parse(event.payload.as_str().replace("x:i2", "y:i2").as_bytes()).unwrap();
    let after = event.compute_hash(&space()).to_string();
    forge(&repository, |text| text.replace("x:i2", "y:i2").replace(&before, &after));
    let log = readonly();
    let events = read(&log, &space()).unwrap();
    let offence = verify(&space(), &state(&log, &space()), events).unwrap_err();
    assert!(matches!(offence, Offence::Forged { seq: Seq(2), .. }), "{offence}");
    back();

    forge(&repository, |text| text.replace("\"payload\":{", "\"payload\":{ "));
    let what = damage(read(&readonly(), &space()));
    assert!(what.contains("event 2: its payload has another form"), "{what}");
    back();

    forge(&repository, |text| text.replace("Gangline-Space: team/Pages:1", "Gangline-Space: other"));
    let what = damage(read(&readonly(), &space()));
    assert!(what.contains("it is of space other"), "{what}");
    back();

    // A commit in the middle is gone: the one behind it follows another.
    let parent = git(&repository, &["rev-parse", &format!("{branch}~1")]);
    let grandparent = git(&repository, &["rev-parse", &format!("{branch}~2")]);
    forge(&repository, |text| text.replace(parent.trim(), grandparent.trim()));
    let what = damage(read(&readonly(), &space()));
    assert!(what.starts_with("event 1 of space team/Pages:1: it is missing"), "{what}");
    back();

    // An object's file that ends early: libgit2 would look for its end forever.
    let (first, rest) = parent.trim().split_at(2);
    let file = repository.join("objects").join(first).join(rest);
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 20]).unwrap();
    let what = damage(read(&readonly(), &space()));
    assert!(what.starts_with(&format!("object {}", parent.trim())), "{what}");
    fs::write(&file, &bytes).unwrap();
    assert_eq!(team.verified(&space()).len(), 3);
}

#[test]
fn large_batches_are_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("log.git");
    let team = team(&repository);
    let alice = team.member(1);
    let large = |id: &str, bytes: usize| Intent {
        id: IntentId::new(id).unwrap(),
        kind: EventType::new("LARGE").unwrap(),
        payload: Payload::parse(format!("{{\"a\":\"\\u0000\\n\\n{}\"}}", "ä".repeat(bytes / 2)).as_bytes())
            .unwrap(),
    };
    for (id, bytes) in [("small", 10), ("large", 100_000), ("largest", 1_000_000)] {
        block_on(alice.authority.submit(&space(), large(id, bytes))).unwrap();
    }
    alice.append(&space(), "behind").unwrap();
    let events = team.verified(&space());
    assert_eq!(events[2].payload, large("largest", 1_000_000).payload);
    assert_eq!(events.len(), 4);
    let branch = branch(&repository);
    assert_eq!(git(&repository, &["ls-tree", "--name-only", &format!("{branch}~1")]).trim(), "events.jsonl");
    assert_eq!(git(&repository, &["ls-tree", "--name-only", &branch]).trim(), "");
    assert!(git(&repository, &["log", &branch]).len() < 10_000, "a log is still to be read");
    git(&repository, &["fsck", "--strict", "--full"]);
    // Who forges a tree is found out, too.
    forge(&repository, |text| {
        text.replacen("tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904", &tree_of(&repository, &branch), 1)
    });
    let log = GitLog::open_readonly(&repository).unwrap();
    damage(read(&log, &space()));
}

fn tree_of(repository: &Path, branch: &str) -> String {
    format!("tree {}", git(repository, &["rev-parse", &format!("{branch}~1^{{tree}}")]).trim())
}

#[test]
fn a_log_that_is_replaced_is_kept_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("log.git");
    let here = team(&repository);
    here.member(1).append(&space(), "old").unwrap();
    let alice = here.member(1);
    let place = Place::new("elsewhere").unwrap();
    let closed = block_on(alice.authority.set_access(&space(), Access::Moved { to: place })).unwrap();
    let branch = branch(&repository);
    let old = git(&repository, &["rev-parse", &branch]).trim().to_owned();
    assert!(git(&repository, &["log", "-1", "--format=%s", &branch]).contains("moved elsewhere (epoch"));

    let there = in_memory();
    for n in 0..5 {
        there.member(2).append(&space(), &format!("new{n}")).unwrap();
    }
    let (from, to) = (there.backend().0, here.backend().0);
    let replaced =
        block_on(copy(from.as_ref(), to.as_ref(), &space(), Some(closed), &mut |_, _| {})).unwrap();
    assert_eq!(here.verified(&space()), there.verified(&space()));
    assert!(replaced.epoch >= closed.epoch);
    assert_eq!(block_on(to.access(&space())).unwrap(), Some(Access::Copy));
    let kept =
        git(&repository, &["for-each-ref", "--format=%(refname) %(objectname)", "refs/heads/gangline/aside"]);
    assert_eq!(kept.trim(), format!("refs/heads/gangline/aside/team,+pages=1/{} {old}", &old[..12]));
    assert!(
        git(&repository, &["log", "--format=%b", &kept[..kept.find(' ').unwrap()]])
            .contains("\"intent\":\"old\"")
    );
    assert_eq!(block_on(to.spaces(None, 10)).unwrap(), [space()], "what was put aside is no space");
    git(&repository, &["fsck", "--strict", "--full"]);
}

/// What is damaged in a pack is an error, too, and no reason to hang.
#[test]
fn a_damaged_pack_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("log.git");
    let team = team(&repository);
    let alice = team.member(1);
    for n in 0..20 {
        alice.append(&space(), &format!("i{n}")).unwrap();
    }
    drop(alice);
    git(&repository, &["gc", "--quiet"]);
    let is_pack = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pack");
    let pack = files(&repository.join("objects/pack")).into_iter().find(is_pack).unwrap();
    let whole = fs::read(&pack).unwrap();
    fs::remove_file(&pack).unwrap();
    for harm in 0..12 {
        let mut bytes = whole.clone();
        let at = whole.len() * (harm / 2 + 1) / 8;
        if harm % 2 == 0 {
            bytes.truncate(at);
        } else {
            bytes[at..at + 40].iter_mut().for_each(|byte| *byte ^= 0xff);
        }
        fs::write(&pack, bytes).unwrap();
        let log = GitLog::open_readonly(&repository).unwrap();
        assert!(read(&log, &space()).is_err(), "harm {harm}");
    }
    fs::write(&pack, whole).unwrap();
    assert_eq!(team.verified(&space()).len(), 20);
}

/// While objects are packed, by this program and by git, appends go on and nothing is missing.
#[test]
fn packing_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("log.git");
    let there = in_memory();
    let carol = there.member(3);
    for n in 0..1_200 {
        carol.append(&space(), &format!("i{n}")).unwrap();
    }
    let here = team(&repository);
    let (store, _) = here.backend();
    let from = there.backend().0;
    block_on(copy(from.as_ref(), store.as_ref(), &space(), None, &mut |_, _| {})).unwrap();
    let alice = here.member(1);
    for n in 0..40 {
        alice.append(&named("other"), &format!("i{n}")).unwrap();
        if n % 10 == 9 {
            git(&repository, &["gc", "--quiet", "--prune=now"]);
        }
    }
    assert_eq!(alice.append(&named("other"), "i3").unwrap().seq, Seq(3));
    assert_eq!(here.verified(&space()).len(), 1_200);
    assert_eq!(here.verified(&named("other")).len(), 40);
    git(&repository, &["fsck", "--strict", "--full"]);
}
