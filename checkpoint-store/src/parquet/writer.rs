//! Sorted rows into one Parquet file in memory.

use super::{
    KEY_CHECKPOINT, KEY_OPERATOR, KEY_SEGMENTS, KEY_STATE, KEY_VERSION, MAX_ROW_BYTES,
    RowGroupLimits, Segment, schema,
};
use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::ids::{BlobPath, CheckpointId, OperatorUid};
use crate::manifest::{FORMAT_VERSION, FileRef};
use crate::typed::{StateDecoder, TypedColumn};
use arrow_array::{BinaryArray, RecordBatch, UInt16Array};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use state_backend::{KeyGroup, KeyGroupRange};
use std::sync::Arc;

/// A finished file and what the manifest has to say about it.
#[derive(Debug)]
pub(crate) struct EncodedFile {
    pub(crate) bytes: Bytes,
    pub(crate) file: FileRef,
}

/// Takes rows in ascending order of key group and key and encodes them, a row group at a time.
///
/// Memory: the raw rows of one row group, Parquet's copy of them, and the encoded file so far.
pub(crate) struct FileWriter {
    writer: ArrowWriter<Vec<u8>>,
    limits: RowGroupLimits,
    path: BlobPath,
    state: String,
    checkpoint: CheckpointId,
    batch: BatchBuilder,
    typed: Option<TypedColumn>,
    schema: SchemaRef,
    segments: Vec<Segment>,
    segment_start: usize,
    groups: Option<(u16, u16)>,
    rows: u64,
    tombstones: u64,
    raw_bytes: u64,
}

