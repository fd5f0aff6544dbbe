//! How many files and connections this process may have open at a time, and how many documents that allows.
//!
//! Systems often let a process have 1,024 unless it asks for more. A document that is open has five of them.

/// More than a node with all the documents and connections that it may have by default.
#[cfg(unix)]
const WANTED: u64 = 65_536;
/// What an open document has, and what opening one takes besides.
const PER_DOCUMENT: u64 = 6;
/// Most documents that are open at a time, whatever the system allows.
const DOCUMENTS_MAX: usize = 1_024;
/// Fewer than that are of no use.
const DOCUMENTS_MIN: usize = 4;

/// Asks the system for as many as it gives without further rights, within reason.
#[cfg(unix)]
pub(crate) fn raise() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let is = getrlimit(Resource::Nofile);
    let wanted = is.maximum.map_or(WANTED, |most| most.min(WANTED));
    if is.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit { current: Some(wanted), maximum: is.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::debug!(event = "descriptors_raised", limit = wanted, "more files may be open"),
        Err(error) => tracing::warn!(event = "descriptors_not_raised", limit = is.current, "{error}"),
    }
}

/// Asks the system for as many as it gives without further rights, where it counts them.
#[cfg(not(unix))]
pub(crate) fn raise() {}

/// Returns how many documents may be open at a time: half of what the process may have is theirs.
pub(crate) fn documents_max() -> usize {
    limit().map_or(DOCUMENTS_MAX, documents_within)
}

fn documents_within(limit: u64) -> usize {
    let documents = usize::try_from(limit / 2 / PER_DOCUMENT).unwrap_or(usize::MAX);
    documents.clamp(DOCUMENTS_MIN, DOCUMENTS_MAX)
}

#[cfg(unix)]
fn limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
fn limit() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_half_of_what_a_process_may_have() {
        let limits = [0, 256, 1_024, 4_096, 65_536, u64::MAX];
        assert_eq!(limits.map(documents_within), [4, 21, 85, 341, 1_024, 1_024]);
    }
}
