//! A handle on the repository: objects in and out, branches moved by compare-and-swap.

use std::{
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use gangline_lease::SpaceName;
use git2::{ErrorClass, ErrorCode, ObjectType, Oid, Repository};

use super::{
    loose::{self, LooseError},
    open,
    record::{Commit, EVENTS_FILE, Standing, Text},
    ref_name,
};
use crate::worker::Failure;

/// No object of a log is larger: the events of one batch.
const OBJECT_BYTES_MAX: usize = 256 << 20;
/// The handle is opened anew after that many reads: libgit2 keeps what it has read.
const READS_MAX: u32 = 32_768;
/// A branch's lock that nobody touches for that long was left by a process that was killed.
const STALE_AFTER: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// For how long somebody else may lock a branch again and again.
const LOOKS_MAX: u32 = 500;

/// One thread's handle.
pub(super) struct Repo {
    git: Repository,
    path: PathBuf,
    /// What it writes is synced.
    is_durable: bool,
    reads: u32,
    moves: u64,
}

/// A log's last commit.
#[derive(Clone, Debug)]
pub(super) struct Tip {
    pub(super) oid: Oid,
    pub(super) standing: Standing,
}

/// A commit of a log, read.
pub(super) struct Record {
    pub(super) parent: Option<Oid>,
    /// None in a claim.
    pub(super) events: Vec<gangline_lease::Event>,
}

/// What became of moving a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Done,
    /// It is not where it was said to be; nothing was moved.
    Elsewhere,
}

impl Repo {
    /// Opens a repository, and none above it, to read.
    pub(super) fn open(path: &Path) -> Result<Self, git2::Error> {
        Ok(Self { git: open::handle(path)?, path: path.to_owned(), is_durable: false, reads: 0, moves: 0 })
    }

    /// Opens a repository to write.
    pub(super) fn durable(path: &Path) -> Result<Self, git2::Error> {
        Ok(Self {
            git: open::durable_handle(path)?,
            path: path.to_owned(),
            is_durable: true,
            reads: 0,
            moves: 0,
        })
    }

    pub(super) fn git(&self) -> &Repository {
        &self.git
    }

    /// Returns where a branch is.
    pub(super) fn branch(&self, name: &str) -> Result<Option<Oid>, Failure> {
        match self.git.refname_to_id(name) {
            Ok(oid) => Ok(Some(oid)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) if error.class() == ErrorClass::Os => Err(refused(error)),
            Err(error) => Err(Failure::Damaged(format!("branch {name}: {}", error.message()))),
        }
    }

    /// Returns the last commit of a space's log; what is known already need not be read.
    pub(super) fn tip(&mut self, space: &SpaceName, known: Option<&Tip>) -> Result<Option<Tip>, Failure> {
        let Some(oid) = self.branch(&ref_name::of(space))? else { return Ok(None) };
        if let Some(known) = known.filter(|known| known.oid == oid) {
            return Ok(Some(known.clone()));
        }
        let bytes = self.object(oid, ObjectType::Commit)?;
        let standing = Commit::parse(&bytes).and_then(|commit| commit.standing());
        let standing = check_space(standing, space).map_err(|what| damaged(space, oid, &what))?;
        Ok(Some(Tip { oid, standing }))
    }

    /// Reads a commit of a space's log with its events.
    pub(super) fn record(&mut self, space: &SpaceName, oid: Oid) -> Result<Record, Failure> {
        let bytes = self.object(oid, ObjectType::Commit)?;
        let wrong = |what: String| damaged(space, oid, &what);
        let commit = Commit::parse(&bytes).map_err(wrong)?;
        check_space(commit.standing(), space).map_err(wrong)?;
        let parent = commit.parent;
        let events = if commit.is_claim() {
            Vec::new()
        } else if commit.tree == empty_tree() {
            commit.events(commit.lines()).map_err(wrong)?
        } else {
            let file = self.events_file(commit.tree)?;
            let lines = std::str::from_utf8(&file).map_err(|error| wrong(error.to_string()))?;
            commit.events(lines).map_err(wrong)?
        };
        Ok(Record { parent, events })
    }

