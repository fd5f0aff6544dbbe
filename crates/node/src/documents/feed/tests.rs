//! A feed whose database fails in the middle: whatever it had found, and whatever it had not come to, is run in the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use bft_json_crdt::{DocumentId, Keypair};
use gangline_doc::{OriginId, ReplicaSettings};
use gangline_reconcile::{
    DocumentName, FollowSettings, Follower, Mapping, Mode, OutboxRead, Policy, RootTable, RowSource, Rows,
    SaveOutcome, SaveRequest, Scanned, Schema, Shape, Source, save_mark,
};
use gangline_store::SqliteSource;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::documents::others::{Word, heard};
use crate::documents::{MemoryDocuments, Named, Opened};

/// A database that is locked at some calls.
struct Flaky {
    rows: SqliteSource,
    /// So many scans fail.
    scans: AtomicUsize,
    /// So many reads of the outbox go well, before one fails.
    outbox: AtomicUsize,
}

const NEVER: usize = usize::MAX;

impl Flaky {
    fn busy<T>(&self) -> Result<T, SourceError> {
        Err(SourceError::Busy { place: self.place().to_owned() })
    }
}

impl RowSource for Flaky {
    fn place(&self) -> &str {
        self.rows.place()
    }

    fn schema(&self) -> Result<Schema, SourceError> {
        self.rows.schema()
    }

    fn read(&self, shape: &Shape, root: &str) -> Result<Rows, SourceError> {
        self.rows.read(shape, root)
    }

    fn roots(&self, shape: &Shape, after: Option<&str>, limit: usize) -> Result<Vec<String>, SourceError> {
        self.rows.roots(shape, after, limit)
    }

    fn scan(&self, shape: &Shape, visit: &mut dyn FnMut(&str, RowsDigest)) -> Result<Scanned, SourceError> {
        if self.scans.load(Ordering::SeqCst) == 0 {
            return self.rows.scan(shape, visit);
        }
        self.scans.fetch_sub(1, Ordering::SeqCst);
        // In the middle: what was visited stands.
        let mut is_first = true;
        self.rows.scan(shape, &mut |root, digest| {
            if std::mem::take(&mut is_first) {
                visit(root, digest);
            }
        })?;
        self.busy()
    }

    fn pulse(&self) -> Result<u64, SourceError> {
        self.rows.pulse()
    }

    fn install_sql(&self, shape: &Shape) -> Result<Vec<String>, SourceError> {
        self.rows.install_sql(shape)
    }

    fn install(&self, shape: &Shape) -> Result<(), SourceError> {
        self.rows.install(shape)
    }

    fn uninstall_sql(&self, shape: &Shape) -> Result<Vec<String>, SourceError> {
        self.rows.uninstall_sql(shape)
    }

    fn uninstall(&self, shape: &Shape) -> Result<(), SourceError> {
        self.rows.uninstall(shape)
    }

    fn outbox(
        &self,
        shape: &Shape,
        after: Option<OutboxPosition>,
        limit: usize,
    ) -> Result<Option<OutboxRead>, SourceError> {
        match self.outbox.load(Ordering::SeqCst) {
            NEVER => {}
            0 => {
                self.outbox.store(NEVER, Ordering::SeqCst);
                return self.busy();
            }
            left => self.outbox.store(left - 1, Ordering::SeqCst),
        }
        self.rows.outbox(shape, after, limit)
    }

    fn prune(&self, shape: &Shape) -> Result<(), SourceError> {
        self.rows.prune(shape)
    }

    fn save(&self, shape: &Shape, request: &SaveRequest) -> Result<SaveOutcome, SourceError> {
        self.rows.save(shape, request)
    }

    fn was_saved(&self, shape: &Shape, save_id: &str) -> Result<Option<bool>, SourceError> {
        self.rows.was_saved(shape, save_id)
    }
}

/// A node's feed of a table of notes, looked with by hand.
struct Feed {
    dir: TempDir,
    rows: Arc<Flaky>,
    source: Arc<SourceRuntime>,
    documents: Documents,
}

