//! What a document does when its database changes: each behaviour by name, in both modes where they differ.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

mod counts;
mod hostile;
mod large;
mod mappings;
mod meets;
mod online;
mod roots;
mod rows;
mod saves;
mod texts;
mod versions;
#[path = "../laws/world.rs"]
mod world;

use gangline_reconcile::{Mode, Shape};
use world::{Database, Node, shape};

const MODES: [Mode; 2] = [Mode::Merge, Mode::Mirror];

/// A document that follows a new database, and Alice's node, on which it was filled.
fn followed(mode: Mode) -> (Shape, Database, Node) {
    let shape = shape(mode);
    let database = Database::new();
    let mut alice = Node::new(1);
    alice.reconcile(&shape, &database.rows(&shape));
    (shape, database, alice)
}

/// Another node that has heard all of one.
fn joined(n: u8, other: &Node) -> Node {
    let mut node = Node::new(n);
    node.hear(other);
    node
}
