//! The edits that every engine makes, drawn before the clock starts or cheap beside what they cause, and
//! plain models of what must come out.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Marsaglia's xorshift64: the same numbers everywhere, for ever.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }
}

// --- A: text -------------------------------------------------------------------------------------------

/// One character inserted or deleted.
#[derive(Clone, Copy, Debug)]
pub struct Edit {
    /// The position, counted in Unicode scalar values.
    pub at: usize,
    /// The same position, counted in bytes of UTF-8.
    pub at_utf8: usize,
    pub kind: EditKind,
}

#[derive(Clone, Copy, Debug)]
pub enum EditKind {
    Insert(char),
    /// The character that goes, for engines that count otherwise.
    Delete(char),
}

/// Edits of one text, from empty to `end`.
#[derive(Default)]
pub struct Trace {
    pub edits: Vec<Edit>,
    pub end: String,
}

/// A trace as it is published.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TraceFile {
    start_content: String,
    end_content: String,
    txns: Vec<Transaction>,
}

#[derive(Deserialize)]
struct Transaction {
    /// Position, count of characters deleted there, what is inserted there.
    patches: Vec<(usize, usize, String)>,
}

impl Trace {
    /// Reads at most `limit` edits of a published trace. Patches of several characters become several edits.
    pub fn read_json(path: &Path, limit: usize) -> Self {
        let file = File::open(path).expect("the trace can be opened");
        let json = BufReader::new(GzDecoder::new(BufReader::new(file)));
        let file: TraceFile = serde_json::from_reader(json).expect("the trace is gzipped JSON of a trace");
        let mut recorder = Recorder::default();
        let whole = file.start_content.chars().enumerate().map(|(at, char)| (at, EditKind::Insert(char)));
        let patches = file.txns.iter().flat_map(|txn| &txn.patches).flat_map(|(at, deleted, inserted)| {
            let deletes = (0..*deleted).map(|_| (*at, EditKind::Delete('\0')));
            deletes.chain(inserted.chars().enumerate().map(move |(n, char)| (at + n, EditKind::Insert(char))))
        });
        let mut is_cut = false;
        for (at, kind) in whole.chain(patches) {
            is_cut = recorder.edits.len() == limit;
            if is_cut {
                break;
            }
            recorder.record(at, kind);
        }
        let trace = recorder.finish();
        assert!(is_cut || trace.end == file.end_content, "the trace's edits give the content that it says");
        trace
    }

    /// Makes up edits as a writer does: runs of typing, runs of backspaces, jumps; a few letters beyond ASCII.
    pub fn make_up(limit: usize) -> Self {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut recorder = Recorder::default();
        let (mut cursor, mut len) = (0, 0);
        while recorder.edits.len() < limit {
            if random.below(4) == 0 {
                cursor = random.below(len + 1);
            }
            let is_typing = random.below(100) < 72;
            for _ in 0..=random.below(24) {
                if recorder.edits.len() == limit {
                    break;
                }
                if is_typing {
                    let char = match random.below(400) {
                        0 => 'é',
                        1 => '雪',
                        2 => '🐕',
                        n => char::from(b"etaoinshrdlu etaoin "[n % 20]),
                    };
                    recorder.record(cursor, EditKind::Insert(char));
                    (cursor, len) = (cursor + 1, len + 1);
                } else if cursor > 0 {
                    recorder.record(cursor - 1, EditKind::Delete('\0'));
                    (cursor, len) = (cursor - 1, len - 1);
                }
            }
        }
        recorder.finish()
    }

    /// The text after so many of the edits.
    pub fn text_after(&self, count: usize) -> String {
        let mut recorder = Recorder::default();
        self.edits.iter().take(count).for_each(|edit| recorder.record(edit.at, edit.kind));
        recorder.finish().end
    }

    /// Writes the edits in eight bytes each.
    pub fn write(&self, path: &Path) {
        let mut file = BufWriter::new(File::create(path).expect("a temporary file"));
        for edit in &self.edits {
            let letter = match edit.kind {
                EditKind::Insert(char) => u32::from(char),
                EditKind::Delete(_) => u32::MAX,
            };
            let record = (edit.at as u64) << 32 | u64::from(letter);
            file.write_all(&record.to_le_bytes()).expect("room for a temporary file");
        }
        file.flush().expect("room for a temporary file");
    }

    /// Reads what [`Trace::write`] wrote.
    pub fn read(path: &Path) -> Self {
        let mut file = BufReader::new(File::open(path).expect("the trace that the parent left"));
        let mut recorder = Recorder::default();
        let mut record = [0; 8];
        while file.read_exact(&mut record).is_ok() {
            let record = u64::from_le_bytes(record);
            let kind = match record as u32 {
                u32::MAX => EditKind::Delete('\0'),
                letter => EditKind::Insert(char::from_u32(letter).expect("a character")),
            };
            recorder.record((record >> 32) as usize, kind);
        }
        recorder.finish()
    }
}

/// The model of a text: a gap buffer, which also knows its cursor's position in bytes.
#[derive(Default)]
struct Recorder {
    before: Vec<char>,
    /// What follows the cursor, last character first.
    after: Vec<char>,
    before_utf8: usize,
    edits: Vec<Edit>,
}

