//! One state as one typed Parquet file, for whoever wants the data and not the state.

use super::{KeyDecoder, StateDecoder, TypedColumn};
use crate::error::{Error, Result};
use crate::ids::{BlobPath, OperatorUid};
use crate::manifest::Manifest;
use crate::store::CheckpointStore;
use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray, UInt16Array};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use state_backend::KeyGroupRange;
use std::io::Write;
use std::sync::Arc;

const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 8 << 20;

/// What the value column of an export holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueColumn {
    /// The bytes as they are.
    Bytes,
    /// What they mean, where the type has a known shape; else the bytes.
    Typed,
}

/// What an export wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// Rows written.
    pub rows: u64,
    /// Rows whose bytes did not have the shape of the type; their value is null.
    pub unreadable: u64,
}

impl CheckpointStore {
    /// Writes one state as a Parquet file for queries: `key_group`, `key` (the bytes), `key_text`
    /// (what they say, see [`KeyDecoder`]), `written_ms` (for a state with a time to
    /// live and a known shape), and `value`: the bytes, or with [`ValueColumn::Typed`] a struct for
    /// a struct and a map for a map. Rows are in order of key group and key. Memory: about 20 MiB.
    ///
    /// # Errors
    /// As of [`restore`](Self::restore); [`Error::NotFound`] when the checkpoint does not have the
    /// operator; [`Error::Parquet`] when `out` fails.
    pub fn export_state(
        &self,
        manifest: &Manifest,
        operator: &OperatorUid,
        state: &str,
        column: ValueColumn,
        out: impl Write + Send,
    ) -> Result<Exported> {
        let snapshot = manifest.operator(operator).ok_or_else(|| Error::NotFound {
            location: format!("operator {operator} of checkpoint {}", manifest.id),
        })?;
        let decoder = match column {
            ValueColumn::Bytes => None,
            ValueColumn::Typed => snapshot.catalog.get(state).and_then(StateDecoder::of),
        };
        let max = state_backend::MaxParallelism::new(snapshot.max_parallelism)?;
        let mut table = Table::new(decoder, KeyDecoder::of(&snapshot.catalog, state));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
            .set_max_row_group_row_count(Some(1 << 16))
            .set_max_row_group_bytes(Some(16 << 20))
            .build();
        let failed = |source| Error::Parquet {
            path: BlobPath::root().join(state),
            source,
        };
        let schema = table.schema().map_err(|error| failed(error.into()))?;
        let mut writer = ArrowWriter::try_new(out, schema, Some(properties)).map_err(failed)?;
        let mut exported = Exported::default();
        let groups = KeyGroupRange::all(max);
        exported.rows =
            self.for_each_row(manifest, operator, state, groups, |group, key, value| {
                exported.unreadable += u64::from(table.push(group.get(), key, value).is_err());
                if table.groups.len() >= BATCH_ROWS || table.bytes >= BATCH_BYTES {
                    let batch = table.take().map_err(|error| failed(error.into()))?;
                    writer.write(&batch).map_err(failed)?;
                }
                Ok::<_, Error>(())
            })?;
        let batch = table.take().map_err(|error| failed(error.into()))?;
        writer.write(&batch).map_err(failed)?;
        writer.close().map_err(failed)?;
        Ok(exported)
    }
}

/// A batch in the making.
struct Table {
    key_decoder: KeyDecoder,
    decoder: Option<StateDecoder>,
    typed: Option<TypedColumn>,
    groups: Vec<u16>,
    keys: Vec<Vec<u8>>,
    written: Vec<Option<i64>>,
    /// Without a decoder.
    values: Vec<Vec<u8>>,
    bytes: usize,
}

impl Table {
    fn new(decoder: Option<StateDecoder>, key_decoder: KeyDecoder) -> Self {
        Self {
            key_decoder,
            typed: decoder.clone().map(TypedColumn::new),
            decoder,
            groups: Vec::new(),
            keys: Vec::new(),
            written: Vec::new(),
            values: Vec::new(),
            bytes: 0,
        }
    }

    fn push(&mut self, group: u16, key: &[u8], value: &[u8]) -> Result<(), String> {
        self.bytes += key.len() + value.len();
        self.groups.push(group);
        self.keys.push(key.to_vec());
        let decoder = self.decoder.as_ref();
        self.written
            .push(decoder.and_then(|decoder| decoder.written_ms(value)));
        match &mut self.typed {
            Some(typed) => typed.push(Some(value)),
            None => {
                self.values.push(value.to_vec());
                Ok(())
            }
        }
    }

    fn timed(&self) -> bool {
        self.decoder.as_ref().is_some_and(|decoder| decoder.timed)
    }

    fn schema(&self) -> Result<Arc<Schema>, ArrowError> {
        let value = match &self.typed {
            Some(typed) => typed.data_type()?,
            None => DataType::Binary,
        };
        let mut fields = vec![
            Field::new("key_group", DataType::UInt16, false),
            Field::new("key", DataType::Binary, false),
            Field::new("key_text", DataType::Utf8, false),
        ];
        if self.timed() {
            fields.push(Field::new("written_ms", DataType::Int64, true));
        }
        fields.push(Field::new("value", value, true));
        Ok(Arc::new(Schema::new(fields)))
    }

    fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let schema = self.schema()?;
        let keys = std::mem::take(&mut self.keys);
        let texts: Vec<String> = keys
            .iter()
            .map(|key| self.key_decoder.parts(key).to_string())
            .collect();
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt16Array::from(std::mem::take(&mut self.groups))),
            Arc::new(BinaryArray::from_iter_values(keys)),
            Arc::new(StringArray::from(texts)),
        ];
        let written = std::mem::take(&mut self.written);
        if self.timed() {
            columns.push(Arc::new(Int64Array::from(written)));
        }
        let values = std::mem::take(&mut self.values);
        columns.push(match &mut self.typed {
            Some(typed) => typed.take()?,
            None => Arc::new(BinaryArray::from_iter_values(values)),
        });
        self.bytes = 0;
        RecordBatch::try_new(schema, columns)
    }
}
