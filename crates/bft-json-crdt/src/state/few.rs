//! Lists of numbers that mostly hold none or one: four bytes each, with a side table for longer ones.

/// A list of numbers below 2^31.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Few(u32);

/// The lists that hold more than one number, of all [`Few`] that share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Many(Vec<Vec<u32>>);

/// No number.
const NONE: u32 = u32::MAX;
/// Marks a place in the side table.
const IN_TABLE: u32 = 1 << 31;

impl Few {
    pub(crate) fn new() -> Self {
        Self(NONE)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == NONE
    }

    pub(crate) fn as_slice<'a>(&'a self, many: &'a Many) -> &'a [u32] {
        if self.0 == NONE {
            &[]
        } else if self.0 < IN_TABLE {
            std::slice::from_ref(&self.0)
        } else {
            many.0.get((self.0 - IN_TABLE) as usize).map(|list| &list[..]).unwrap_or_default()
        }
    }

    pub(crate) fn insert(&mut self, at: usize, number: u32, many: &mut Many) {
        if self.0 == NONE {
            self.0 = number;
        } else if self.0 < IN_TABLE {
            let list = if at == 0 { vec![number, self.0] } else { vec![self.0, number] };
            self.0 = IN_TABLE + many.0.len() as u32;
            many.0.push(list);
        } else if let Some(list) = many.0.get_mut((self.0 - IN_TABLE) as usize) {
            list.insert(at, number);
        }
    }

    pub(crate) fn push(&mut self, number: u32, many: &mut Many) {
        self.insert(self.as_slice(many).len(), number, many);
    }

    /// Takes a number out.
    pub(crate) fn remove(&mut self, number: u32, many: &mut Many) {
        self.retain(|other| other != number, many);
    }

    /// Keeps some numbers. A list that becomes short again stays in the table until it is empty.
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(u32) -> bool, many: &mut Many) {
        if self.0 == NONE {
            return;
        }
        match self.0.checked_sub(IN_TABLE).and_then(|at| many.0.get_mut(at as usize)) {
            Some(list) => {
                list.retain(|number| stays(*number));
                if list.is_empty() {
                    self.0 = NONE;
                }
            }
            None if !stays(self.0) => self.0 = NONE,
            None => {}
        }
    }

    /// Puts a number that it holds before all others, and the first one in its place.
    pub(crate) fn bring_first(&mut self, number: u32, many: &mut Many) {
        let list = self.0.checked_sub(IN_TABLE).and_then(|at| many.0.get_mut(at as usize));
        if let Some(list) = list
            && let Some(at) = list.iter().position(|other| *other == number)
        {
            list.swap(0, at);
        }
    }
}

impl Many {
    /// Heap bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        let lists = self.0.iter().map(|list| list.capacity() * size_of::<u32>());
        self.0.capacity() * size_of::<Vec<u32>>() + lists.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_few_are_as_a_vector(steps in prop::collection::vec((any::<bool>(), 0u32..6, any::<prop::sample::Index>()), 0..40)) {
            let (mut few, mut many, mut model) = (Few::new(), Many::default(), Vec::new());
            let mut other = Few::new();
            for (inserts, number, at) in steps {
                if inserts && !model.contains(&number) {
                    let at = at.index(model.len() + 1);
                    few.insert(at, number, &mut many);
                    model.insert(at, number);
                    other.push(number + 10, &mut many);
                } else {
                    few.remove(number, &mut many);
                    model.retain(|other| *other != number);
                }
                prop_assert_eq!(few.as_slice(&many), &model[..]);
                prop_assert_eq!(few.is_empty(), model.is_empty());
            }
        }
    }
}