    fn events_file(&mut self, tree: Oid) -> Result<Vec<u8>, Failure> {
        let bytes = self.object(tree, ObjectType::Tree)?;
        let entry = format!("100644 {EVENTS_FILE}\0").into_bytes();
        let blob = bytes.strip_prefix(entry.as_slice()).and_then(|oid| Oid::from_bytes(oid).ok());
        let blob = blob.ok_or_else(|| Failure::Damaged(format!("tree {tree} is not one {EVENTS_FILE}")))?;
        self.object(blob, ObjectType::Blob)
    }

    /// Reads an object. Packs come and go, so one that is not found is looked for again with a new handle.
    fn object(&mut self, oid: Oid, kind: ObjectType) -> Result<Vec<u8>, Failure> {
        self.reads += 1;
        if self.reads > READS_MAX {
            self.reopen().map_err(refused)?;
        }
        let bytes = match self.loose_object(oid, kind)? {
            Some(bytes) => Ok(bytes),
            None => self.packed_object(oid, kind).or_else(|_| {
                self.reopen()?;
                self.packed_object(oid, kind)
            }),
        };
        bytes.map_err(|error| {
            if error.class() == ErrorClass::Os && error.code() != ErrorCode::NotFound {
                return refused(error);
            }
            Failure::Damaged(format!("object {oid}: {}", error.message()))
        })
    }

    fn loose_object(&self, oid: Oid, expected: ObjectType) -> Result<Option<Vec<u8>>, Failure> {
        let damaged = |what: &str| Err(Failure::Damaged(format!("object {oid}: {what}")));
        // Where a clone shares another's objects, these are that one's packs.
        match loose::read(&self.git.path().join("objects"), oid, OBJECT_BYTES_MAX) {
            Ok((kind, bytes)) if kind == expected => Ok(Some(bytes)),
            Ok((kind, _)) => damaged(&format!("it is a {kind}")),
            Err(LooseError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(LooseError::Io(error)) => Err(Failure::Refused(Arc::new(error))),
            Err(LooseError::Damaged(what)) => damaged(&what),
        }
    }

    fn packed_object(&self, oid: Oid, kind: ObjectType) -> Result<Vec<u8>, git2::Error> {
        let objects = self.git.odb()?;
        let (bytes, found) = objects.read_header(oid)?;
        if found != kind || bytes > OBJECT_BYTES_MAX {
            return Err(git2::Error::from_str(&format!("it is a {found} of {bytes} bytes")));
        }
        Ok(objects.read(oid)?.data().to_vec())
    }

    fn reopen(&mut self) -> Result<(), git2::Error> {
        let open = if self.is_durable { Self::durable } else { Self::open };
        *self = Self { moves: self.moves, ..open(&self.path)? };
        Ok(())
    }

    /// Writes a commit, durably, that no branch has yet.
    pub(super) fn write(&mut self, text: &Text, parent: Option<Oid>) -> Result<Oid, Failure> {
        let tree = match &text.events {
            None => empty_tree(),
            Some(lines) => {
                let blob = self.put(ObjectType::Blob, lines.as_bytes())?;
                let entry = [format!("100644 {EVENTS_FILE}\0").as_bytes(), blob.as_bytes()].concat();
                self.put(ObjectType::Tree, &entry)?
            }
        };
        let parent = parent.map(|parent| format!("parent {parent}\n")).unwrap_or_default();
        // For people to read; nothing goes by it.
        let time = git2::Signature::now("gangline", "gangline").map_err(refused)?.when().seconds();
        let Text { message, who, .. } = text;
        let bytes = format!(
            "tree {tree}\n{parent}author {who} {time} +0000\ncommitter {who} {time} +0000\n\n{message}"
        );
        self.put(ObjectType::Commit, bytes.as_bytes())
    }

    /// Writes an object, durably. One that did not go is tried again with a new handle, as packs come and go.
    pub(super) fn put(&mut self, kind: ObjectType, bytes: &[u8]) -> Result<Oid, Failure> {
        let put = |git: &Repository| git.odb().and_then(|objects| objects.write(kind, bytes));
        if let Ok(oid) = put(&self.git) {
            return Ok(oid);
        }
        self.reopen().map_err(refused)?;
        put(&self.git).map_err(refused)
    }

    /// Gives the file of a branch a second name, for the packer to take away. Some file systems take a millisecond to
    /// free a file (measured: ext4 on a virtual disk), and else moving the branch would, in the middle of an append.
    pub(super) fn keep_former(&mut self, name: &str) {
        self.moves += 1;
        let former = format!("{}-{}", std::process::id(), self.moves);
        // Where it does not go, moving takes longer.
        let _slower = fs::hard_link(self.git.path().join(name), open::former_dir(&self.path).join(former));
    }

    /// Moves a branch, durably, if it is where it is said to be (`None`: if there is none). Only under the lock of
    /// the repository.
    pub(super) fn move_branch(&mut self, name: &str, from: Option<Oid>, to: Oid) -> Result<Move, Failure> {
        let mut again = true;
        loop {
            let error = match self.try_move(name, from, to) {
                Ok(()) => return Ok(Move::Done),
                Err(error) => error,
            };
            match (error.code(), self.branch(name)) {
                (ErrorCode::Modified | ErrorCode::Exists, _) => return Ok(Move::Elsewhere),
                (ErrorCode::Locked, Ok(found)) if again && found == from => self.wait_for_lock(name)?,
                (_, Ok(found)) if again && found == from => self.reopen().map_err(refused)?,
                (_, Ok(found)) if found == from => return Err(refused(error)),
                _ => return Err(Failure::Unknown(Arc::new(error))),
            }
            again = false;
        }
    }

    fn try_move(&self, name: &str, from: Option<Oid>, to: Oid) -> Result<(), git2::Error> {
        match from {
            None => self.git.reference(name, to, false, "").map(drop),
            Some(from) => match self.git.reference_matching(name, to, true, from, "") {
                // It is gone.
                Err(error) if error.code() == ErrorCode::NotFound => {
                    Err(git2::Error::new(ErrorCode::Modified, ErrorClass::Reference, error.message()))
                }
                moved => moved.map(drop),
            },
        }
    }

    /// Waits until nobody locks a branch, or takes away a lock that was left behind. Whoever uses this package locks
    /// the repository first, so it is a `git` that is at work, or somebody's who was killed.
    #[expect(clippy::disallowed_methods, reason = "nothing tells when another process lets go of a file")]
    fn wait_for_lock(&self, name: &str) -> Result<(), Failure> {
        let path = self.git.path().join(format!("{name}.lock"));
        let mut seen = None;
        let mut unchanged = Duration::ZERO;
        for _ in 0..LOOKS_MAX {
            let now = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(Failure::Refused(Arc::new(error))),
                Ok(metadata) => Some(identity(&metadata)),
            };
            unchanged = if now == seen { unchanged + LOOK_EVERY } else { Duration::ZERO };
            seen = now;
            if unchanged >= STALE_AFTER {
                tracing::warn!(lock = %path.display(), "a branch's lock that was left behind is taken away");
                return fs::remove_file(&path).map_err(|error| Failure::Refused(Arc::new(error)));
            }
            thread::sleep(LOOK_EVERY);
        }
        Err(Failure::refused("another program keeps locking the branch"))
    }
}

