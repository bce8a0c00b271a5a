//! One Parquet file, read by row group, every byte verified before it is parsed.

use super::writer::parquet_error;
use super::{KEY_SEGMENTS, KEY_VERSION, Segment};
use crate::blob::BlobStore;
use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::ids::BlobPath;
use crate::manifest::{FORMAT_VERSION, FileRef};
use arrow_array::cast::AsArray;
use arrow_array::types::UInt16Type;
use arrow_array::{Array, BinaryArray, UInt16Array};
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use state_backend::{KeyGroup, KeyGroupRange};
use std::ops::Range;
use std::sync::Arc;

/// Files up to this size are fetched in one piece rather than footer first, and kept while they are open.
pub(crate) const WHOLE_BELOW: u64 = 64 << 10;

/// An open file: its footer, verified and parsed.
#[derive(Debug)]
pub(crate) struct FileReader {
    blobs: Arc<dyn BlobStore>,
    path: BlobPath,
    size: u64,
    whole: Option<Bytes>,
    metadata: ArrowReaderMetadata,
    row_groups: Vec<RowGroup>,
}

#[derive(Debug)]
struct RowGroup {
    range: Range<u64>,
    segment: Segment,
}

/// The rows of one row group.
#[derive(Debug)]
pub(crate) struct RowGroupRows {
    pub(crate) groups: UInt16Array,
    pub(crate) keys: BinaryArray,
    pub(crate) values: BinaryArray,
}

impl RowGroupRows {
    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }

    pub(crate) fn key(&self, row: usize) -> (u16, &[u8]) {
        (self.groups.value(row), self.keys.value(row))
    }

    pub(crate) fn value(&self, row: usize) -> Option<&[u8]> {
        (!self.values.is_null(row)).then(|| self.values.value(row))
    }

    pub(crate) fn is_deletion(&self, row: usize) -> bool {
        self.values.is_null(row)
    }

    /// The first of these rows that is a deletion, or their end.
    pub(crate) fn first_deletion(&self, rows: Range<usize>) -> usize {
        if self.values.null_count() == 0 {
            return rows.end;
        }
        let mut within = rows.clone();
        within
            .find(|row| self.values.is_null(*row))
            .unwrap_or(rows.end)
    }
}

impl FileReader {
    /// Reads the footer (or all of a small file) of `file`, which lies at `path`.
    pub(crate) fn open(blobs: &Arc<dyn BlobStore>, path: BlobPath, file: &FileRef) -> Result<Self> {
        let size = file.bytes;
        let tail_start = size
            .checked_sub(file.tail_bytes)
            .ok_or_else(|| Error::corrupted(&path, "its footer is larger than itself"))?;
        let (whole, tail) = if size <= WHOLE_BELOW {
            let whole = fetch(blobs, &path, 0..size, ("the file", file.crc32))?;
            let tail = whole.slice(clamp(tail_start)..);
            (Some(whole), tail)
        } else {
            let expected = ("the footer", file.tail_crc32);
            (None, fetch(blobs, &path, tail_start..size, expected)?)
        };
        verify(&path, "the footer", &tail, file.tail_crc32)?;
        let window = Window {
            size,
            start: tail_start,
            bytes: tail,
        };
        let metadata = ArrowReaderMetadata::load(&window, ArrowReaderOptions::new())
            .map_err(|source| parquet_error(&path, source))?;
        let segments = segments_of(&path, &metadata)?;
        let mut row_groups = Vec::with_capacity(segments.len());
        let mut start = 0_u64;
        for segment in segments {
            let end = start.saturating_add(segment.bytes);
            row_groups.push(RowGroup {
                range: start..end,
                segment,
            });
            start = end;
        }
        if start != tail_start || row_groups.len() != metadata.metadata().num_row_groups() {
            return Err(Error::corrupted(&path, "its row groups do not add up"));
        }
        Ok(Self {
            blobs: Arc::clone(blobs),
            path,
            size,
            whole,
            metadata,
            row_groups,
        })
    }

    /// The row groups that have rows of these key groups, in order.
    pub(crate) fn row_groups_of(&self, groups: KeyGroupRange) -> Vec<usize> {
        let overlaps = |segment: &Segment| {
            segment.first_group <= groups.end().get() && groups.start().get() <= segment.last_group
        };
        let all = self.row_groups.iter().enumerate();
        all.filter(|(_, group)| overlaps(&group.segment))
            .map(|(at, _)| at)
            .collect()
    }

    /// Rows in those row groups that have no other key group.
    pub(crate) fn rows_of(&self, group: KeyGroup) -> u64 {
        let own = |(_, row_group): &(usize, &RowGroup)| {
            let Segment {
                first_group,
                last_group,
                ..
            } = row_group.segment;
            first_group == group.get() && last_group == group.get()
        };
        let rows = |(at, _)| self.metadata.metadata().row_group(at).num_rows();
        let all = self.row_groups.iter().enumerate().filter(own).map(rows);
        all.filter_map(|rows| u64::try_from(rows).ok()).sum()
    }

    /// Size of one row group in the file.
    pub(crate) fn row_group_bytes(&self, at: usize) -> u64 {
        self.row_groups
            .get(at)
            .map_or(0, |group| group.segment.bytes)
    }

