//! Writing a column: which coding makes it shortest is tried out.

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
        let mut best: Option<Vec<u8>> = None;
        let sources = [(0, &self.plain), (DISTANCES, &self.distances)];
        for (flag, numbers) in sources.into_iter().filter(|(_, numbers)| !numbers.is_empty()) {
            let deltas = deltas(numbers);
            for (numbers, runs, planes) in
                [(&numbers[..], RUNS, PLANES), (&deltas[..], DELTA_RUNS, DELTA_PLANES)]
            {
                let mut keep = |column: Vec<u8>| {
                    if best.as_ref().is_none_or(|best| column.len() < best.len()) {
                        best = Some(column);
                    }
                };
                let in_runs = in_runs(numbers);
                let mut column = vec![id, runs + flag];
                deflater.put_block(&mut column, &in_runs);
                keep(column);
                let width = width(numbers);
                // Wide planes for the sake of a few numbers: no gain, and more to inflate.
                if in_runs.len() > SHORT && numbers.len() * width <= in_runs.len() * 2 {
                    let mut column = vec![id, planes + flag, width as u8];
                    for plane in 0..width {
                        let plane: Vec<u8> = numbers.iter().map(|n| (n >> (8 * plane)) as u8).collect();
                        deflater.put_block(&mut column, &plane);
                    }
                    keep(column);
                }
            }
        }
        out.extend(best.unwrap_or_default());
    }
}

/// Appends a column of bytes; nothing where there are none.
pub(crate) fn put_bytes_column(out: &mut Vec<u8>, id: u8, bytes: &[u8], deflater: &mut Deflater) {
    if !bytes.is_empty() {
        out.extend_from_slice(&[id, BYTES]);
        deflater.put_block(out, bytes);
    }
}

fn deltas(numbers: &[u64]) -> Vec<u64> {
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
