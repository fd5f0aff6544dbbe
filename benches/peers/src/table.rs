//! The tables, plain or as markdown. An empty cell is what an engine does not have.

use std::fmt::Write as _;

use crate::job::{COALESCED_EDITS_MAX, Delivery, Engine, Job, Scale};
use crate::measure::Report;

/// What became of one cell; without a report its process failed.
pub struct Outcome {
    pub engine: Engine,
    pub job: Job,
    pub report: Option<Report>,
}

impl Outcome {
    pub fn is_well(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.checks.values().all(|holds| *holds))
    }

    /// Names the checks that did not hold.
    fn verdict(&self) -> String {
        let Some(report) = &self.report else { return "FAILED".to_owned() };
        let broken = report.checks.iter().filter(|(_, holds)| !**holds).map(|(name, _)| name.as_str());
        match broken.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "ok".to_owned(),
            broken => format!("FAILED: {broken}"),
        }
    }
}

/// Which time the tables show.
#[derive(Clone, Copy)]
pub enum Unit {
    Cpu,
    Wall,
}

/// Renders a table for each workload that ran.
pub fn render(outcomes: &[Outcome], scale: &Scale, unit: Unit, is_markdown: bool) -> String {
    let view = View { outcomes, unit };
    let time = match unit {
        Unit::Cpu => "CPU time",
        Unit::Wall => "wall-clock time",
    };
    let mut text = format!("Times are {time} where nothing else is said; scale {}.\n", scale.name);
    let tables = [
        view.text(scale),
        view.board(scale),
        view.concurrency(scale),
        view.receiving(),
        view.memory(),
        view.growth(scale),
    ];
    for table in tables.into_iter().flatten() {
        text.push('\n');
        text.push_str(&if is_markdown { table.markdown() } else { table.plain() });
    }
    text
}

struct View<'a> {
    outcomes: &'a [Outcome],
    unit: Unit,
}

