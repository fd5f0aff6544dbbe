//! The derive macros of `bft-json-crdt`: structs as nodes of a document.
//!
//! `#[add_crdt_fields]` gives a struct the handle that ties it to a document; `#[derive(CrdtNode)]` describes
//! its fields and attaches them. Use them together, in this order:
//!
//! ```text
//! #[add_crdt_fields]
//! #[derive(Clone, CrdtNode, Debug)]
//! struct Item { name: LwwRegisterCrdt<String> }
//! ```

mod expand;

use proc_macro::TokenStream;
use syn::{DeriveInput, ItemStruct, parse_macro_input};

/// Adds the field that holds a struct's handle. Put it above `#[derive(CrdtNode)]`.
#[proc_macro_attribute]
pub fn add_crdt_fields(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemStruct);
    expand::add_crdt_fields(arguments.into(), item).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes a struct with named fields, each a `CrdtNode`, a node of a document.
#[proc_macro_derive(CrdtNode)]
pub fn derive_crdt_node(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as DeriveInput);
    expand::derive_crdt_node(item).unwrap_or_else(|error| error.to_compile_error()).into()
}
