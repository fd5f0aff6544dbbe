use bft_json_crdt::json_crdt::{CrdtNode, add_crdt_fields};
use bft_json_crdt::lww_crdt::LwwRegisterCrdt;

#[derive(Clone, CrdtNode, Debug)]
struct NoHandle {
    name: LwwRegisterCrdt<String>,
}

#[add_crdt_fields]
#[derive(Clone, CrdtNode, Debug)]
struct Tuple(LwwRegisterCrdt<String>);

#[add_crdt_fields(fast)]
#[derive(Clone, CrdtNode, Debug)]
struct Arguments {
    name: LwwRegisterCrdt<String>,
}

#[derive(Clone, CrdtNode)]
enum Either {
    Left,
}

fn main() {}