impl View<'_> {
    fn text(&self, scale: &Scale) -> Option<Table> {
        let title = format!("A. Text: {} edits of one character", scale.edits);
        let header =
            ["", "", "changes", "local", "remote", "updates", "snapshot", "load", "peak RSS", "text"];
        let rows = self.outcomes.iter().filter_map(|cell| {
            let Job::Text(grouping) = cell.job else { return None };
            Some(vec![
                cell.engine.name().to_owned(),
                grouping.title().to_owned(),
                update_count(cell),
                self.seconds(cell, "local"),
                self.seconds(cell, "remote"),
                bytes(cell, "updates"),
                snapshot(cell),
                self.load(cell),
                peak(cell),
                cell.verdict(),
            ])
        });
        Table::of(title, &header, rows.collect())
    }

    fn board(&self, scale: &Scale) -> Option<Table> {
        let title =
            format!("B. Board: {} items of nine fields, then {} single-field sets", scale.items, scale.sets);
        let header = [
            "",
            "",
            "changes",
            "local",
            "remote, one by one",
            "as one batch",
            "updates",
            "snapshot",
            "load",
            "peak RSS, applying",
            "view",
        ];
        let rows = self.outcomes.iter().filter_map(|cell| {
            let Job::Board(grouping) = cell.job else { return None };
            let memory = self.find(cell.engine, Job::BoardMemory(grouping, Delivery::Singly));
            let verdict = match memory.filter(|memory| cell.is_well() && !memory.is_well()) {
                Some(memory) => memory.verdict(),
                None => cell.verdict(),
            };
            Some(vec![
                cell.engine.name().to_owned(),
                grouping.title().to_owned(),
                update_count(cell),
                self.seconds(cell, "local"),
                self.seconds(cell, "remote"),
                self.seconds(cell, "batch"),
                bytes(cell, "updates"),
                snapshot(cell),
                self.load(cell),
                memory.map(peak).unwrap_or_default(),
                verdict,
            ])
        });
        Table::of(title, &header, rows.collect())
    }

    fn concurrency(&self, scale: &Scale) -> Option<Table> {
        let title = format!(
            "C. Concurrency: {} replicas from {} items do {} sets and {} inserts each, then exchange them",
            scale.replicas, scale.base_items, scale.replica_sets, scale.replica_inserts
        );
        let header = [
            "",
            "",
            "local, all replicas",
            "one by one",
            "a batch per peer",
            "a covered chain per peer",
            "converged",
        ];
        let rows = self.outcomes.iter().filter_map(|cell| {
            let Job::Exchange(grouping, Delivery::Singly) = cell.job else { return None };
            let other = |delivery| self.find(cell.engine, Job::Exchange(grouping, delivery));
            let cells = [Some(cell), other(Delivery::Batched), other(Delivery::Covered)];
            let converged = match cells.iter().flatten().all(|cell| cell.is_well()) {
                true => "yes",
                false => "NO",
            };
            let exchange = |cell: Option<&Outcome>| cell.map(|cell| self.seconds(cell, "exchange"));
            let [singly, batched, covered] = cells.map(|cell| exchange(cell).unwrap_or_default());
            Some(vec![
                cell.engine.name().to_owned(),
                grouping.title().to_owned(),
                self.seconds(cell, "local"),
                singly,
                batched,
                covered,
                converged.to_owned(),
            ])
        });
        Table::of(title, &header, rows.collect())
    }

    /// What only an engine with signatures has: one column per way to sign, one row per way to send.
    fn receiving(&self) -> Option<Table> {
        let cells: Vec<&Outcome> = self
            .outcomes
            .iter()
            .filter(|cell| {
                cell.engine == Engine::Gangline && matches!(cell.job, Job::Text(_) | Job::Board(_))
            })
            .collect();
        let titles: Vec<String> =
            cells.iter().map(|cell| format!("{}, {}", cell.job.workload(), cell.job.title())).collect();
        let header: Vec<&str> = std::iter::once("").chain(titles.iter().map(String::as_str)).collect();
        let times = [
            ("floor: make 1,000 signatures", "floor, sign"),
            ("floor: parse a key and check one, 1,000 times", "floor, check"),
            ("local", "local"),
            ("one by one", "remote"),
            ("as frames, each change signed", "frames"),
            ("as one batch, each change signed", "batch"),
            ("as frames of a covered chain", "covered frames"),
            ("as one covered chain", "covered batch"),
            ("as a covering bundle", "bundle"),
            ("encode a covering bundle", "encode bundle"),
            ("save", "snapshot"),
            ("open", "load (lazy)"),
            ("open and show the beginning", "load first"),
            ("open and show all", "load"),
        ];
        let sizes = [
            ("updates", "updates"),
            ("bundle with all signatures", "bundle, all signatures"),
            ("covering bundle", "bundle"),
            ("saved state", "state"),
            ("saved history", "history"),
            ("in memory", "memory"),
            ("in memory, compacted", "memory compacted"),
        ];
        if cells.is_empty() {
            return None;
        }
        let row = |title: &str, show: &dyn Fn(&Outcome) -> String| {
            std::iter::once(title.to_owned()).chain(cells.iter().map(|cell| show(cell))).collect::<Vec<_>>()
        };
        let mut rows = vec![row("changes", &update_count)];
        rows.extend(times.map(|(title, phase)| row(title, &|cell| both_times(cell, phase))));
        rows.extend(sizes.map(|(title, name)| row(title, &|cell| bytes(cell, name))));
        Table::of("Gangline, A and B: CPU time (wall-clock time)".to_owned(), &header, rows)
    }

    fn memory(&self) -> Option<Table> {
        let header = ["", "peak RSS", "of it by the replica", "in memory", "in memory, compacted", "view"];
        let rows = self.outcomes.iter().filter_map(|cell| {
            let (Engine::Gangline, Job::BoardMemory(grouping, delivery)) = (cell.engine, cell.job) else {
                return None;
            };
            let floor = cell.report.as_ref().map(|it| it.peak_rss.saturating_sub(it.floor_rss));
            Some(vec![
                format!("{}, {}", grouping.title(), delivery.title()),
                peak(cell),
                floor.map(megabytes).unwrap_or_default(),
                bytes(cell, "memory"),
                bytes(cell, "memory compacted"),
                cell.verdict(),
            ])
        });
        Table::of("Gangline, B: a process that only applies".to_owned(), &header, rows.collect())
    }

    fn growth(&self, scale: &Scale) -> Option<Table> {
        let title = format!(
            "Gangline, growth: CPU time per op, of the last tenth of {} and of {} ops, up to {} to a change",
            scale.small_ops, scale.large_ops, COALESCED_EDITS_MAX
        );
        let header = [
            "",
            "local, small",
            "local, large",
            "ratio",
            "remote, small",
            "remote, large",
            "ratio",
            "bytes per op, small (compacted)",
            "bytes per op, large (compacted)",
            "views",
        ];
        let rows = self.outcomes.iter().filter_map(|cell| {
            let Job::Growth(growing) = cell.job else { return None };
            let (small, large) = (scale.small_ops / 10 * scale.small_documents, scale.large_ops / 10);
            let mut row = vec![growing.title().to_owned()];
            for side in ["local", "remote"] {
                let per_op = |size: &str, ops: usize| {
                    let report = cell.report.as_ref()?;
                    Some(report.seconds(&format!("{side}, {size}"))?.cpu * 1e6 / ops as f64)
                };
                let micros = |time: Option<f64>| time.map(|time| format!("{time:.3} µs")).unwrap_or_default();
                let (small, large) = (per_op("small", small), per_op("large", large));
                let ratio = small.zip(large).map(|(small, large)| format!("{:.2}", large / small));
                row.extend([micros(small), micros(large), ratio.unwrap_or_default()]);
            }
            for (size, ops) in [("small", scale.small_ops), ("large", scale.large_ops)] {
                let per_op = |name: &str| {
                    let bytes = cell.report.as_ref()?.bytes.get(&format!("{name}, {size}"))?;
                    Some(format!("{:.1}", *bytes as f64 / ops as f64))
                };
                let memory = per_op("memory").zip(per_op("memory compacted"));
                row.push(memory.map(|(hot, cold)| format!("{hot} ({cold})")).unwrap_or_default());
            }
            row.push(cell.verdict());
            Some(row)
        });
        Table::of(title, &header, rows.collect())
    }

    fn find(&self, engine: Engine, job: Job) -> Option<&Outcome> {
        self.outcomes.iter().find(|cell| cell.engine == engine && cell.job == job)
    }

    fn seconds(&self, cell: &Outcome, phase: &str) -> String {
        let Some(report) = &cell.report else { return "FAILED".to_owned() };
        let seconds = report.seconds(phase).map(|spent| match self.unit {
            Unit::Cpu => spent.cpu,
            Unit::Wall => spent.wall,
        });
        let cut = report.cut.get(phase).map(|done| format!(" for the first {done}"));
        seconds.map(show_seconds).unwrap_or_default() + cut.as_deref().unwrap_or_default()
    }

    /// Where opening and reading are two steps, both.
    fn load(&self, cell: &Outcome) -> String {
        let whole = self.seconds(cell, "load");
        match self.seconds(cell, "load (lazy)") {
            lazy if lazy.is_empty() || cell.report.is_none() => whole,
            lazy => format!("{whole} (unread {lazy})"),
        }
    }
}