    /// Reads one row group.
    pub(crate) fn read(&self, at: usize) -> Result<RowGroupRows> {
        let path = &self.path;
        let RowGroup { range, segment } = self
            .row_groups
            .get(at)
            .ok_or_else(|| Error::corrupted(path, "it has no such row group"))?;
        let expected = ("a row group", segment.crc32);
        let bytes = match &self.whole {
            Some(whole) => {
                let bytes = whole.slice(clamp(range.start)..clamp(range.end));
                verify(path, expected.0, &bytes, expected.1)?;
                bytes
            }
            None => fetch(&self.blobs, path, range.clone(), expected)?,
        };
        let window = Window {
            size: self.size,
            start: range.start,
            bytes,
        };
        let rows = self.metadata.metadata().row_group(at).num_rows();
        // Beside them there may be a typed column, which is for queries.
        let columns = ProjectionMask::roots(self.metadata.parquet_schema(), [0, 1, 2]);
        let batches =
            ParquetRecordBatchReaderBuilder::new_with_metadata(window, self.metadata.clone())
                .with_projection(columns)
                .with_row_groups(vec![at])
                .with_batch_size(usize::try_from(rows).unwrap_or(0).max(1))
                .build()
                .map_err(|source| parquet_error(path, source))?;
        let mut found = None;
        for batch in batches {
            let batch = batch.map_err(|error| parquet_error(path, error.into()))?;
            if found.is_some() {
                return Err(Error::corrupted(path, "a row group came in pieces"));
            }
            found = Some(
                RowGroupRows::from_batch(&batch).map_err(|what| Error::corrupted(path, what))?,
            );
        }
        let found = found.ok_or_else(|| Error::corrupted(path, "a row group is empty"))?;
        let inside = |row: usize| {
            (segment.first_group..=segment.last_group).contains(&found.groups.value(row))
        };
        if !inside(0) || !inside(found.len() - 1) {
            return Err(Error::corrupted(
                path,
                "a row group has other key groups than stated",
            ));
        }
        Ok(found)
    }
}

impl RowGroupRows {
    /// The three columns of a batch of our schema.
    pub(crate) fn from_batch(batch: &arrow_array::RecordBatch) -> Result<Self, &'static str> {
        let column = |name: &str| batch.column_by_name(name).ok_or("a column is missing");
        let kind = "a column has another type";
        let groups = column("key_group")?
            .as_primitive_opt::<UInt16Type>()
            .ok_or(kind)?;
        let keys = column("key")?.as_binary_opt::<i32>().ok_or(kind)?;
        let values = column("value")?.as_binary_opt::<i32>().ok_or(kind)?;
        if groups.null_count() > 0 || keys.null_count() > 0 {
            return Err("a key is null");
        }
        Ok(Self {
            groups: groups.clone(),
            keys: keys.clone(),
            values: values.clone(),
        })
    }
}

fn segments_of(path: &BlobPath, metadata: &ArrowReaderMetadata) -> Result<Vec<Segment>> {
    let entries = metadata.metadata().file_metadata().key_value_metadata();
    let value = |key: &str| {
        let entry = entries?.iter().find(|entry| entry.key == key)?;
        entry.value.as_deref()
    };
    let version: u32 = value(KEY_VERSION)
        .and_then(|version| version.parse().ok())
        .ok_or_else(|| Error::corrupted(path, "its footer has no format version"))?;
    if version > FORMAT_VERSION {
        return Err(Error::UnsupportedVersion {
            path: path.clone(),
            found: version,
            supported: FORMAT_VERSION,
        });
    }
    value(KEY_SEGMENTS)
        .and_then(|segments| serde_json::from_str(segments).ok())
        .ok_or_else(|| Error::corrupted(path, "its footer does not describe its row groups"))
}

fn clamp(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// Reads and verifies a part. What does not fit is read once more: a transfer that broke off looks
/// like damage, and only damage comes back the same.
fn fetch(
    blobs: &Arc<dyn BlobStore>,
    path: &BlobPath,
    range: Range<u64>,
    (part, expected): (&str, Crc32),
) -> Result<Bytes> {
    match fetch_once(blobs, path, range.clone(), (part, expected)) {
        Err(Error::Corrupted { .. }) => fetch_once(blobs, path, range, (part, expected)),
        fetched => fetched,
    }
}

fn fetch_once(
    blobs: &Arc<dyn BlobStore>,
    path: &BlobPath,
    range: Range<u64>,
    (part, expected): (&str, Crc32),
) -> Result<Bytes> {
    let wanted = range.end - range.start;
    let bytes = blobs
        .get_range(path, range)?
        .ok_or_else(|| Error::Missing { path: path.clone() })?;
    if bytes.len() as u64 != wanted {
        return Err(Error::corrupted(
            path,
            "it is shorter than the manifest says",
        ));
    }
    verify(path, part, &bytes, expected)?;
    Ok(bytes)
}

fn verify(path: &BlobPath, part: &str, bytes: &[u8], expected: Crc32) -> Result<()> {
    let found = Crc32::of(bytes);
    if found == expected {
        return Ok(());
    }
    Err(Error::corrupted(
        path,
        format!("the checksum of {part} is {found}, not {expected}"),
    ))
}

/// A part of a file, addressed by offsets in the whole.
struct Window {
    size: u64,
    start: u64,
    bytes: Bytes,
}

impl Window {
    fn from(&self, start: u64) -> Result<Bytes, ParquetError> {
        let offset = start.checked_sub(self.start).map(clamp);
        offset
            .filter(|offset| *offset <= self.bytes.len())
            .map(|offset| self.bytes.slice(offset..))
            .ok_or_else(|| ParquetError::EOF(format!("offset {start} is outside the part read")))
    }
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Window {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} are not all there"
            )));
        }
        Ok(bytes.slice(..length))
    }
}