impl FileWriter {
    /// An empty file that is to lie at `path`, relative to where the manifest's paths begin. With a
    /// decoder it gets a fourth column, `typed`, of what the values mean.
    pub(crate) fn new(
        path: BlobPath,
        operator: &OperatorUid,
        state: &str,
        checkpoint: CheckpointId,
        limits: RowGroupLimits,
        decoder: Option<StateDecoder>,
    ) -> Result<Self> {
        let typed = decoder.map(TypedColumn::new);
        let schema = match &typed {
            None => schema(),
            Some(typed) => {
                let kind = typed
                    .data_type()
                    .map_err(|error| parquet_error(&path, error.into()))?;
                let mut fields = schema().fields().to_vec();
                fields.push(Arc::new(Field::new("typed", kind, true)));
                Arc::new(Schema::new(fields))
            }
        };
        let about = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
        let ascending = |column_idx| SortingColumn {
            column_idx,
            descending: false,
            nulls_first: false,
        };
        let properties = WriterProperties::builder()
            .set_created_by(concat!("weir checkpoint-store ", env!("CARGO_PKG_VERSION")).into())
            .set_key_value_metadata(Some(vec![
                about(KEY_VERSION, FORMAT_VERSION.to_string()),
                about(KEY_OPERATOR, operator.to_string()),
                about(KEY_STATE, state.to_owned()),
                about(KEY_CHECKPOINT, checkpoint.to_string()),
            ]))
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
            .set_encoding(Encoding::PLAIN)
            // Keys are unique and values nearly so: a dictionary costs a third of the speed for
            // nothing. Key groups come in runs, of which the compression leaves nothing.
            .set_dictionary_enabled(false)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            // Of keys they would say nothing: each key group has some from everywhere.
            .set_column_statistics_enabled(ColumnPath::from("key"), EnabledStatistics::None)
            .set_column_statistics_enabled(ColumnPath::from("value"), EnabledStatistics::None)
            .set_offset_index_disabled(true)
            // Row groups are cut here, not by the library.
            .set_max_row_group_row_count(None)
            .set_sorting_columns(Some(vec![ascending(0), ascending(1)]))
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))
            .map_err(|source| parquet_error(&path, source))?;
        Ok(Self {
            writer,
            limits,
            path,
            state: state.to_owned(),
            checkpoint,
            batch: BatchBuilder::default(),
            typed,
            schema,
            segments: Vec::new(),
            segment_start: 0,
            groups: None,
            rows: 0,
            tombstones: 0,
            raw_bytes: 0,
        })
    }

    /// Adds a row, which must come after all before it.
    pub(crate) fn push(&mut self, group: u16, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let size = key.len() + value.map_or(0, <[u8]>::len);
        if size > MAX_ROW_BYTES {
            return Err(Error::RowTooLarge {
                state: self.state.clone(),
                bytes: size,
                limit: MAX_ROW_BYTES,
            });
        }
        let (rows, bytes) = (self.batch.groups.len(), self.batch.bytes());
        let RowGroupLimits {
            min_rows,
            min_bytes,
            max_rows,
            max_bytes,
        } = self.limits;
        let at_boundary = self.batch.groups.last().is_some_and(|last| *last != group);
        let large_enough = rows >= min_rows || bytes >= min_bytes;
        if (at_boundary && large_enough)
            || rows >= max_rows
            || (rows > 0 && bytes + size > max_bytes)
        {
            self.end_row_group()?;
        }
        self.batch.push(group, key, value);
        if let Some(typed) = &mut self.typed {
            // What does not have the shape is null; the value itself is there beside it.
            let _ = typed.push(value);
        }
        self.rows += 1;
        self.raw_bytes += size as u64;
        self.tombstones += u64::from(value.is_none());
        let first = self.groups.map_or(group, |(first, _)| first);
        self.groups = Some((first, group));
        Ok(())
    }

    /// Bytes of the file so far, without the row group in the making.
    pub(crate) fn encoded_bytes(&self) -> usize {
        self.segment_start
    }

    /// The key group of the last row.
    pub(crate) fn last_group(&self) -> Option<u16> {
        self.groups.map(|(_, last)| last)
    }

    fn end_row_group(&mut self) -> Result<()> {
        let (Some(&first), Some(&last)) = (self.batch.groups.first(), self.batch.groups.last())
        else {
            return Ok(());
        };
        let batch = self
            .batch
            .take()
            .map_err(|error| parquet_error(&self.path, error.into()))?;
        let batch = match &mut self.typed {
            None => batch,
            Some(typed) => {
                let with_types = |column| {
                    let columns = batch.columns().iter().cloned();
                    let columns = columns.chain([column]).collect();
                    RecordBatch::try_new(Arc::clone(&self.schema), columns)
                };
                let batch = typed.take().and_then(with_types);
                batch.map_err(|error| parquet_error(&self.path, error.into()))?
            }
        };
        let write = |writer: &mut ArrowWriter<Vec<u8>>| {
            writer.write(&batch)?;
            writer.flush()?;
            writer.sync()?;
            Ok(())
        };
        write(&mut self.writer).map_err(|source| parquet_error(&self.path, source))?;
        let written = self.writer.inner();
        let segment = &written[self.segment_start..];
        self.segments.push(Segment {
            bytes: segment.len() as u64,
            crc32: Crc32::of(segment),
            first_group: first,
            last_group: last,
        });
        self.segment_start = written.len();
        Ok(())
    }

    /// Completes the file; `None` when it got no rows.
    pub(crate) fn finish(mut self) -> Result<Option<EncodedFile>> {
        self.end_row_group()?;
        let Some((first, last)) = self.groups else {
            return Ok(None);
        };
        let segments = serde_json::to_string(&self.segments)
            .map_err(|error| Error::corrupted(&self.path, error.to_string()))?;
        self.writer
            .append_key_value_metadata(KeyValue::new(KEY_SEGMENTS.to_owned(), segments));
        let bytes = self
            .writer
            .into_inner()
            .map_err(|source| parquet_error(&self.path, source))?;
        let bytes = Bytes::from(bytes);
        let tail = &bytes[self.segment_start..];
        let file = FileRef {
            state: self.state,
            groups: KeyGroupRange::new(KeyGroup::new(first), KeyGroup::new(last))?,
            checkpoint: self.checkpoint,
            rows: self.rows,
            tombstones: self.tombstones,
            bytes: bytes.len() as u64,
            raw_bytes: self.raw_bytes,
            crc32: Crc32::of(&bytes),
            tail_bytes: tail.len() as u64,
            tail_crc32: Crc32::of(tail),
            part: None,
            path: self.path,
        };
        Ok(Some(EncodedFile { bytes, file }))
    }
}

