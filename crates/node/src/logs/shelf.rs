//! Where logs are set aside that another log took the place of: files of lines in the data directory.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use gangline_lease::copying::Shelf;
use gangline_lease::{Answer, EventStore, ReadLimit, Seq, SpaceName, StoreError};

use super::lines::{self, Header};
use crate::private_file::make_private_dir;
use crate::url::segment;

/// In the data directory.
const DIR: &str = "logs-aside";

/// Keeps logs as files.
pub(crate) struct FileShelf {
    dir: PathBuf,
}

impl FileShelf {
    /// In this data directory.
    pub(crate) fn new(data_dir: &std::path::Path) -> Self {
        Self { dir: data_dir.join(DIR) }
    }

    async fn write(&self, space: &SpaceName, log: &dyn EventStore) -> Result<String, StoreError> {
        let failed = |error: io::Error| StoreError::Refused {
            place: self.dir.display().to_string(),
            source: Arc::new(error),
        };
        let state = log.state(space).await?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        make_private_dir(&self.dir).map_err(failed)?;
        let hash = state.head.hash.to_string();
        // One log has one name, so that it is kept once, however often this is tried.
        let name = format!("{}-{}.jsonl", segment(space.as_str()), hash.get(..16).unwrap_or_default());
        let (path, fresh) = (self.dir.join(&name), self.dir.join(format!("{name}.new")));
        let mut file = BufWriter::new(File::create(&fresh).map_err(failed)?);
        let header =
            serde_json::to_string(&Header::of(space, &state)).map_err(|error| failed(error.into()))?;
        writeln!(file, "{header}").map_err(failed)?;
        let mut next = Seq::START;
        while next < state.head.next {
            let events = log.read(space, next, ReadLimit::default()).await?;
            if events.is_empty() {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
            for event in events.iter().filter(|event| event.seq < state.head.next) {
                let mut line = String::new();
                lines::write(event, true, &mut line);
                writeln!(file, "{line}").map_err(failed)?;
            }
            next = next.plus(events.len());
        }
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        fs::rename(&fresh, &path).map_err(failed)?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        Ok(path.display().to_string())
    }
}

impl Shelf for FileShelf {
    fn keep<'a>(
        &'a self,
        space: &'a SpaceName,
        log: &'a dyn EventStore,
    ) -> Answer<'a, Result<String, StoreError>> {
        Box::pin(self.write(space, log))
    }
}
