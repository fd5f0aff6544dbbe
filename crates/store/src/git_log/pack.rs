//! Packs: loose objects pile up with each append, so every now and then they go into a pack, beside the appends.
//!
//! An object is deleted only after a pack that has it is durable, so whoever is killed in between leaves objects that
//! are there twice, or a file that the next run sweeps away. Only one process packs at a time; whoever reads or
//! writes meanwhile finds each object in one place or the other ([`super::repo`] looks again). Packs are merged so that
//! each is larger than the smaller ones together, up to a size from which they stay as they are: an object is written
//! anew O(log n) times.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use git2::Oid;

use super::{
    loose::{self, LooseError},
    open,
};

/// Loose objects that are worth a pack.
pub(super) const LOOSE_MAX: usize = 1_024;
/// What is as large, in objects or bytes, is never packed again.
const MERGED_OBJECTS_MAX: usize = 100_000;
const MERGED_BYTES_MAX: u64 = 256 << 20;
/// Packs that are worth a merge.
const PACKS_MAX: usize = 4;
/// A file that nobody has finished for that long was left behind.
const LEFT_AFTER: Duration = Duration::from_secs(600);

/// Packs one repository, on a thread of its own.
pub(super) struct Packer {
    path: PathBuf,
    lock: File,
    is_closing: Arc<AtomicBool>,
}

/// Why packing came to no end. Nothing is lost; the next run begins anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum PackError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Git(#[from] git2::Error),
    #[error("{0} is no index of a pack")]
    Index(PathBuf),
    #[error("the pack {0} does not have what was put into it")]
    Incomplete(PathBuf),
}

struct Pack {
    index: PathBuf,
    objects: usize,
}

