//! Names that people can say, made from keys: `swift-otter`. Not unique, and no proof of anything.

use bft_json_crdt::keypair::AuthorId;
use sha2::{Digest as _, Sha256};

/// The name of the node with this key, the same on every machine.
pub(crate) fn node_name(author: &AuthorId) -> String {
    let hash: [u8; 32] =
        Sha256::new().chain_update(b"gangline node name").chain_update(author.0).finalize().into();
    let [first, second, ..] = hash;
    let pick = |words: &'static [&'static str], byte: u8| words.get(usize::from(byte) % words.len()).copied();
    format!("{}-{}", pick(ADJECTIVES, first).unwrap_or("still"), pick(ANIMALS, second).unwrap_or("otter"))
}

const ADJECTIVES: &[&str] = &[
    "agile", "amber", "ample", "ardent", "azure", "bold", "brave", "bright", "brisk", "calm", "candid",
    "cedar", "clear", "clever", "cosmic", "crisp", "dapper", "daring", "deft", "eager", "early", "fair",
    "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "hardy", "hazel", "honest",
    "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow", "merry", "mild",
    "misty", "nimble", "noble", "patient", "polar", "proud", "quick", "quiet", "rapid", "rustic", "silver",
    "sleek", "snowy", "sober", "solid", "steady", "sunny", "swift", "tidy", "vivid",
];

const ANIMALS: &[&str] = &[
    "badger", "beaver", "bison", "bobcat", "camel", "caribou", "cheetah", "condor", "cougar", "coyote",
    "crane", "curlew", "dingo", "dolphin", "eagle", "egret", "elk", "ermine", "falcon", "ferret", "finch",
    "fox", "gannet", "gecko", "gibbon", "grouse", "hare", "heron", "husky", "ibex", "jackal", "jaguar",
    "kestrel", "lemming", "leopard", "lynx", "magpie", "marmot", "marten", "moose", "narwhal", "newt",
    "ocelot", "oriole", "osprey", "otter", "owl", "panther", "pelican", "petrel", "plover", "puffin", "puma",
    "raven", "reindeer", "robin", "seal", "stoat", "swan", "tapir", "tern", "walrus", "wolf", "wren",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_depend_on_the_key_alone() {
        assert_eq!(node_name(&AuthorId([7; 32])), node_name(&AuthorId([7; 32])));
        let names: std::collections::BTreeSet<_> = (0..100).map(|i| node_name(&AuthorId([i; 32]))).collect();
        assert!(names.len() > 90, "{} names for 100 keys", names.len());
        assert_eq!((ADJECTIVES.len(), ANIMALS.len()), (64, 64));
    }
}
