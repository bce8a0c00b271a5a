//! Parquet files of a sink.

use crate::element::Element;
use crate::error::{Error, Result};
use crate::file_format::FileFormat;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::marker::PhantomData;

/// Rows that become one record batch.
const BATCH_ROWS: usize = 1_024;

/// Parquet, compressed by zstd: `FileSink::with_format(directory, Parquet::new(schema, to_batch))`.
///
/// A file is readable only once it is whole, so each checkpoint ends one: with short intervals the files are
/// many and small.
pub struct Parquet<T, F> {
    schema: SchemaRef,
    to_batch: F,
    row: PhantomData<fn(T)>,
}

impl<T, F> std::fmt::Debug for Parquet<T, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parquet")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl<T, F> Parquet<T, F>
where
    F: Fn(&SchemaRef, &[Element<T>]) -> Result<RecordBatch>,
{
    /// Files of this schema; `to_batch` makes up to 1,024 elements a record batch of it.
    pub fn new(schema: SchemaRef, to_batch: F) -> Self {
        Self {
            schema,
            to_batch,
            row: PhantomData,
        }
    }

    fn write_batch(&self, writer: &mut ParquetFile<T>) -> Result<()> {
        if writer.rows.is_empty() {
            return Ok(());
        }
        let batch = (self.to_batch)(&self.schema, &writer.rows)?;
        writer.rows.clear();
        writer.file.write(&batch).map_err(Error::user)
    }
}

/// A Parquet file under way.
pub struct ParquetFile<T> {
    file: ArrowWriter<File>,
    /// Not yet made a batch.
    rows: Vec<Element<T>>,
}

impl<T> std::fmt::Debug for ParquetFile<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetFile")
            .field("rows", &self.rows.len())
            .finish_non_exhaustive()
    }
}

impl<T, F> FileFormat for Parquet<T, F>
where
    T: Send + 'static,
    F: Fn(&SchemaRef, &[Element<T>]) -> Result<RecordBatch> + Send + 'static,
{
    type In = T;
    type Writer = ParquetFile<T>;

    fn extension(&self) -> &str {
        ".parquet"
    }

    fn begin(&self, file: File) -> Result<Self::Writer> {
        let zstd = ZstdLevel::try_new(1).map_err(Error::user)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(zstd))
            .build();
        let schema = SchemaRef::clone(&self.schema);
        let file = ArrowWriter::try_new(file, schema, Some(properties)).map_err(Error::user)?;
        Ok(ParquetFile {
            file,
            rows: Vec::with_capacity(BATCH_ROWS),
        })
    }

    fn write(&self, writer: &mut Self::Writer, element: Element<T>) -> Result<()> {
        writer.rows.push(element);
        if writer.rows.len() < BATCH_ROWS {
            return Ok(());
        }
        self.write_batch(writer)
    }

    fn finish(&self, mut writer: Self::Writer) -> Result<File> {
        self.write_batch(&mut writer)?;
        writer.file.into_inner().map_err(Error::user)
    }
}
