//! One file per engine, each written as a user who knows that engine would; here is who runs what.
//!
//! The phases mean the same everywhere. *local*: the edits, and each update encoded as it would be sent.
//! *remote*: from those bytes to a document that holds them. *snapshot*: the bytes of a whole document.
//! *load*: from those bytes to the text, or to a value in memory that holds the whole board.

mod automerge;
mod diamond;
mod gangline;
mod loro;
mod yrs;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::job::{Delivery, Engine, Grouping, Job, Scale};
use crate::measure::Report;
use crate::workload::{self, Trace};

/// What a cell is given.
pub struct Input {
    pub scale: Scale,
    /// A: the edits, as [`Trace::write`] left them.
    pub trace: Option<PathBuf>,
    /// B: where the board job leaves its updates for the memory job.
    pub updates: Option<PathBuf>,
}

/// Runs one cell.
pub fn run(engine: Engine, job: Job, input: &Input) -> Report {
    let mut report = Report::new(engine.name(), &job.name());
    match job {
        Job::Text(grouping) => text(engine, grouping, input, &mut report),
        Job::Board(grouping) => board(engine, grouping, input, &mut report),
        Job::BoardMemory(_, delivery) => board_memory(engine, delivery, input, &mut report),
        Job::Exchange(grouping, delivery) => exchange(engine, grouping, delivery, input, &mut report),
        Job::Growth(growing) => gangline::growth(growing, &input.scale, &mut report),
    }
    report.note_peak();
    report
}

fn text(engine: Engine, grouping: Grouping, input: &Input, report: &mut Report) {
    let trace = Trace::read(path(&input.trace));
    let is_per_edit = grouping == Grouping::PerEdit;
    match engine {
        Engine::Automerge => automerge::text(&trace, is_per_edit, report),
        Engine::Yrs => yrs::text(&trace, is_per_edit, report),
        Engine::Loro => loro::text(&trace, is_per_edit, report),
        Engine::Diamond => diamond::text(&trace, is_per_edit, report),
        Engine::Gangline => gangline::text(&trace, grouping, report),
    }
}

fn board(engine: Engine, grouping: Grouping, input: &Input, report: &mut Report) {
    let scale = &input.scale;
    let updates = match engine {
        Engine::Automerge => automerge::board(scale, report),
        Engine::Yrs => yrs::board(scale, report),
        Engine::Loro => loro::board(scale, report),
        Engine::Gangline => gangline::board(scale, grouping, report),
        Engine::Diamond => unreachable!("not among the cells"),
    };
    workload::write_updates(path(&input.updates), &updates);
}

fn board_memory(engine: Engine, delivery: Delivery, input: &Input, report: &mut Report) {
    let updates = path(&input.updates);
    let view = match engine {
        Engine::Automerge => automerge::board_memory(updates, report),
        Engine::Yrs => yrs::board_memory(updates, report),
        Engine::Loro => loro::board_memory(updates, report),
        Engine::Gangline => gangline::board_memory(updates, delivery, report),
        Engine::Diamond => unreachable!("not among the cells"),
    };
    check_board(&input.scale, "view", &view, report);
}

fn exchange(engine: Engine, grouping: Grouping, delivery: Delivery, input: &Input, report: &mut Report) {
    let scale = &input.scale;
    let is_batched = delivery == Delivery::Batched;
    let views = match engine {
        Engine::Automerge => automerge::exchange(scale, is_batched, report),
        Engine::Yrs => yrs::exchange(scale, is_batched, report),
        Engine::Loro => loro::exchange(scale, is_batched, report),
        Engine::Gangline => gangline::exchange(scale, grouping, delivery, report),
        Engine::Diamond => unreachable!("not among the cells"),
    };
    report.check("converged", views.windows(2).all(|pair| pair[0] == pair[1]));
    // Replicas that agree on too little would agree as well.
    let items = scale.base_items + scale.replicas * scale.replica_inserts;
    report.check(
        "complete",
        views.iter().all(|view| view["items"].as_array().is_some_and(|list| list.len() == items)),
    );
}

/// Compares a board with the workload's own model, and notes the result as a check.
fn check_board(scale: &Scale, name: &str, view: &Value, report: &mut Report) {
    let steps = workload::fill(scale.items).chain(workload::sets(scale.items, scale.sets));
    report.check(name, workload::is_same(view, &workload::board_json(steps)));
}

fn path(path: &Option<PathBuf>) -> &Path {
    path.as_deref().expect("the parent names the file")
}
