//! Names: what an op number of an author stands for, and to whom.

use super::{Cast, ChangeIx, History, Made, Standing, Status};
use crate::keypair::AuthorId;
use crate::op::{LongName, Range};
use crate::state::branch::Branch;

#[expect(
    clippy::indexing_slicing,
    reason = "the numbers of changes, branches and authors are made here only"
)]
impl History {
    pub(crate) fn long_name(&self, made: Made) -> LongName {
        let row = self.row(made.change);
        LongName { author: self.author_of(made.change), counter: row.first_counter + u64::from(made.place) }
    }

    /// Finds an op number in the past of `standing`. Under equivocation one number may stand for several
    /// ops; of those in the past, that of the smaller digest is meant. O(log changes) per branch.
    pub(crate) fn resolve(&self, author: u32, counter: u64, standing: &Standing) -> Option<Made> {
        let reach = |branch: u32| {
            if branch == standing.branch_number() { standing.seq } else { standing.past.seq_of(branch) }
        };
        let smaller = |a: Made, b: Made| if self.digest(a.change) < self.digest(b.change) { a } else { b };
        self.all_named(author, counter, reach).reduce(smaller)
    }

    /// The numbers of authors that the document may have heard of: a change's own, and those of its table.
    pub(crate) fn cast(&self, own: &AuthorId, table: &[AuthorId]) -> Cast {
        let number = |author| self.by_author.get(author).copied();
        std::iter::once(own).chain(table).map(number).collect()
    }

    /// All ops in the past of `standing`, or of all that is signed, that share the number of `made`.
    pub(crate) fn namesakes(&self, made: Made, standing: Option<&Standing>) -> Vec<Made> {
        let author = self.branches[self.row(made.change).branch as usize].author;
        if self.authors[author as usize].branches.len() == 1 {
            return vec![made];
        }
        let reach = |branch: u32| match standing {
            None => u32::MAX - 1,
            Some(standing) if branch == standing.branch_number() => standing.seq,
            Some(standing) => standing.past.seq_of(branch),
        };
        let counter = self.number_of(made).1;
        self.all_named(author, counter, reach).collect()
    }

    /// The branch and the op number of what a change made.
    pub(crate) fn number_of(&self, made: Made) -> (u32, u64) {
        let row = self.row(made.change);
        (row.branch, row.first_counter + u64::from(made.place))
    }

    /// The signed change, and the place in it, that claimed an op number on a branch. O(log changes), and O(1)
    /// where the changes of the branch are of one size.
    pub(crate) fn made_at(&self, branch: u32, counter: u64) -> Option<Made> {
        self.made_in(&self.branches[branch as usize], counter)
    }

    fn made_in(&self, branch: &Branch, counter: u64) -> Option<Made> {
        let change = branch.claimant(counter)?;
        let place = counter - self.row(change).first_counter;
        (place < u64::from(self.row(change).span)).then_some(Made { change, place: place as u32 })
    }

    /// The stretches of op numbers, by branch, that a range means to a change: those of every branch of the
    /// author, as far as the change has seen them.
    pub(crate) fn spread(&self, range: &Range<Made>, by: ChangeIx) -> Vec<(u32, u64, u64)> {
        let (branch, counter) = self.number_of(range.first);
        let author = &self.authors[self.branches[branch as usize].author as usize];
        if author.branches.len() == 1 {
            return vec![(branch, counter, range.count)];
        }
        let by_row = self.row(by);
        let mut stretches = Vec::new();
        for number in &author.branches {
            let branch = &self.branches[*number as usize];
            let end = match by_row.status {
                Status::Signed if by_row.branch == *number => {
                    by_row.first_counter.saturating_add(by_row.span.into())
                }
                Status::Signed => {
                    let reach = by_row.past.seq_of(*number);
                    let last = self.at_seq(*number, reach.min(branch.last_seq()));
                    last.map_or(0, |last| self.row(last).first_counter + u64::from(self.row(last).span))
                }
                Status::Unsigned | Status::Undone => u64::MAX,
            };
            let count = end.min(counter.saturating_add(range.count)).saturating_sub(counter);
            if count > 0 {
                stretches.push((*number, counter, count));
            }
        }
        stretches
    }

    /// What an op number may stand for in each branch of its author, up to a seq.
    fn all_named<'a>(
        &'a self,
        author: u32,
        counter: u64,
        reach: impl Fn(u32) -> u32 + 'a,
    ) -> impl Iterator<Item = Made> + 'a {
        self.authors[author as usize].branches.iter().filter_map(move |number| {
            let branch = &self.branches[*number as usize];
            let made = self.made_in(branch, counter)?;
            (self.row(made.change).seq <= reach(*number)).then_some(made)
        })
    }

    /// The node that an op number made, if it made one.
    pub(crate) fn node_of(&self, made: Made) -> Option<u32> {
        let (branch, counter) = self.number_of(made);
        self.branches[branch as usize].nodes.find(counter)
    }
}