pub(super) fn parquet_error(path: &BlobPath, source: parquet::errors::ParquetError) -> Error {
    Error::Parquet {
        path: path.clone(),
        source,
    }
}

/// Rows of one batch, in the layout of Arrow.
pub(crate) struct BatchBuilder {
    groups: Vec<u16>,
    key_ends: Vec<i32>,
    keys: Vec<u8>,
    value_ends: Vec<i32>,
    values: Vec<u8>,
    /// Which values are there, once one is not.
    present: Option<BooleanBufferBuilder>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            key_ends: vec![0],
            keys: Vec::new(),
            value_ends: vec![0],
            values: Vec::new(),
            present: None,
        }
    }
}

impl BatchBuilder {
    pub(crate) fn bytes(&self) -> usize {
        self.keys.len() + self.values.len()
    }

    /// Memory in use, roughly.
    pub(crate) fn size(&self) -> usize {
        self.bytes() + 10 * self.rows()
    }

    pub(crate) fn rows(&self) -> usize {
        self.groups.len()
    }

    /// Adds a row. The caller ends the batch well before 2 GiB.
    pub(crate) fn push(&mut self, group: u16, key: &[u8], value: Option<&[u8]>) {
        if value.is_none() && self.present.is_none() {
            let mut present = BooleanBufferBuilder::new(self.groups.len() + 1);
            present.append_n(self.groups.len(), true);
            self.present = Some(present);
        }
        self.groups.push(group);
        self.keys.extend_from_slice(key);
        self.key_ends
            .push(i32::try_from(self.keys.len()).unwrap_or(i32::MAX));
        self.values.extend_from_slice(value.unwrap_or_default());
        self.value_ends
            .push(i32::try_from(self.values.len()).unwrap_or(i32::MAX));
        if let Some(present) = &mut self.present {
            present.append(value.is_some());
        }
    }

    /// The rows as a record batch; begins anew.
    pub(crate) fn take(&mut self) -> Result<RecordBatch, arrow_schema::ArrowError> {
        let mut taken = std::mem::take(self);
        // The next batch will be about as large.
        self.groups.reserve(taken.groups.len());
        self.keys.reserve(taken.keys.len());
        self.values.reserve(taken.values.len());
        let binary = |ends: Vec<i32>, bytes: Vec<u8>, nulls| {
            let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
            BinaryArray::try_new(offsets, Buffer::from_vec(bytes), nulls)
        };
        let nulls = taken.present.as_mut();
        let nulls = nulls.map(|present| NullBuffer::new(present.finish()));
        RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(UInt16Array::from(taken.groups)),
                Arc::new(binary(taken.key_ends, taken.keys, None)?),
                Arc::new(binary(taken.value_ends, taken.values, nulls)?),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Much state under one key: every file has rows of its key group, and a merge holds a row group of each.
    #[test]
    fn a_large_key_group_is_cut_by_the_buffer() {
        let mut writer = FileWriter::new(
            BlobPath::new("file").unwrap(),
            &OperatorUid::new("operator").unwrap(),
            "state",
            CheckpointId::new(1),
            RowGroupLimits::of_buffer(2 << 20),
            None,
        )
        .unwrap();
        for row in 0..1_000_u32 {
            writer
                .push(7, &row.to_be_bytes(), Some(&[row as u8; 4_000]))
                .unwrap();
        }
        // 4 MB in row groups of 128 KiB, without a row that would be beyond.
        writer.end_row_group().unwrap();
        assert_eq!(
            writer.segments.len(),
            1_000_usize.div_ceil((128 << 10) / 4_004)
        );
    }
}
