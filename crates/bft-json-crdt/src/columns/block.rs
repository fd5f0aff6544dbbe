//! Blocks: bytes as they are, or deflated where that is shorter.

use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, TDEFLStatus, compress_to_output, create_comp_flags_from_zip_params,
};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::ColumnError;
use crate::encoding::{Reader, put_varint};

/// Of 1 to 9. More costs time and saves nothing: the codings leave few repetitions.
const LEVEL: i32 = 3;
/// Fewer bytes than this are never worth a table of codes.
const DEFLATED_FROM: usize = 24;
/// Deflate makes of one byte at most so many.
const INFLATION_MAX: usize = 1_032;

/// A compressor, whose tables serve for many blocks.
pub(crate) struct Deflater {
    state: Box<CompressorOxide>,
}

impl Deflater {
    pub(crate) fn new() -> Self {
        // A window of negative size: no header and no checksum, which the chunk has.
        let flags = create_comp_flags_from_zip_params(LEVEL, -15, 0);
        Self { state: Box::new(CompressorOxide::new(flags)) }
    }

    /// Appends a block of `data`.
    pub(crate) fn put_block(&mut self, out: &mut Vec<u8>, data: &[u8]) {
        if data.len() >= DEFLATED_FROM {
            let mut deflated = Vec::with_capacity(data.len());
            self.state.reset();
            // Once it is not shorter, the rest need not be tried.
            let (status, _) = compress_to_output(&mut self.state, data, TDEFLFlush::Finish, |bytes| {
                deflated.extend_from_slice(bytes);
                deflated.len() < data.len()
            });
            if status == TDEFLStatus::Done && deflated.len() + 2 < data.len() {
                put_varint(out, data.len() as u64 * 2 + 1);
                put_varint(out, deflated.len() as u64);
                out.extend_from_slice(&deflated);
                return;
            }
        }
        put_varint(out, data.len() as u64 * 2);
        out.extend_from_slice(data);
    }
}

/// A block whose data stands in the input, or is still to be inflated.
pub(super) enum Block<'a> {
    Plain(&'a [u8]),
    Deflated { bytes: &'a [u8], len: usize },
}

impl<'a> Block<'a> {
    /// Reads a block and takes its length off `budget`, of all that may be inflated.
    pub(super) fn read(reader: &mut Reader<'a>, budget: &mut usize) -> Result<Self, ColumnError> {
        let malformed = |error| ColumnError::of_bytes(&error);
        let head = reader.varint("a block").map_err(malformed)?;
        let len = usize::try_from(head / 2).unwrap_or(usize::MAX);
        if head % 2 == 0 {
            return reader.take("a block", len).map(Self::Plain).map_err(malformed);
        }
        if len > *budget {
            return Err(ColumnError::TooLong { found: len as u64, limit: *budget });
        }
        *budget -= len;
        let stored = reader.count("a block", usize::MAX, 1).map_err(malformed)?;
        let bytes = reader.take("a block", stored).map_err(malformed)?;
        if len > stored.saturating_mul(INFLATION_MAX) {
            return Err(ColumnError::new("directory", "a block is too short for its length"));
        }
        Ok(Self::Deflated { bytes, len })
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Deflated { len, .. } => *len,
        }
    }

    /// Appends the data.
    pub(super) fn inflate(&self, out: &mut Vec<u8>) -> Result<(), ColumnError> {
        let (bytes, len) = match self {
            Self::Plain(bytes) => {
                out.extend_from_slice(bytes);
                return Ok(());
            }
            Self::Deflated { bytes, len } => (*bytes, *len),
        };
        let start = out.len();
        out.resize(start + len, 0);
        let into = out.get_mut(start..).unwrap_or_default();
        let mut state = Box::<DecompressorOxide>::default();
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, read, written) = decompress(&mut state, bytes, into, 0, flags);
        if status != TINFLStatus::Done || read != bytes.len() || written != len {
            return Err(ColumnError::new("directory", "a block does not inflate to its length"));
        }
        Ok(())
    }
}