impl Packer {
    pub(super) fn new(path: &Path, side: &Path, is_closing: Arc<AtomicBool>) -> io::Result<Self> {
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).open(side.join("pack.lock"))?;
        Ok(Self { path: path.to_owned(), lock, is_closing })
    }

    /// Packs, if there is enough to pack and no other process does. What goes wrong is told in the program's own log.
    pub(super) fn run(&mut self) {
        if self.is_closing.load(Ordering::Relaxed) || self.lock.try_lock().is_err() {
            return;
        }
        match self.pack() {
            Ok(()) => {}
            Err(_) if self.is_closing.load(Ordering::Relaxed) => {}
            Err(error) => tracing::warn!(repository = %self.path.display(), %error, "objects stay loose"),
        }
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the lock of the packs is not let go");
        }
    }

    fn pack(&self) -> Result<(), PackError> {
        files(&open::former_dir(&self.path))?.iter().try_for_each(|path| remove(path))?;
        let loose = self.loose()?;
        if loose.len() < LOOSE_MAX {
            return Ok(());
        }
        self.sweep()?;
        let packed = self.write(&self.sound(loose))?;
        for oid in packed {
            remove(&self.loose_path(oid))?;
        }
        self.merge()
    }

    /// Drops objects that are not what was written: they stay where they are, for whoever repairs them.
    fn sound(&self, loose: Vec<Oid>) -> Vec<Oid> {
        let objects = self.objects_dir();
        let is_sound = |oid: &Oid| match loose::read(&objects, *oid, MERGED_BYTES_MAX as usize) {
            Ok(_) => true,
            Err(LooseError::Damaged(what)) => {
                tracing::error!(object = %oid, what, "an object is damaged, restore a backup");
                false
            }
            Err(LooseError::Io(_)) => false,
        };
        loose.into_iter().filter(is_sound).collect()
    }

    fn merge(&self) -> Result<(), PackError> {
        let mut packs = self.packs()?;
        packs.sort_by_key(|pack| pack.objects);
        let mut objects = 0;
        let count = packs
            .iter()
            .take_while(|pack| {
                let is_alike = objects == 0 || pack.objects < objects * 2;
                objects += pack.objects;
                is_alike
            })
            .count();
        packs.truncate(count);
        if count < PACKS_MAX {
            return Ok(());
        }
        let mut all = Vec::new();
        for pack in &packs {
            all.extend(indexed(&pack.index)?);
        }
        all.sort_unstable();
        all.dedup();
        let packed = self.write(&all)?;
        if packed.len() < all.len() {
            return Err(PackError::Incomplete(self.pack_dir()));
        }
        // The index first: without it, nobody looks for the pack.
        for pack in &packs {
            remove(&pack.index)?;
            remove(&pack.index.with_extension("pack"))?;
        }
        Ok(())
    }

    /// Writes a pack, durably, and returns which of the objects are in it: all that are still there.
    fn write(&self, oids: &[Oid]) -> Result<Vec<Oid>, PackError> {
        let git = open::durable_handle(&self.path)?;
        let is_closing = Arc::clone(&self.is_closing);
        let mut builder = git.packbuilder()?;
        builder.set_threads(1);
        builder.set_progress_callback(move |_, _, _| !is_closing.load(Ordering::Relaxed))?;
        for oid in oids {
            match builder.insert_object(*oid, None) {
                Err(error) if error.code() == git2::ErrorCode::NotFound => {}
                inserted => inserted?,
            }
        }
        builder.write(&self.pack_dir(), 0o444)?;
        let name = builder.name()?.unwrap_or_default().to_owned();
        let index = self.pack_dir().join(format!("pack-{name}.idx"));
        if !index.with_extension("pack").is_file() {
            return Err(PackError::Incomplete(index));
        }
        let packed = indexed(&index)?;
        if packed.len() != builder.object_count() {
            return Err(PackError::Incomplete(index));
        }
        Ok(oids.iter().copied().filter(|oid| packed.binary_search(oid).is_ok()).collect())
    }

    /// Lists the loose objects, and takes away what killed processes have left among them.
    fn loose(&self) -> Result<Vec<Oid>, PackError> {
        let mut found = Vec::new();
        for first in 0..=u8::MAX {
            let first = format!("{first:02x}");
            let dir = self.objects_dir().join(&first);
            for path in files(&dir)? {
                let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
                match Oid::from_str(&format!("{first}{name}")) {
                    Ok(oid) if name.len() == 38 => found.push(oid),
                    _ if name.starts_with("tmp_") => sweep(&path)?,
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// Lists the packs that may be merged.
    fn packs(&self) -> Result<Vec<Pack>, PackError> {
        let mut found = Vec::new();
        for index in files(&self.pack_dir())? {
            let is_index = index.extension().is_some_and(|extension| extension == "idx");
            let is_kept = ["keep", "promisor", "mtimes", "bitmap"]
                .iter()
                .any(|extension| index.with_extension(extension).exists());
            let Ok(pack) = fs::metadata(index.with_extension("pack")) else { continue };
            if !is_index || is_kept || pack.len() >= MERGED_BYTES_MAX {
                continue;
            }
            let objects = indexed(&index)?.len();
            if objects < MERGED_OBJECTS_MAX {
                found.push(Pack { index, objects });
            }
        }
        Ok(found)
    }

    /// Takes away what killed processes have left among the packs: packs and indexes that were not finished.
    fn sweep(&self) -> Result<(), PackError> {
        for path in files(&self.pack_dir())? {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let is_alone = name.ends_with(".idx") && !path.with_extension("pack").exists();
            if is_alone || name.starts_with("pack_git2_") {
                sweep(&path)?;
            }
        }
        Ok(())
    }

    fn objects_dir(&self) -> PathBuf {
        self.path.join("objects")
    }

    fn pack_dir(&self) -> PathBuf {
        self.objects_dir().join("pack")
    }

    fn loose_path(&self, oid: Oid) -> PathBuf {
        let name = oid.to_string();
        let (first, rest) = name.split_at(2);
        self.objects_dir().join(first).join(rest)
    }
}

/// Reads which objects a pack has, in order, from its index (version 2: four bytes of magic, four of version, 256
/// running counts, then the ids).
fn indexed(path: &Path) -> Result<Vec<Oid>, PackError> {
    const COUNTS: usize = 8;
    const IDS: usize = COUNTS + 256 * 4;
    let bytes = fs::read(path)?;
    let broken = || PackError::Index(path.to_owned());
    if bytes.get(..COUNTS) != Some(b"\xfftOc\0\0\0\x02") {
        return Err(broken());
    }
    let count = bytes.get(IDS - 4..IDS).and_then(|count| count.first_chunk()).ok_or_else(broken)?;
    let ids = IDS + u32::from_be_bytes(*count) as usize * 20;
    let ids = bytes.get(IDS..ids).ok_or_else(broken)?;
    ids.chunks(20).map(|id| Oid::from_bytes(id).map_err(PackError::from)).collect()
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn sweep(path: &Path) -> io::Result<()> {
    let is_left = fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age >= LEFT_AFTER));
    if is_left { remove(path) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use git2::{ObjectType, Repository};

    use super::*;

    struct Ground {
        dir: tempfile::TempDir,
        is_closing: Arc<AtomicBool>,
        written: Vec<Oid>,
    }

    impl Ground {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            Repository::init_bare(dir.path()).unwrap();
            fs::create_dir(dir.path().join("gangline")).unwrap();
            Self { dir, is_closing: Arc::default(), written: Vec::new() }
        }

        fn packer(&self) -> Packer {
            let side = self.dir.path().join("gangline");
            Packer::new(self.dir.path(), &side, Arc::clone(&self.is_closing)).unwrap()
        }

        fn write(&mut self, count: usize) {
            let git = Repository::open(self.dir.path()).unwrap();
            for _ in 0..count {
                let text = format!("object {}", self.written.len());
                self.written.push(git.odb().unwrap().write(ObjectType::Blob, text.as_bytes()).unwrap());
            }
        }

        /// Makes what is swept with every run.
        fn former(&self) -> PathBuf {
            let path = open::former_dir(self.dir.path()).join("1-1");
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, b"").unwrap();
            path
        }

        fn check(&self) {
            let git = Repository::open(self.dir.path()).unwrap();
            for (n, oid) in self.written.iter().enumerate() {
                assert_eq!(git.find_blob(*oid).unwrap().content(), format!("object {n}").as_bytes());
            }
        }

        fn packs(&self) -> usize {
            self.packer().packs().unwrap().len()
        }
    }

    #[test]
    fn packs_stay_few_and_nothing_is_lost() {
        let mut ground = Ground::new();
        let mut most = 0;
        for _ in 0..14 {
            ground.write(LOOSE_MAX);
            let mut packer = ground.packer();
            packer.run();
            assert_eq!(packer.loose().unwrap(), []);
            most = most.max(ground.packs());
        }
        assert!(most <= 6, "{most} packs of {} objects", ground.written.len());
        ground.check();
        ground.write(LOOSE_MAX - 1);
        let (packer, former) = (&mut ground.packer(), ground.former());
        packer.run();
        assert!(!former.exists());
        assert_eq!(packer.loose().unwrap().len(), LOOSE_MAX - 1, "not worth a pack");
    }

    #[test]
    fn what_killed_processes_left_is_swept_when_it_is_old() {
        let mut ground = Ground::new();
        ground.write(LOOSE_MAX);
        let left = ["pack/pack_git2_abc", "pack/pack-77.idx", "17/tmp_object_git2_abc"];
        let paths = left.map(|name| ground.dir.path().join("objects").join(name));
        for (path, is_old) in
            paths.iter().flat_map(|path| [(path.clone(), true), (path.with_extension("new.idx"), false)])
        {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = File::create(path).unwrap();
            if is_old {
                file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
            }
        }
        ground.packer().run();
        for path in paths {
            assert!(!path.exists(), "{}", path.display());
            assert!(path.with_extension("new.idx").exists(), "somebody may be writing that");
        }
        ground.check();
    }

    #[test]
    fn a_damaged_object_stays_where_it_is() {
        let mut ground = Ground::new();
        ground.write(LOOSE_MAX);
        let oid = ground.written.remove(7);
        let mut packer = ground.packer();
        let path = packer.loose_path(oid);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        packer.run();
        assert_eq!(packer.loose().unwrap(), [oid]);
        assert_eq!(ground.packs(), 1);
    }

    #[test]
    fn only_one_packs_and_none_that_closes() {
        let mut ground = Ground::new();
        ground.write(LOOSE_MAX);
        let (one, mut other) = (ground.packer(), ground.packer());
        one.lock.lock().unwrap();
        other.run();
        assert_eq!(ground.packs(), 0);
        one.lock.unlock().unwrap();
        ground.is_closing.store(true, Ordering::Relaxed);
        other.run();
        assert_eq!(ground.packs(), 0);
        ground.is_closing.store(false, Ordering::Relaxed);
        other.run();
        assert_eq!(ground.packs(), 1);
    }
}
