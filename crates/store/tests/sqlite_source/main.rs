//! Rows of SQLite files: the port's contract, what is SQLite's own, saves among what schemas do, and tables with anything
//! in them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod conforms;
mod ground;
mod meets_sqlite;
mod parts;
mod properties;
mod saves;
