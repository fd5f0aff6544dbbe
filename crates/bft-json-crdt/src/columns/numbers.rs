//! Writing a column: of the codings that promise most the shortest is taken.

use super::{BYTES, DELTA_PLANES, DELTA_RUNS, DISTANCES, Deflater, PLANES, RUNS, zigzag};
use crate::encoding::put_varint;

/// Runs this short are taken without a look at the planes.
const SHORT: usize = 16;

/// The numbers of a column to be written.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    plain: Vec<u64>,
    /// Of a column whose reader knows a number near each, the distances to it.
    distances: Vec<u64>,
}

impl Numbers {
    /// Adds a number.
    pub(crate) fn push(&mut self, n: u64) {
        self.plain.push(n);
    }

    /// Adds a number of which the reader knows that it may be near `base`. All numbers of a column are added
    /// in this way, or none.
    pub(crate) fn push_near(&mut self, n: u64, base: u64) {
        self.plain.push(n);
        self.distances.push(zigzag(base.wrapping_sub(n) as i64));
    }

    /// The numbers, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.plain.iter().copied()
    }

    /// Appends the column in the coding that is shortest; nothing where there are no numbers. O(numbers).
    pub(crate) fn put_column(&self, out: &mut Vec<u8>, id: u8, deflater: &mut Deflater) {
        let mut candidates = Vec::new();
        for (flag, numbers) in [(0, &self.plain), (DISTANCES, &self.distances)] {
            if !numbers.is_empty() {
                let differences = differences(numbers);
                Candidate::add(&mut candidates, [RUNS + flag, PLANES + flag], numbers);
                Candidate::add(&mut candidates, [DELTA_RUNS + flag, DELTA_PLANES + flag], &differences);
            }
        }
        candidates.sort_by_key(|candidate| candidate.estimate);
        let mut best: Option<Vec<u8>> = None;
        for candidate in candidates {
            if best.as_ref().is_some_and(|best| best.len() <= candidate.estimate) {
                break;
            }
            let mut column = vec![id];
            column.extend(candidate.head);
            candidate.blocks.iter().for_each(|block| deflater.put_block(&mut column, block));
            if best.as_ref().is_none_or(|best| column.len() < best.len()) {
                best = Some(column);
            }
        }
        out.extend(best.unwrap_or_default());
    }
}

/// A column in one of the codings, not yet deflated.
struct Candidate {
    head: Vec<u8>,
    blocks: Vec<Vec<u8>>,
    /// About how many bytes it takes if it repeats nothing.
    estimate: usize,
}

impl Candidate {
    fn new(head: Vec<u8>, blocks: Vec<Vec<u8>>) -> Self {
        let estimate = blocks.iter().map(|block| entropy_bytes(block)).sum();
        Self { head, blocks, estimate }
    }

    /// Adds `numbers` in runs, and in planes where they can be worth it.
    fn add(candidates: &mut Vec<Self>, [runs, planes]: [u8; 2], numbers: &[u64]) {
        let in_runs = in_runs(numbers);
        let width = width(numbers);
        // Wide planes for the sake of a few numbers are no gain, and more to inflate.
        if in_runs.len() > SHORT && numbers.len() * width <= in_runs.len() * 2 {
            let plane = |at: usize| numbers.iter().map(|n| (n >> (8 * at)) as u8).collect();
            candidates.push(Self::new(vec![planes, width as u8], (0..width).map(plane).collect()));
        }
        candidates.push(Self::new(vec![runs], vec![in_runs]));
    }
}

/// About how many bytes `bytes` take when each byte takes as many bits as its frequency asks for. In integers, so
/// that the choice is the same on every machine.
fn entropy_bytes(bytes: &[u8]) -> usize {
    /// The logarithm to base 2, in 256ths.
    fn log2(n: usize) -> usize {
        let zeros = n.leading_zeros();
        let fraction = (n << zeros) >> (usize::BITS - 9) & 0xff;
        ((usize::BITS - 1 - zeros) as usize) * 256 + fraction
    }
    let mut counts = [0usize; 256];
    for byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let all = log2(bytes.len().max(1));
    let bits =
        counts.iter().filter(|count| **count > 0).map(|count| count * (all - log2(*count))).sum::<usize>();
    bits / (256 * 8)
}

/// Appends a column of bytes; nothing where there are none.
pub(crate) fn put_bytes_column(out: &mut Vec<u8>, id: u8, bytes: &[u8], deflater: &mut Deflater) {
    if !bytes.is_empty() {
        out.extend_from_slice(&[id, BYTES]);
        deflater.put_block(out, bytes);
    }
}

fn differences(numbers: &[u64]) -> Vec<u64> {
    let mut before = 0u64;
    let difference = |n: &u64| zigzag(n.wrapping_sub(std::mem::replace(&mut before, *n)) as i64);
    numbers.iter().map(difference).collect()
}

fn in_runs(numbers: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    for run in numbers.chunk_by(|a, b| a == b) {
        put_varint(&mut out, run.first().copied().unwrap_or_default());
        put_varint(&mut out, run.len() as u64);
    }
    out
}

/// How many bytes the highest number takes, at least one.
fn width(numbers: &[u64]) -> usize {
    let all = numbers.iter().fold(0, |all, n| all | n);
    (64 - all.leading_zeros() as usize).div_ceil(8).max(1)
}
