//! Whether an op costs the same however large its document is: the last tenth of the ops of small documents
//! beside the last tenth of those of a large one, where they are made and where they arrive.

use bft_json_crdt::counter_crdt::CounterCrdt;
use bft_json_crdt::json_crdt::{BaseCrdt, CrdtNode, JsonCrdt, UnsignedOp, add_crdt_fields};
use bft_json_crdt::list_crdt::ListCrdt;
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;
use bft_json_crdt::map_crdt::MapCrdt;
use bft_json_crdt::text_crdt::TextCrdt;
use serde_json::json;

use super::{Author, apply_covered, replica, without_covered};
use crate::job::{Grouping, Growing, Scale};
use crate::measure::Report;
use crate::workload::Random;

/// Updates that arrive together, in small documents and in large ones: a tenth of the smallest has as many.
const FRAME_UPDATES: usize = 16;

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Document {
    register: LwwRegisterCrdt<f64>,
    list: ListCrdt<LwwRegisterCrdt<f64>>,
    map: MapCrdt<LwwRegisterCrdt<f64>>,
    counter: CounterCrdt,
    text: TextCrdt,
    json: JsonCrdt,
}

pub fn growth(growing: Growing, scale: &Scale, report: &mut Report) {
    for document in 0..scale.small_documents {
        grow(growing, "small", scale.small_ops, document as u64, report);
    }
    grow(growing, "large", scale.large_ops, 0, report);
}

/// Makes one document and another that gets what the first sends.
fn grow(growing: Growing, size: &str, ops: usize, seed: u64, report: &mut Report) {
    let grouping = if growing == Growing::Changes { Grouping::PerEdit } else { Grouping::Coalesced };
    let mut local: Author<Document> = Author::new(1, grouping);
    let mut editor = Editor {
        growing,
        random: Random(0x9E37_79B9_7F4A_7C15 ^ seed << 32),
        cursor: 0,
        run: 0,
        is_cutting: false,
        len: 0,
    };
    let tenth = ops / 10;
    (0..ops - tenth).for_each(|n| local.edit(|document| editor.edit(document, n)));
    local.commit();
    let before = std::mem::take(&mut local.updates);
    report.time(&format!("local, {size}"), || {
        (ops - tenth..ops).for_each(|n| local.edit(|document| editor.edit(document, n)));
        local.commit();
    });

    let [before, last] = [&before, &local.updates]
        .map(|updates| updates.chunks(FRAME_UPDATES).map(without_covered).collect::<Vec<_>>());
    let mut remote: BaseCrdt<Document> = replica(2);
    before.iter().for_each(|frame| apply_covered(&mut remote, frame));
    report
        .time(&format!("remote, {size}"), || last.iter().for_each(|frame| apply_covered(&mut remote, frame)));
    report.check("same views", CrdtNode::view(&local.replica.doc) == CrdtNode::view(&remote.doc));

    report.bytes(&format!("memory, {size}"), remote.memory().total());
    report.time(&format!("compact, {size}"), || remote.compact()).expect("our own history");
    report.bytes(&format!("memory compacted, {size}"), remote.memory().total());
}

/// Where the edits of one kind happen.
struct Editor {
    growing: Growing,
    random: Random,
    /// Of a text: the place of the next edit, how many come before a jump, whether these cut, and the length.
    cursor: usize,
    run: usize,
    is_cutting: bool,
    len: usize,
}

impl Editor {
    fn edit(&mut self, document: &Document, n: usize) -> UnsignedOp {
        match self.growing {
            Growing::Changes | Growing::Register => document.register.set(n as f64),
            Growing::List => document.list.insert_idx(self.random.below(n + 1), n as f64),
            Growing::Map => document.map.put(&scattered("key", n), n as f64),
            Growing::Counter => document.counter.add(n as i64 % 7 - 3),
            Growing::Text => self.edit_text(&document.text),
            Growing::Json => self.edit_json(&document.json, n),
        }
    }

    /// Of four runs three are typed and one is cut.
    fn edit_text(&mut self, text: &TextCrdt) -> UnsignedOp {
        if self.run == 0 {
            self.run = 1 + self.random.below(24);
            self.is_cutting = self.random.below(4) == 0;
            self.cursor = self.random.below(self.len + 1);
        }
        self.run -= 1;
        if self.is_cutting && self.cursor > 0 {
            self.cursor -= 1;
            self.len -= 1;
            return text.cut(self.cursor, 1);
        }
        self.cursor += 1;
        self.len += 1;
        text.insert(self.cursor - 1, ["a", "e", " ", "n"][self.random.below(4)])
    }

    /// Of eight ops one puts an object and seven set a field of any that are there.
    fn edit_json(&mut self, json: &JsonCrdt, n: usize) -> UnsignedOp {
        if n.is_multiple_of(8) {
            return json
                .put(&scattered("job", n / 8), json!({"stage": "backlog", "tries": 0, "tags": ["new"]}));
        }
        let job = json.at(&scattered("job", self.random.below(n / 8 + 1))).expect("a job that was put");
        job.at("tries").expect("a field of each job").set(n as f64)
    }
}

/// Keys that do not come in their order.
fn scattered(what: &str, n: usize) -> String {
    format!("{what}-{:08x}", (n as u32).wrapping_mul(0x9E37_79B1))
}
