//! What every [`RowSource`] and every [`NoteStore`](crate::NoteStore) must do, as checks that each backend runs
//! (feature `conformance`).
//!
//! ```text
//! #[test]
//! fn sqlite() {
//!     gangline_reconcile::conformance::check(|name| Box::new(SqliteGround::new(name)));
//! }
//! ```
//!
//! A backend brings a [`Ground`]: a database with another program that writes to it. Tables are described in neutral
//! words, and what the other program executes is SQL that all databases understand: names in double quotes, `true`
//! and `false`, no types.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "checks fail by panicking"
)]

mod fixture;
mod moving;
mod one_to_one;
mod outbox;
mod reading;
mod saving;

use std::sync::Arc;

use crate::schema::ColumnKind;
use crate::source::RowSource;

pub use self::fixture::{ColumnSpec, TableSpec, int, mapping, null, real, tables, text, workflows};

/// A database of its own with another program in it.
pub trait Ground {
    /// Makes tables.
    fn create(&self, tables: &[TableSpec]);

    /// Has the other program execute statements, each of which commits by itself.
    ///
    /// # Panics
    /// If the database refuses one.
    fn execute(&self, sql: &str);

    /// Has the other program execute a statement and not commit it before `meanwhile` has returned.
    fn execute_while(&self, sql: &str, meanwhile: &mut dyn FnMut());

    /// Asks the other program for a text.
    fn ask(&self, sql: &str) -> Option<String>;

    /// Opens the source. Called again, it opens another one for the same database.
    fn open(&self) -> Arc<dyn RowSource>;

    /// Keeps a copy of the database as it is.
    fn backup(&self);

    /// Puts that copy back.
    fn restore(&self);

    /// Literals that a column of a kind can hold although a document cannot.
    fn bad_values(&self) -> Vec<(ColumnKind, String)>;

    /// Whether a writer has to wait until a scan is done: in databases without snapshots.
    fn writers_wait_for_readers(&self) -> bool {
        false
    }
}

/// Runs every check, each on a ground of its own that `make` makes, by the name of the check.
///
/// # Panics
/// If the backend breaks the contract.
pub fn check(make: impl Fn(&str) -> Box<dyn Ground>) {
    let checks = [reading::CHECKS, outbox::CHECKS, saving::CHECKS, moving::CHECKS, one_to_one::CHECKS];
    for (name, check) in checks.into_iter().flatten() {
        // Named before it runs: a panic inside says only what went wrong.
        println!("{name}");
        check(make(name).as_ref());
    }
}

/// A check and the claim that it makes.
type Check = (&'static str, fn(&dyn Ground));
