//! The slow, obvious text that the real one is compared with: a tree of single characters, walked afresh
//! for every question.

use std::cmp::Ordering;

use crate::op::Side;

pub(super) type Name = (u32, u64);
type Hook = (Option<u32>, Side);

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) name: Name,
    pub(super) hook: Hook,
    pub(super) char: char,
    pub(super) visible: bool,
    pub(super) gone: bool,
    /// By side, in order.
    children: [Vec<u32>; 2],
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) nodes: Vec<Node>,
    roots: Vec<u32>,
}

/// An order of siblings that follows neither op numbers nor branches, as little as that of digests does.
pub(super) fn order(a: Name, b: Name) -> Ordering {
    let key = |(branch, counter): Name| (counter * 7919 + u64::from(branch) * 31) % 11;
    key(b).cmp(&key(a)).then(a.cmp(&b))
}

impl Model {
    pub(super) fn insert(&mut self, (branch, counter): Name, content: &str, mut hook: Hook) {
        for (char, counter) in content.chars().zip(counter..) {
            let new = self.nodes.len() as u32;
            let name = (branch, counter);
            let node = Node { name, hook, char, visible: true, gone: false, children: Default::default() };
            self.nodes.push(node);
            let children = self.children(hook);
            let at = children.partition_point(|other| order(self.nodes[*other as usize].name, name).is_lt());
            self.children_mut(hook).insert(at, new);
            hook = (Some(new), Side::Right);
        }
    }

    pub(super) fn take_out(&mut self, node: u32) {
        let hook = self.nodes[node as usize].hook;
        self.children_mut(hook).retain(|child| *child != node);
        self.nodes[node as usize].gone = true;
    }

    pub(super) fn children(&self, (parent, side): Hook) -> &[u32] {
        match parent {
            None => &self.roots,
            Some(parent) => &self.nodes[parent as usize].children[side as usize],
        }
    }

    /// All nodes in order, hidden ones included.
    pub(super) fn in_order(&self) -> Vec<u32> {
        let mut order = Vec::new();
        // A node goes onto the stack twice: to be opened, and to be written down.
        let mut stack: Vec<(u32, bool)> = self.roots.iter().rev().map(|root| (*root, false)).collect();
        while let Some((node, is_open)) = stack.pop() {
            if is_open {
                order.push(node);
                continue;
            }
            let [left, right] = &self.nodes[node as usize].children;
            stack.extend(right.iter().rev().map(|child| (*child, false)));
            stack.push((node, true));
            stack.extend(left.iter().rev().map(|child| (*child, false)));
        }
        order
    }

    pub(super) fn hook_at(&self, order: &[u32], position: usize) -> Option<Hook> {
        let visible = |node: &u32| self.nodes[*node as usize].visible;
        let before = match position.checked_sub(1) {
            None => None,
            Some(before) => Some(order.iter().copied().filter(visible).nth(before)?),
        };
        if self.children((before, Side::Right)).is_empty() {
            return Some((before, Side::Right));
        }
        let at = before.map_or(0, |before| 1 + order.iter().position(|node| *node == before).unwrap());
        Some((Some(order[at]), Side::Left))
    }

    /// How many nodes from one on could be taken out together: each hangs right of the one before, and
    /// nothing else hangs on any.
    pub(super) fn loose_end(&self, first: u32) -> Option<u32> {
        let mut node = first;
        loop {
            let [left, right] = &self.nodes[node as usize].children;
            match right.as_slice() {
                _ if !left.is_empty() => return None,
                [] => return Some(node + 1 - first),
                [next] if *next == node + 1 => node += 1,
                _ => return None,
            }
        }
    }

    fn children_mut(&mut self, (parent, side): Hook) -> &mut Vec<u32> {
        match parent {
            None => &mut self.roots,
            Some(parent) => &mut self.nodes[parent as usize].children[side as usize],
        }
    }
}
