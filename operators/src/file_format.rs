//! What a file sink writes.

use crate::element::Element;
use crate::error::Result;
use crate::file_sink::io;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::marker::PhantomData;

/// How a [`FileSink`](crate::FileSink) writes elements into a file: lines, Parquet (`Parquet`, feature `parquet`),
/// or a format of one's own (Flink's `BulkWriter`).
pub trait FileFormat: Send + 'static {
    /// What it writes.
    type In: Send + 'static;
    /// A file under way.
    type Writer: Send + 'static;

    /// What the names of its files end in, with the dot.
    fn extension(&self) -> &str {
        ""
    }

    /// Begins a file.
    ///
    /// # Errors
    /// Fails the job, which restarts from its last checkpoint; the same below.
    fn begin(&self, file: File) -> Result<Self::Writer>;

    /// Adds an element.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin).
    fn write(&self, writer: &mut Self::Writer, element: Element<Self::In>) -> Result<()>;

    /// Writes what is still buffered. The sink syncs the file.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin).
    fn finish(&self, writer: Self::Writer) -> Result<File>;
}

/// A line an element.
pub struct Lines<T, F> {
    line: F,
    element: PhantomData<fn(T)>,
}

impl<T, F> std::fmt::Debug for Lines<T, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl<T, F: Fn(&T) -> String> Lines<T, F> {
    /// The line that `line` makes, without its end.
    pub fn new(line: F) -> Self {
        Self {
            line,
            element: PhantomData,
        }
    }
}

impl<T: Send + 'static, F: Fn(&T) -> String + Send + 'static> FileFormat for Lines<T, F> {
    type In = T;
    type Writer = BufWriter<File>;

    fn begin(&self, file: File) -> Result<Self::Writer> {
        Ok(BufWriter::new(file))
    }

    fn write(&self, writer: &mut Self::Writer, element: Element<T>) -> Result<()> {
        let line = (self.line)(&element.value);
        writeln!(writer, "{line}").map_err(io("write a line"))
    }

    fn finish(&self, writer: Self::Writer) -> Result<File> {
        writer
            .into_inner()
            .map_err(|error| io("write a file")(error.into_error()))
    }
}