impl Recorder {
    fn record(&mut self, at: usize, kind: EditKind) {
        while self.before.len() > at {
            let char = self.before.pop().expect("the cursor is behind a character");
            self.before_utf8 -= char.len_utf8();
            self.after.push(char);
        }
        while self.before.len() < at {
            let char = self.after.pop().expect("an edit lies within the text");
            self.before_utf8 += char.len_utf8();
            self.before.push(char);
        }
        let at_utf8 = self.before_utf8;
        let kind = match kind {
            EditKind::Insert(char) => {
                self.before.push(char);
                self.before_utf8 += char.len_utf8();
                kind
            }
            EditKind::Delete(_) => EditKind::Delete(self.after.pop().expect("a delete lies within the text")),
        };
        self.edits.push(Edit { at, at_utf8, kind });
    }

    fn finish(self) -> Trace {
        let end = self.before.iter().chain(self.after.iter().rev()).collect();
        Trace { edits: self.edits, end }
    }
}

// --- B and C: a board ----------------------------------------------------------------------------------

/// The value of a field.
#[derive(Clone, Debug)]
pub enum Field {
    Text(String),
    Number(f64),
    Flag(bool),
}

impl From<Field> for Value {
    fn from(field: Field) -> Self {
        match field {
            Field::Text(text) => text.into(),
            Field::Number(number) => number.into(),
            Field::Flag(flag) => flag.into(),
        }
    }
}

/// The fields of a new item.
pub fn item(n: usize) -> [(&'static str, Field); 9] {
    let empty = || Field::Text(String::new());
    [
        ("story_id", Field::Text(n.to_string())),
        ("stage", Field::Text("1_backlog".to_owned())),
        ("name", Field::Text(format!("item number {n}"))),
        ("agent", empty()),
        ("retry_count", Field::Number(0.0)),
        ("blocked", Field::Flag(false)),
        ("depends_on", empty()),
        ("claimed_by", empty()),
        ("claimed_at", Field::Number(0.0)),
    ]
}

/// One edit of the board.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sets a field of the item at a position.
    Set { item: usize, field: &'static str, value: Field },
    /// Inserts the `n`th item so that it stands at a position.
    Insert { at: usize, n: usize },
}

/// The edits that fill an empty board.
pub fn fill(items: usize) -> impl Iterator<Item = Step> {
    (0..items).map(|n| Step::Insert { at: n, n })
}

/// Workload B's sets: the sequence of the engine's own benchmark.
pub fn sets(items: usize, count: usize) -> impl Iterator<Item = Step> {
    let mut random = Random(88_172_645_463_325_252);
    (0..count).map(move |n| set(&mut random, items, n))
}

fn set(random: &mut Random, items: usize, n: usize) -> Step {
    let drawn = random.next();
    let (field, value) = match drawn >> 32 & 3 {
        0 => ("stage", Field::Text("2_current".to_owned())),
        1 => ("agent", Field::Text(format!("coder-{}", n % 7))),
        2 => ("retry_count", Field::Number(n as f64)),
        _ => ("blocked", Field::Flag(n.is_multiple_of(2))),
    };
    Step::Set { item: drawn as usize % items, field, value }
}

/// Workload C's edits of one replica: sets with an insert at a random place after every so many.
pub fn concurrent(replica: usize, base: usize, sets: usize, inserts: usize) -> Vec<Step> {
    let mut random = Random(88_172_645_463_325_252 ^ (replica as u64 + 1) << 20);
    let (mut steps, mut len) = (Vec::new(), base);
    for n in 0..sets {
        steps.push(set(&mut random, len, n));
        if (n + 1) * inserts / sets > len - base {
            steps.push(Step::Insert { at: random.below(len + 1), n: (replica + 1) * 1_000_000 + n });
            len += 1;
        }
    }
    steps
}

/// The JSON that a board shows after the steps.
pub fn board_json(steps: impl Iterator<Item = Step>) -> Value {
    let mut items: Vec<Map<String, Value>> = Vec::new();
    for step in steps {
        match step {
            Step::Set { item, field, value } => drop(items[item].insert(field.to_owned(), value.into())),
            Step::Insert { at, n } => {
                let fields = item(n).map(|(name, value)| (name.to_owned(), value.into()));
                items.insert(at, fields.into_iter().collect());
            }
        }
    }
    json!({ "items": items })
}

/// Compares two views. Numbers are compared as numbers: some engines show 1.0 as 1.
pub fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_same(a, b)))
        }
        _ => a == b,
    }
}

// --- updates in a file ---------------------------------------------------------------------------------

/// Writes updates so that [`each_update`] can stream them.
pub fn write_updates(path: &Path, updates: &[Vec<u8>]) {
    let mut file = BufWriter::new(File::create(path).expect("a temporary file"));
    for update in updates {
        file.write_all(&(update.len() as u32).to_le_bytes()).expect("room for a temporary file");
        file.write_all(update).expect("room for a temporary file");
    }
    file.flush().expect("room for a temporary file");
}

/// Hands out the updates of a file one after the other; only one is in memory at a time.
pub fn each_update(path: &Path, mut apply: impl FnMut(&[u8])) {
    let mut file = BufReader::new(File::open(path).expect("the updates that the board job left"));
    let (mut len, mut update) = ([0; 4], Vec::new());
    while file.read_exact(&mut len).is_ok() {
        update.resize(u32::from_le_bytes(len) as usize, 0);
        file.read_exact(&mut update).expect("a whole update");
        apply(&update);
    }
}
