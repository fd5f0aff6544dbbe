//! Texts beside a slow, obvious model, step by step; in any causal order; and where a hostile author builds
//! what a careless walk would not survive.

mod model;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use model::{Model, Name, Node, order};

/// Letters, what is not ASCII, and what needs four bytes.
const CONTENTS: [&str; 8] = ["a", "b", "xyz", "a long run of characters", "é", "grüße", "日本", "x😀y"];

#[derive(Clone, Debug)]
enum Step {
    /// Types on at the place of the last one, if there is none in `at`.
    Type {
        at: Option<Index>,
        content: Index,
    },
    Insert {
        branch: u32,
        parent: Index,
        side: Side,
        content: Index,
        gap: u64,
    },
    DeleteNumbers {
        branch: u32,
        counter: Index,
        len: u64,
    },
    DeletePositions {
        at: Index,
        len: usize,
    },
    Backspace {
        at: Index,
        times: usize,
    },
    Show {
        at: Index,
        len: u32,
    },
    TakeOut {
        at: Index,
    },
}

fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    let side = prop_oneof![Just(Side::Left), Just(Side::Right)];
    let step = prop_oneof![
        6 => (proptest::option::of(any::<Index>()), any::<Index>())
            .prop_map(|(at, content)| Step::Type { at, content }),
        6 => (0u32..4, any::<Index>(), side, any::<Index>(), 0u64..3).prop_map(
            |(branch, parent, side, content, gap)| Step::Insert { branch, parent, side, content, gap }
        ),
        2 => (0u32..5, any::<Index>(), 0u64..60)
            .prop_map(|(branch, counter, len)| Step::DeleteNumbers { branch, counter, len }),
        2 => (any::<Index>(), 0usize..6).prop_map(|(at, len)| Step::DeletePositions { at, len }),
        2 => (any::<Index>(), 1usize..6).prop_map(|(at, times)| Step::Backspace { at, times }),
        2 => (any::<Index>(), 1u32..9).prop_map(|(at, len)| Step::Show { at, len }),
        3 => any::<Index>().prop_map(|at| Step::TakeOut { at }),
    ];
    prop::collection::vec(step, 1..count)
}

struct Pair {
    text: Text,
    model: Model,
    counters: [u64; 4],
    typed_at: usize,
}

