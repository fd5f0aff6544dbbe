//! The rows: what edits and merges need of each change.
//!
//! Columns: 1 branch, 2 lamport, 3 op numbers claimed, 4 first op number (of a branch's changes the difference to
//! the end of the one before), 5 flags, 6 count of deps, 7 deps (how far back).

use super::{Renumbering, Section, SnapshotError, Table};
use crate::columns::{ColumnError, Deflater};
use crate::state::State;
use crate::state::history::{Row, RowSeed};

const RECORDED: u64 = 1;
const VOUCHED: u64 = 2;

impl State {
    pub(super) fn save_rows(&self, numbers: &Renumbering, deflater: &mut Deflater) -> Vec<u8> {
        let mut table = Table::default();
        let mut ends = vec![0u64; self.history.branches().len()];
        for change in self.history.signed() {
            let row: &Row = self.history.row(change);
            table.push(1, row.branch);
            table.push(2, row.lamport);
            table.push(3, row.span);
            if let Some(end) = ends.get_mut(row.branch as usize) {
                table.push(4, row.first_counter.wrapping_sub(*end));
                *end = row.first_counter.wrapping_add(row.span.into());
            }
            table.push(5, u64::from(row.is_recorded) * RECORDED + u64::from(row.is_vouched) * VOUCHED);
            let deps = self.history.deps_of(change);
            table.push(6, deps.len() as u64);
            for dep in deps {
                table.push(7, numbers.change(change) - numbers.change(*dep));
            }
        }
        let mut out = Vec::new();
        table.put(&mut out, deflater);
        out
    }

    pub(super) fn open_rows(&mut self, section: &Section<'_>) -> Result<(), SnapshotError> {
        let columns = section.columns()?;
        let read = || -> Result<(), ColumnError> {
            let mut branch = columns.numbers(1, "branches")?;
            let mut lamport = columns.numbers(2, "lamports")?;
            let mut span = columns.numbers(3, "op numbers")?;
            let mut first = columns.numbers(4, "first op numbers")?;
            let mut flags = columns.numbers(5, "flags")?;
            let mut dep_count = columns.numbers(6, "counts of deps")?;
            let mut dep = columns.numbers(7, "deps")?;
            let branches = self.history.branches().len();
            let mut ends = vec![0u64; branches];
            let mut numbers_left = self.claimed_max();
            for ix in 0..self.history.cold().rows() {
                let of = branch.next_up_to(branches.saturating_sub(1))?;
                let span = span.next_count(&mut numbers_left)? as u32;
                let end = ends.get_mut(of).ok_or_else(|| branch.bad("no such branch"))?;
                let first_counter = end.wrapping_add(first.next()?);
                *end = first_counter.wrapping_add(span.into());
                let flags = flags.next()?;
                let mut deps = Vec::new();
                for _ in 0..dep_count.next_up_to(crate::limits::CHANGE_DEPS_MAX)? {
                    match dep.next_up_to(ix as usize)? as u32 {
                        0 => return Err(dep.bad("a change that stands on itself")),
                        back => deps.push(ix - back),
                    }
                }
                let restored = self.history.restore_row(RowSeed {
                    branch: of as u32,
                    lamport: lamport.next()?,
                    span,
                    first_counter,
                    is_recorded: flags & RECORDED != 0,
                    is_vouched: flags & VOUCHED != 0,
                    deps,
                });
                restored.map_err(|problem| ColumnError::new("rows", problem))?;
            }
            columns.end()
        };
        let mut read = read;
        read().map_err(|error| section.column_error(&error))?;
        if self.history.is_whole() { Ok(()) } else { Err(section.malformed("tips that are none")) }
    }
}
