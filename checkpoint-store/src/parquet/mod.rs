//! Sorted rows as Parquet: three plain columns that any tool reads.

mod reader;
mod writer;

pub(crate) use reader::{FileReader, RowGroupRows, WHOLE_BELOW};
pub(crate) use writer::{BatchBuilder, EncodedFile, FileWriter};

use crate::checksum::Crc32;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, LazyLock};

/// Columns of a file, and of the record batches that this crate takes and gives:
/// `key_group: UInt16`, `key: Binary`, and `value: Binary`, which is null for a deletion.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("key_group", DataType::UInt16, false),
            Field::new("key", DataType::Binary, false),
            Field::new("value", DataType::Binary, true),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// Largest key or value: well below the 2 GiB that 32-bit offsets reach.
pub(crate) const MAX_ROW_BYTES: usize = 1 << 30;

/// How rows are cut into row groups.
///
/// A row group ends at the end of a key group once it has `min_rows` or `min_bytes`, so that a
/// large key group is read without its neighbours, and small ones share a row group. It ends
/// wherever it stands at `max_rows` or `max_bytes`, which bounds memory: a merge holds one row group of each
/// file, and where much of a state lies in one key group, all files of a chain have rows of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowGroupLimits {
    pub(crate) min_rows: usize,
    pub(crate) min_bytes: usize,
    pub(crate) max_rows: usize,
    pub(crate) max_bytes: usize,
}

impl RowGroupLimits {
    /// For files of which each holds so many bytes of rows: no merge of theirs holds more than a sixteenth of them.
    pub(crate) fn of_buffer(bytes: usize) -> Self {
        let max_bytes = (bytes / 16).clamp(64 << 10, 8 << 20);
        Self {
            min_rows: 4096,
            min_bytes: max_bytes.min(512 << 10),
            max_rows: 1 << 16,
            max_bytes,
        }
    }
}

/// What the footer says about one row group; in order, they cover the file up to the footer.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub(crate) bytes: u64,
    pub(crate) crc32: Crc32,
    pub(crate) first_group: u16,
    pub(crate) last_group: u16,
}

pub(crate) const KEY_VERSION: &str = "weir.format_version";
pub(crate) const KEY_SEGMENTS: &str = "weir.row_groups";
pub(crate) const KEY_OPERATOR: &str = "weir.operator";
pub(crate) const KEY_STATE: &str = "weir.state";
pub(crate) const KEY_CHECKPOINT: &str = "weir.checkpoint";