/// What a file is by: when it was changed, and how long it is.
fn identity(metadata: &Metadata) -> (Option<std::time::SystemTime>, Option<std::time::SystemTime>, u64) {
    (metadata.modified().ok(), metadata.created().ok(), metadata.len())
}

/// The tree that most commits have.
pub(super) fn empty_tree() -> Oid {
    const EMPTY: [u8; 20] = [
        0x4b, 0x82, 0x5d, 0xc6, 0x42, 0xcb, 0x6e, 0xb9, 0xa0, 0x60, 0xe5, 0x4b, 0xf8, 0xd6, 0x92, 0x88, 0xfb,
        0xee, 0x49, 0x04,
    ];
    Oid::from_bytes(&EMPTY).unwrap_or(Oid::ZERO_SHA1)
}

fn check_space(standing: Result<Standing, String>, space: &SpaceName) -> Result<Standing, String> {
    let standing = standing?;
    if standing.space != *space {
        return Err(format!("it is of space {}", standing.space));
    }
    Ok(standing)
}

fn damaged(space: &SpaceName, oid: Oid, what: &str) -> Failure {
    Failure::Damaged(format!("commit {oid} of space {space}: {what}"))
}

pub(super) fn refused(error: git2::Error) -> Failure {
    Failure::Refused(Arc::new(error))
}
