//! diamond-types: text only, and no transactions; a change per edit means a patch encoded per edit.

use diamond_types::list::ListCRDT;
use diamond_types::list::encoding::{ENCODE_FULL, ENCODE_PATCH, EncodeOptions};

use crate::measure::Report;
use crate::workload::{EditKind, Trace};

/// A patch of one character has nothing to compress.
const PATCH: EncodeOptions<'static> = EncodeOptions { compress_content: false, ..ENCODE_PATCH };

pub fn text(trace: &Trace, is_per_edit: bool, report: &mut Report) {
    let mut local = ListCRDT::new();
    let author = local.get_or_create_agent_id("local");
    let mut updates = Vec::new();
    report.time("local", || {
        for edit in &trace.edits {
            let before = is_per_edit.then(|| local.oplog.local_version());
            match edit.kind {
                EditKind::Insert(char) => local.insert(author, edit.at, char.encode_utf8(&mut [0; 4])),
                EditKind::Delete(_) => local.delete_without_content(author, edit.at..edit.at + 1),
            };
            if let Some(before) = before {
                updates.push(local.oplog.encode_from(PATCH, &before));
            }
        }
        if !is_per_edit {
            updates.push(local.oplog.encode(ENCODE_PATCH));
        }
    });
    report.updates(&updates);

    let mut remote = ListCRDT::new();
    let is_whole = report.each("remote", &updates, |update| {
        remote.merge_data_and_ff(update).expect("our own patch");
    });
    if is_whole {
        report.check("remote text", remote.branch.content().to_string() == trace.end);
    }

    let snapshot = report.time("snapshot", || local.oplog.encode(ENCODE_FULL));
    report.bytes("snapshot", snapshot.len());
    let loaded = report.time("load", || {
        let loaded = ListCRDT::load_from(&snapshot).expect("our own snapshot");
        loaded.branch.content().to_string()
    });
    report.check("text", loaded == trace.end);
}