fn sql(dir: &Path, statements: &str) {
    Connection::open(dir.join("app.db")).unwrap().execute_batch(statements).unwrap();
}

impl Feed {
    /// With so many notes, looked through once.
    fn of(count: usize, has_outbox: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        sql(
            dir.path(),
            &format!(
                "PRAGMA journal_mode = WAL; CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT);
                 WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
                 INSERT INTO notes SELECT i, 'first' FROM n"
            ),
        );
        let rows = Arc::new(Flaky {
            rows: SqliteSource::new(&dir.path().join("app.db")),
            scans: AtomicUsize::new(0),
            outbox: AtomicUsize::new(NEVER),
        });
        let mapping = Mapping {
            name: "notes".to_owned(),
            mode: Mode::Merge,
            root: RootTable {
                table: "notes".to_owned(),
                key: "id".to_owned(),
                version: None,
                document: DocumentName::parse("note:{id}", "id").unwrap(),
                soft_delete: None,
                fields: BTreeMap::from([("title".to_owned(), Policy::DbWins)]),
                secret: BTreeSet::new(),
            },
            lists: Vec::new(),
        };
        let shape = Shape::bind(mapping, &rows.schema().unwrap()).unwrap();
        if has_outbox {
            rows.install(&shape).unwrap();
        }
        let store = Arc::new(MemoryDocuments::default());
        let times = (20, u64::MAX / 2);
        let keypair = Keypair::from_seed(&[100; 32]);
        let source = Arc::new(SourceRuntime::new(shape, rows.clone(), keypair, store.clone(), times));
        // Nobody has opened any, unless a test says so.
        let settings = FollowSettings { births_max: usize::MAX, ..FollowSettings::default() };
        *lock(&source.follower) = Follower::new(settings);
        let opened = Opened { held: vec![Arc::clone(&source)], ..Opened::default() };
        let own = Keypair::from_seed(&[1; 32]);
        let stop = CancellationToken::new();
        let documents = Documents::new(own, store, ReplicaSettings::default(), opened, stop).unwrap();
        let feed = Self { dir, rows, source, documents };
        feed.look().unwrap();
        assert_eq!(feed.run(), BTreeSet::new(), "nobody has a document yet");
        feed
    }

    fn sql(&self, statements: &str) {
        sql(self.dir.path(), statements);
    }

    /// Has it that documents of roots have been opened once.
    fn store(&self, roots: impl IntoIterator<Item = usize>) {
        for root in roots {
            let (name, id) = self.source.document_of(&root.to_string());
            let author = Some(self.source.author());
            self.documents.inner.names.learn(Named {
                id,
                name: Some(name),
                author,
                source: None,
                root: None,
            });
        }
    }

    fn look(&self) -> Result<(), FollowFailed> {
        look(&self.documents, &self.source)
    }

    fn fails(&self) {
        let failed = self.look();
        assert!(matches!(failed, Err(FollowFailed::Source(SourceError::Busy { .. }))), "{failed:?}");
    }

    /// Runs all that waits, and returns which roots that were.
    fn run(&self) -> BTreeSet<String> {
        let mut follower = lock(&self.source.follower);
        let mut run = BTreeSet::new();
        let late = clock::now_ms() + 3_600_000;
        follower.handle(late, FollowInput::Tick);
        while let Some(effect) = follower.poll_effect() {
            match effect {
                FollowEffect::Run(root) => {
                    follower.handle(late, FollowInput::Done(root.clone()));
                    run.insert(root);
                }
                FollowEffect::Scan => self.source.must_scan.store(true, Ordering::Relaxed),
                FollowEffect::LeaveOut | FollowEffect::RetryIn(..) => {}
            }
        }
        run
    }
}