impl Pair {
    fn new() -> Self {
        Self { text: Text::new(), model: Model::default(), counters: [3; 4], typed_at: 0 }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Type { at, content } => {
                let at = at.map_or(self.typed_at.min(self.text.len()), |at| at.index(self.text.len() + 1));
                let hook = self.text.hook_at(at).unwrap();
                let content = content.get(&CONTENTS);
                self.insert(0, hook, content);
                self.typed_at = at + content.chars().count();
            }
            Step::Insert { branch, parent, side, content, gap } => {
                let alive = self.alive();
                let parent = parent.index(alive.len() + 1).checked_sub(1).map(|at| alive[at]);
                let hook = (parent, if parent.is_none() { Side::Right } else { side });
                self.counters[branch as usize] += gap;
                self.insert(branch, hook, content.get::<&str>(&CONTENTS));
            }
            Step::DeleteNumbers { branch, counter, len } => {
                let top = self.counters.get(branch as usize).map_or(9, |counter| *counter);
                self.delete(branch, counter.index(top as usize) as u64, len);
            }
            Step::DeletePositions { at, len } => {
                let at = at.index(self.text.len() + 1);
                self.delete_at(at, len);
            }
            Step::Backspace { at, times } => {
                let at = at.index(self.text.len() + 1);
                for before in (at.saturating_sub(times)..at).rev() {
                    self.delete_at(before, 1);
                }
                self.typed_at = at.saturating_sub(times);
            }
            Step::Show { at, len } => {
                let alive = self.alive();
                let hidden = |node: &u32| !self.model.nodes[*node as usize].visible;
                let Some(first) = alive.get(at.index(alive.len().max(1))).copied().filter(hidden) else {
                    return;
                };
                let is_shown = |node: &u32| {
                    self.model.nodes.get(*node as usize).is_none_or(|node| node.visible || node.gone)
                };
                let end = (first..first + len).find(is_shown).unwrap_or(first + len);
                self.text.show(first, end - first);
                (first..end).for_each(|node| self.model.nodes[node as usize].visible = true);
            }
            Step::TakeOut { at } => {
                let alive = self.alive();
                let Some(first) = alive.get(at.index(alive.len().max(1))).copied() else { return };
                let Some(len) = self.model.loose_end(first) else { return };
                self.text.take_out(first, len);
                (first..first + len).rev().for_each(|node| self.model.take_out(node));
            }
        }
    }

    fn insert(&mut self, branch: u32, hook: (Option<CharIx>, Side), content: &str) {
        let counter = self.counters[branch as usize];
        let first = self.text.insert(branch, counter, content, hook.0, hook.1, &order);
        assert_eq!(first as usize, self.model.nodes.len());
        self.model.insert((branch, counter), content, hook);
        self.counters[branch as usize] += content.chars().count() as u64;
    }

    fn delete_at(&mut self, at: usize, len: usize) {
        let names = self.text.names_in(at, len);
        assert_eq!(names, self.names_in(at, len));
        for (branch, counter, len) in names {
            self.delete(branch, counter, len);
        }
    }

    /// Deletes in both, and compares where each stretch stood with the model at that very time.
    fn delete(&mut self, branch: u32, counter: u64, len: u64) {
        let order = self.model.in_order();
        let model = &mut self.model;
        self.text.delete(branch, counter, len, &mut |first, count, position| {
            assert!(count > 0);
            let visible: Vec<u32> =
                order.iter().copied().filter(|node| model.nodes[*node as usize].visible).collect();
            for (node, at) in (first..first + count).zip(position..) {
                assert_eq!(visible.get(at), Some(&node));
                let node = &mut model.nodes[node as usize];
                assert!(node.name.0 == branch && (counter..counter + len).contains(&node.name.1));
                node.visible = false;
            }
        });
        let left = |node: &&Node| {
            let is_named = node.name.0 == branch && (counter..counter + len).contains(&node.name.1);
            node.visible && !node.gone && is_named
        };
        assert_eq!(self.model.nodes.iter().filter(left).count(), 0);
    }

    fn alive(&self) -> Vec<u32> {
        (0..self.model.nodes.len() as u32).filter(|node| !self.model.nodes[*node as usize].gone).collect()
    }

    fn visible(&self) -> Vec<u32> {
        let mut order = self.model.in_order();
        order.retain(|node| self.model.nodes[*node as usize].visible);
        order
    }

    fn names_in(&self, at: usize, len: usize) -> Vec<(u32, u64, u64)> {
        let mut names: Vec<(u32, u64, u64)> = Vec::new();
        for node in self.visible().into_iter().skip(at).take(len) {
            let (branch, counter) = self.model.nodes[node as usize].name;
            match names.last_mut() {
                Some(last) if last.0 == branch && last.1 + last.2 == counter => last.2 += 1,
                _ => names.push((branch, counter, 1)),
            }
        }
        names
    }

    fn check(&mut self) {
        self.text.runs.assert_sound();
        let order = self.model.in_order();
        let nodes = &self.model.nodes;
        let visible = self.visible();
        let content: String = visible.iter().map(|node| nodes[*node as usize].char).collect();
        assert_eq!(self.text.content(), content);
        assert_eq!(self.text.len(), visible.len());

        let stretches = self.text.stretches();
        let characters =
            stretches.flat_map(|(first, len, is_visible)| (first..first + len).map(move |c| (c, is_visible)));
        let expected: Vec<_> = order.iter().map(|node| (*node, nodes[*node as usize].visible)).collect();
        assert_eq!(characters.collect::<Vec<_>>(), expected);

        let mut before = 0;
        for node in &order {
            let Node { name, hook, visible, .. } = nodes[*node as usize].clone();
            assert_eq!(self.text.position(*node), (before, visible));
            assert_eq!(self.text.parent(*node), hook);
            assert_eq!(self.text.id(*node), name);
            before += usize::from(visible);
        }
        for branch in 0..5 {
            for counter in 0..self.counters.get(branch as usize).map_or(20, |counter| counter + 3) {
                let is_named = |node: &u32| nodes[*node as usize].name == (branch, counter);
                let found = order.iter().copied().find(is_named);
                assert_eq!(self.text.find(branch, counter), found);
            }
        }
        for (position, node) in visible.iter().enumerate() {
            assert_eq!(self.text.at(position), Some(*node));
        }
        assert_eq!(self.text.at(visible.len()), None);
        for position in (0..=visible.len() + 1).rev() {
            assert_eq!(self.text.hook_at(position), self.model.hook_at(&order, position), "at {position}");
        }
        for (at, len) in [(0, usize::MAX), (visible.len() / 3, visible.len() / 2), (visible.len(), 3)] {
            assert_eq!(self.text.names_in(at, len), self.names_in(at, len));
            assert_eq!(self.text.slice(at, len), content.chars().skip(at).take(len).collect::<String>());
        }
        self.text.runs.assert_sound();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn agrees_with_a_plain_tree(steps in steps(50)) {
        let mut pair = Pair::new();
        for step in steps {
            pair.take(step);
            pair.check();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn agrees_with_a_plain_tree_when_it_is_large(steps in steps(1_500)) {
        let mut pair = Pair::new();
        for (step, count) in steps.into_iter().zip(1..) {
            pair.take(step);
            pair.text.runs.assert_sound();
            if count % 250 == 0 {
                pair.check();
            }
        }
        pair.check();
    }

    #[test]
    fn any_causal_order_gives_the_same_text(
        inserts in prop::collection::vec((0u32..4, any::<Index>(), any::<bool>(), any::<Index>()), 1..120),
        picks in prop::collection::vec(any::<Index>(), 120),
    ) {
        // Each insert is by name: what it is called, what it hangs on, which others must come before.
        let mut made: Vec<(Name, Option<Name>, Side, &str)> = Vec::new();
        let mut counters = [0u64; 4];
        for (branch, parent, is_left, content) in inserts {
            let parent = parent.index(made.len() + 1).checked_sub(1).map(|at| {
                let (name, _, _, content) = made[at];
                (name.0, name.1 + content.chars().count() as u64 / 2)
            });
            let parent = parent.map(|(branch, counter)| (branch, counter.min(counters[branch as usize] - 1)));
            let side = if is_left && parent.is_some() { Side::Left } else { Side::Right };
            let content = content.get(&CONTENTS);
            made.push(((branch, counters[branch as usize]), parent, side, content));
            counters[branch as usize] += content.chars().count() as u64;
        }
        let deliver = |picks: &mut dyn Iterator<Item = Index>| {
            let mut text = Text::new();
            let mut left = made.clone();
            while !left.is_empty() {
                let ready: Vec<usize> = (0..left.len())
                    .filter(|at| {
                        let (name, parent, ..) = left[*at];
                        let follows = left[..*at].iter().all(|(other, ..)| other.0 != name.0);
                        follows && parent.is_none_or(|(branch, counter)| text.find(branch, counter).is_some())
                    })
                    .collect();
                let next = picks.next().map_or(ready[0], |pick| *pick.get(&ready));
                let (name, parent, side, content) = left.remove(next);
                let parent = parent.map(|(branch, counter)| text.find(branch, counter).unwrap());
                text.insert(name.0, name.1, content, parent, side, &order);
            }
            let all = text.len();
            (text.content(), text.names_in(0, all))
        };
        prop_assert_eq!(deliver(&mut picks.into_iter()), deliver(&mut std::iter::empty()));
    }
}

/// Hangs a chain of 200,000 characters, then another child on each of them, from the top down, and compares
/// with the model once. A walk along the chain for each would take 20,000,000,000 steps.
fn survives_a_deep_chain(side: impl Fn(u32) -> Side, stands_first: bool) {
    const DEPTH: u32 = 200_000;
    let order = |a: (u32, u64), b: (u32, u64)| if stands_first { b.cmp(&a) } else { a.cmp(&b) };
    let mut text = Text::new();
    let mut characters = Vec::new();
    let mut parent = None;
    // Two branches take turns, so that no character hangs right of the one numbered before it.
    for at in 0..DEPTH {
        let hook = if at == 0 { Side::Right } else { side(at - 1) };
        let character = text.insert(1, u64::from(at), "c", parent, hook, &order);
        text.insert(2, u64::from(at), "-", None, Side::Right, &order);
        characters.push(character);
        parent = Some(character);
    }
    for (at, character) in (0..).zip(&characters) {
        text.insert(3, u64::from(at), "s", Some(*character), side(at), &order);
    }
    // What stands in the text, walked along the chain: all that is left of it, and all that is right of it.
    let (mut before, mut after) = (String::new(), String::new());
    for at in 0..DEPTH {
        let is_last = at == DEPTH - 1;
        match (side(at), stands_first || is_last) {
            (Side::Left, true) => {
                before.push('s');
                after.push('c');
            }
            (Side::Left, false) => after.extend(['c', 's']),
            (Side::Right, true) => before.extend(['c', 's']),
            (Side::Right, false) => {
                before.push('c');
                after.push('s');
            }
        }
    }
    let content: String = text.content().chars().filter(|char| *char != '-').collect();
    // The child that is left of its parent, behind its sibling, stands before its parent.
    let after: String = after.chars().rev().collect();
    assert!(content == before + &after);
}

#[test]
fn a_deep_chain_of_left_children_makes_no_walk_long() {
    survives_a_deep_chain(|_| Side::Left, true);
    survives_a_deep_chain(|_| Side::Left, false);
}

#[test]
fn a_deep_chain_of_right_children_makes_no_walk_long() {
    survives_a_deep_chain(|_| Side::Right, true);
    survives_a_deep_chain(|_| Side::Right, false);
}

#[test]
fn a_deep_zigzag_makes_no_walk_long() {
    survives_a_deep_chain(|at| if at % 2 == 0 { Side::Left } else { Side::Right }, true);
    survives_a_deep_chain(|at| if at % 3 == 0 { Side::Left } else { Side::Right }, false);
}

#[test]
fn deleting_what_is_deleted_costs_nothing() {
    const RUNS: u64 = 50_000;
    let mut text = Text::new();
    let order = |a: (u32, u64), b: (u32, u64)| a.cmp(&b);
    // Each of the numbers is a run of its own, since each hangs on the text's beginning.
    for counter in 0..RUNS {
        text.insert(1, counter * 2, "a", None, Side::Right, &order);
    }
    let mut hidden = 0;
    for _ in 0..RUNS {
        text.delete(1, 0, u64::MAX, &mut |_, len, _| hidden += u64::from(len));
    }
    assert_eq!((hidden, text.len()), (RUNS, 0));
}

#[test]
fn splits_beside_a_giant_run_leave_it_where_it_is() {
    // What is typed in behind its first, second, third character cuts a giant run and splits its leaf again and
    // again; moving what is left of the giant each time would be 60,000,000,000 moves.
    let mut text = Text::new();
    let order = |a: (u32, u64), b: (u32, u64)| b.cmp(&a);
    text.insert(1, 0, &"g".repeat(2_000_000), None, Side::Right, &order);
    for at in 0..100_000 {
        text.insert(2, u64::from(at) * 2, "s", Some(at), Side::Right, &order);
    }
    assert_eq!(text.len(), 2_100_000);
    assert_eq!(text.position(100_000), (200_000, true));
    assert_eq!(text.slice(199_998, 4), "gsgg");
    assert!(text.runs.moved < 1_000_000, "{} moves", text.runs.moved);
}
