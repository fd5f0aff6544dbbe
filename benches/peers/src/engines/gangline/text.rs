//! Workload A: one text, typed letter by letter.

use bft_json_crdt::json_crdt::{CrdtNode, add_crdt_fields};
use bft_json_crdt::text_crdt::TextCrdt;

use super::Author;
use super::receiving::{Shown, receive};
use crate::job::Grouping;
use crate::measure::{Report, within_budget};
use crate::workload::{EditKind, Trace};

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Note {
    body: TextCrdt,
}

impl Shown for Note {
    type Whole = String;

    fn first(&self) -> String {
        self.body.slice(0, 80)
    }

    fn whole(&self) -> String {
        self.body.text()
    }
}

pub fn text(trace: &Trace, grouping: Grouping, report: &mut Report) {
    let mut local: Author<Note> = Author::new(1, grouping);
    let done = report.time("local", || {
        let done = within_budget(&trace.edits, |edit| {
            local.edit(|note| match edit.kind {
                EditKind::Insert(char) => note.body.insert(edit.at, char.encode_utf8(&mut [0; 4])),
                EditKind::Delete(_) => note.body.cut(edit.at, 1),
            });
        });
        local.commit();
        done
    });
    report.note_done("local", done, trace.edits.len());
    let end = trace.text_after(done);
    report.check("local text", local.replica.doc.body.text() == end);
    receive(local, |text| *text == end, report);
}