fn roots(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Whoever cleans up an outbox leaves its last entry, which names another root.
const GAP: &str = "BEGIN;
    UPDATE notes SET title = 'unsaid' WHERE id = 2;
    UPDATE notes SET title = 'said' WHERE id = 3;
    DELETE FROM gangline_outbox WHERE kind = 'row' AND key = '2';
    COMMIT";

#[test]
fn after_a_gap_scans_are_tried_until_one_works() {
    let feed = Feed::of(4, true);
    feed.sql(GAP);
    feed.rows.scans.store(2, Ordering::SeqCst);
    feed.fails();
    // Nobody writes any more.
    feed.fails();
    assert_eq!(feed.run(), BTreeSet::new());
    feed.look().unwrap();
    assert_eq!(feed.run(), roots(&["2", "3"]));
    assert_eq!(feed.source.counters.missed.load(Ordering::Relaxed), 0, "a gap is known of");
    feed.sql("UPDATE notes SET title = 'again' WHERE id = 2");
    feed.look().unwrap();
    assert_eq!(feed.run(), roots(&["2"]));
}

#[test]
fn what_is_named_between_a_gap_and_the_scan_that_works_is_run_as_well() {
    let feed = Feed::of(4, true);
    feed.sql(GAP);
    feed.rows.scans.store(1, Ordering::SeqCst);
    feed.fails();
    feed.sql("UPDATE notes SET title = 'named' WHERE id = 4");
    // The outbox goes on whole from behind the gap, and its next entry is read before the scan.
    feed.rows.scans.store(1, Ordering::SeqCst);
    feed.fails();
    assert_eq!(feed.run(), roots(&["4"]));
    feed.look().unwrap();
    assert!(feed.run().is_superset(&roots(&["2", "3"])));
}

#[test]
fn a_gap_that_is_met_while_the_outbox_fails_is_met_again() {
    let feed = Feed::of(4, true);
    feed.sql(GAP);
    feed.rows.outbox.store(0, Ordering::SeqCst);
    feed.fails();
    // The second read is that after the scan.
    feed.rows.outbox.store(1, Ordering::SeqCst);
    feed.fails();
    feed.sql("UPDATE notes SET title = 'named' WHERE id = 4");
    feed.look().unwrap();
    assert_eq!(feed.run(), roots(&["2", "3", "4"]));
}

#[test]
fn a_scan_that_failed_is_made_up_for_although_nobody_writes() {
    let feed = Feed::of(3, false);
    feed.sql("UPDATE notes SET title = 'new' WHERE id = 2; DELETE FROM notes WHERE id = 3");
    feed.rows.scans.store(1, Ordering::SeqCst);
    feed.fails();
    feed.look().unwrap();
    assert_eq!(feed.run(), roots(&["2", "3"]));
}

/// The position had moved past the first part by then, and what that had named was forgotten until the node's next start.
#[test]
fn what_the_first_part_of_an_outbox_named_is_run_where_the_second_one_fails() {
    let count = OUTBOX_STEP + 5;
    let feed = Feed::of(count, true);
    feed.sql("UPDATE notes SET title = 'new'");
    feed.rows.outbox.store(1, Ordering::SeqCst);
    feed.fails();
    feed.look().unwrap();
    assert_eq!(feed.run().len(), count);
}

/// What had no room used to be left out for good: the scan that was to find it compared with what the same feed had seen.
#[test]
fn more_roots_than_may_wait_are_run_one_after_the_other() {
    for has_outbox in [true, false] {
        let feed = Feed::of(50, has_outbox);
        feed.store(1..=50);
        let settings = FollowSettings { waiting_max: 7, ..FollowSettings::default() };
        *lock(&feed.source.follower) = Follower::new(settings);
        feed.sql("UPDATE notes SET title = 'new'");
        let mut run = BTreeSet::new();
        for _ in 0..8 {
            feed.look().unwrap();
            run.extend(feed.run());
        }
        assert_eq!(run.len(), 50, "with an outbox: {has_outbox}");
    }
}

/// Others than the feed name roots too, and are told that there is no room.
#[test]
fn a_scan_that_is_asked_for_is_made_although_nobody_writes() {
    let feed = Feed::of(3, false);
    feed.store([2]);
    feed.look().unwrap();
    assert_eq!(feed.run(), BTreeSet::new());
    feed.source.must_scan.store(true, Ordering::Relaxed);
    feed.look().unwrap();
    assert_eq!(feed.run(), roots(&["2"]), "its document has not followed its rows");
}

/// A bulk used to make a document of each row, and to leave a mark of each.
#[test]
fn a_bulk_runs_what_is_stored_and_opens_a_few_more_and_no_others() {
    for has_outbox in [true, false] {
        let feed = Feed::of(50, has_outbox);
        feed.store([48, 50]);
        let settings = FollowSettings { births_max: 5, ..FollowSettings::default() };
        *lock(&feed.source.follower) = Follower::new(settings);
        feed.sql("UPDATE notes SET title = 'new'");
        feed.look().unwrap();
        assert_eq!(lock(&feed.source.follower).left_out(), 43);
        let marks = feed.source.marks(100).unwrap();
        let run = feed.run();
        assert!(run.is_superset(&roots(&["48", "50"])) && run.len() == 7, "{run:?}");
        if has_outbox {
            // Those that a restart takes up are those that are run.
            assert_eq!(marks.into_iter().collect::<BTreeSet<_>>(), run);
        }
        feed.look().unwrap();
        assert_eq!(feed.run(), BTreeSet::new(), "with an outbox: {has_outbox}");
        // A single one is opened as ever.
        feed.sql("UPDATE notes SET title = 'single' WHERE id = 40");
        feed.look().unwrap();
        assert_eq!(feed.run(), roots(&["40"]), "with an outbox: {has_outbox}");
    }
}

#[tokio::test]
async fn what_a_node_has_signed_itself_it_takes_for_nobody_elses_word() {
    let feed = Feed::of(2, false);
    let (_, id) = feed.source.document_of("1");
    follow_root(&feed.documents, &feed.source, "1", None, false).await.unwrap();
    let guest = feed.documents.enter(id, Role::System).await.unwrap();
    let document = feed.documents.live_one(&id).unwrap();
    let cursor = document.replica.durable();
    for n in 0..20 {
        feed.sql(&format!("UPDATE notes SET title = 'title {n}' WHERE id = 1"));
        let followed = follow_root(&feed.documents, &feed.source, "1", None, false).await.unwrap().unwrap();
        assert_eq!(followed.reconciled.ops, 1);
        let (word, _) = heard(&Arc::downgrade(&document), &feed.source, cursor).unwrap();
        assert_eq!((word, document.has_others()), (None, false));
    }
    // The same key signs elsewhere.
    let keypair = Keypair::from_seed(&[100; 32]);
    let signed = document.replica.read(|base| {
        let source = Source { keypair: &keypair, shape: &feed.source.shape, document: "note:1" };
        save_mark(base, source, &base.heads(), None).unwrap()
    });
    let (batch, _ticket) = document.replica.apply(clock::now_ms(), OriginId(1), signed.0).unwrap();
    assert_eq!(batch.applied.len(), 1);
    let (word, _) = heard(&Arc::downgrade(&document), &feed.source, cursor).unwrap();
    assert_eq!((word, document.has_others()), (Some(Word::Followed), true));
    drop(guest);
}

#[tokio::test]
async fn a_document_that_is_opened_for_a_run_follows_once() {
    let feed = Feed::of(2, false);
    let run = async |actor| follow_root(&feed.documents, &feed.source, "1", actor, false).await.unwrap();
    assert!(run(None).await.is_none(), "it has followed when it was opened");
    let (_, id) = feed.source.document_of("1");
    assert_eq!(feed.source.audits(id, 9).unwrap().len(), 1);
    assert!(run(Some("amy")).await.is_some(), "who asks is told");
    let guest = feed.documents.enter(id, Role::System).await.unwrap();
    feed.sql("UPDATE notes SET title = 'second' WHERE id = 1");
    assert!(run(None).await.is_some(), "one that was open has not seen it");
    assert_eq!(feed.source.audits(id, 9).unwrap().len(), 2);
    drop(guest);
}

#[tokio::test]
async fn the_board_is_not_opened_a_second_time() {
    let feed = Feed::of(1, false);
    let refused = feed.documents.enter(DocumentId::DEFAULT, Role::System).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("this is the board"), "{refused}");
    assert!(feed.documents.live_one(&DocumentId::DEFAULT).is_none());
}