fn show_seconds(seconds: f64) -> String {
    match seconds {
        s if s < 0.01 => format!("{:.2} ms", s * 1e3),
        s if s < 0.1 => format!("{:.1} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.2} s"),
        s => format!("{s:.1} s"),
    }
}

fn both_times(cell: &Outcome, phase: &str) -> String {
    let Some(spent) = cell.report.as_ref().and_then(|report| report.seconds(phase)) else {
        return String::new();
    };
    format!("{} ({})", show_seconds(spent.cpu), show_seconds(spent.wall))
}

fn update_count(cell: &Outcome) -> String {
    cell.report.as_ref().map(|report| report.update_count.to_string()).unwrap_or_default()
}

fn snapshot(cell: &Outcome) -> String {
    let first = bytes(cell, "snapshot");
    match bytes(cell, "snapshot v2") {
        second if second.is_empty() => first,
        second => format!("{first} (v2 {second})"),
    }
}

fn bytes(cell: &Outcome, name: &str) -> String {
    match cell.report.as_ref().and_then(|report| report.bytes.get(name)) {
        None => String::new(),
        Some(count) if *count < 1_000_000 => format!("{:.0} KB", *count as f64 / 1e3),
        Some(count) => format!("{:.2} MB", *count as f64 / 1e6),
    }
}

fn peak(cell: &Outcome) -> String {
    cell.report.as_ref().map_or_else(|| "FAILED".to_owned(), |it| megabytes(it.peak_rss))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}

struct Table {
    title: String,
    /// The header first.
    rows: Vec<Vec<String>>,
}

impl Table {
    /// `None` without rows.
    fn of(title: String, header: &[&str], rows: Vec<Vec<String>>) -> Option<Self> {
        if rows.is_empty() {
            return None;
        }
        let header = header.iter().map(|name| (*name).to_owned()).collect();
        Some(Self { title, rows: std::iter::once(header).chain(rows).collect() })
    }

    fn plain(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = format!("{}\n", self.title);
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join("   ").trim_end());
        }
        text
    }

    fn markdown(&self) -> String {
        let mut text = format!("**{}**\n\n", self.title);
        for (n, row) in self.rows.iter().enumerate() {
            _ = writeln!(text, "| {} |", row.join(" | "));
            if n == 0 {
                _ = writeln!(text, "|{}", "---|".repeat(row.len()));
            }
        }
        text
    }
}
