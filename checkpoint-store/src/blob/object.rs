//! Blobs in an object store.

use super::{BlobInfo, BlobStore, PutMode, PutOutcome};
use crate::error::{Error, Result, Retry};
use crate::ids::BlobPath;
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutOptions, PutPayload};
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use tokio::runtime::{Builder, Runtime};

/// Blobs below a prefix of an object store.
///
/// The store must have consistent listings and conditional puts (`If-None-Match: *`), as S3, MinIO,
/// R2, GCS and Azure have. Calls block; they may come from any thread, also from one of an
/// asynchronous runtime, since the requests run on two threads of its own.
///
/// A blob is one request, so it is whole or not there. Failed requests are repeated; where a create
/// is repeated although the first attempt had happened, it is reported as
/// [`PutOutcome::AlreadyExists`], which is why callers compare contents. A create that timed out is
/// an error with unknown outcome.
pub struct ObjectBlobs {
    store: Arc<dyn ObjectStore>,
    prefix: BlobPath,
    /// None only while it is dropped.
    runtime: Option<Runtime>,
}

impl ObjectBlobs {
    /// Blobs below `prefix` of any object store.
    ///
    /// # Errors
    /// [`Error::Blob`] when its threads cannot be started.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &BlobPath) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("object-blobs")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|source| Error::Blob {
            operation: "open",
            path: prefix.to_string(),
            retry: Retry::IsUseless,
            source: source.into(),
        })?;
        Ok(Self {
            store,
            prefix: prefix.clone(),
            runtime: Some(runtime),
        })
    }

    fn path(&self, path: &BlobPath) -> Result<Path> {
        let whole = path.below(&self.prefix);
        // Parsed, since a conversion would encode what a blob path has encoded already.
        Path::parse(whole.as_str())
            .map_err(|error| Error::invalid("path", path.as_str(), error.to_string()))
    }

    /// Runs a request on the own runtime and waits: `block_on` would panic when the caller is on
    /// another runtime.
    fn wait<T: Send + 'static>(
        &self,
        operation: &'static str,
        path: &BlobPath,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<object_store::Result<T>> {
        let stopped = || Error::Blob {
            operation,
            path: path.to_string(),
            retry: Retry::IsUseless,
            source: "the threads of the object store have stopped".into(),
        };
        let runtime = self.runtime.as_ref().ok_or_else(stopped)?;
        let (sender, receiver) = sync_channel(1);
        runtime.spawn(async move {
            // Nobody waits any more only if the caller has panicked.
            let _ = sender.send(request.await);
        });
        receiver.recv().map_err(|_| stopped())
    }

    fn size(&self, path: &BlobPath) -> Result<Option<u64>> {
        let (store, at) = (Arc::clone(&self.store), self.path(path)?);
        match self.wait("read", path, async move { store.head(&at).await })? {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failure("read", path.as_str(), error)),
        }
    }

    fn fetch(&self, path: &BlobPath, range: Option<GetRange>) -> Result<Option<Bytes>> {
        let (store, at) = (Arc::clone(&self.store), self.path(path)?);
        let options = GetOptions::new().with_range(range);
        let request = async move { store.get_opts(&at, options).await?.bytes().await };
        match self.wait("read", path, request)? {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failure("read", path.as_str(), error)),
        }
    }
}

impl fmt::Debug for ObjectBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By its name: it may know keys.
        f.debug_struct("ObjectBlobs")
            .field("store", &self.store.to_string())
            .field("prefix", &self.prefix)
            .finish()
    }
}

impl Drop for ObjectBlobs {
    fn drop(&mut self) {
        // Dropping a runtime waits for it, which is not allowed on a thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(super) fn failure(operation: &'static str, path: &str, source: object_store::Error) -> Error {
    use object_store::Error as Cause;
    let hopeless = matches!(
        source,
        Cause::NotSupported { .. }
            | Cause::NotImplemented { .. }
            | Cause::PermissionDenied { .. }
            | Cause::Unauthenticated { .. }
            | Cause::InvalidPath { .. }
            | Cause::UnknownConfigurationKey { .. }
    );
    Error::Blob {
        operation,
        path: path.to_owned(),
        retry: if hopeless {
            Retry::IsUseless
        } else {
            Retry::MayHelp
        },
        source: source.into(),
    }
}

impl BlobStore for ObjectBlobs {
    fn get(&self, path: &BlobPath) -> Result<Option<Bytes>> {
        self.fetch(path, None)
    }

    fn get_range(&self, path: &BlobPath, range: Range<u64>) -> Result<Option<Bytes>> {
        if range.start < range.end {
            let fetched = self.fetch(path, Some(GetRange::Bounded(range.clone())));
            if !matches!(fetched, Err(Error::Blob { .. })) {
                return fetched;
            }
            // A range beyond the end is an error to HTTP (416), and none to us.
            return match self.size(path)? {
                Some(size) if size > range.start => fetched,
                Some(_) => Ok(Some(Bytes::new())),
                None => Ok(None),
            };
        }
        Ok(self.size(path)?.map(|_| Bytes::new()))
    }

    fn put(&self, path: &BlobPath, bytes: Bytes, mode: PutMode) -> Result<PutOutcome> {
        let (store, at) = (Arc::clone(&self.store), self.path(path)?);
        let mode = match mode {
            PutMode::Create => object_store::PutMode::Create,
            PutMode::Overwrite => object_store::PutMode::Overwrite,
        };
        let payload = PutPayload::from_bytes(bytes);
        let request = async move { store.put_opts(&at, payload, PutOptions::from(mode)).await };
        match self.wait("write", path, request)? {
            Ok(_) => Ok(PutOutcome::Written),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(PutOutcome::AlreadyExists),
            Err(error) => Err(failure("write", path.as_str(), error)),
        }
    }

    fn list(&self, prefix: &BlobPath) -> Result<Vec<BlobInfo>> {
        let (store, at) = (Arc::clone(&self.store), self.path(prefix)?);
        let request = async move {
            let at = (!at.as_ref().is_empty()).then_some(at);
            store.list(at.as_ref()).try_collect::<Vec<_>>().await
        };
        let listed = self.wait("list", prefix, request)?;
        let listed = listed.map_err(|error| failure("list", prefix.as_str(), error))?;
        let own = self.prefix.as_str();
        let mut found: Vec<BlobInfo> = listed
            .into_iter()
            .filter_map(|meta| {
                let path = meta.location.as_ref();
                let path = match own {
                    "" => path,
                    own => path.strip_prefix(own)?.strip_prefix('/')?,
                };
                // Names that we cannot have written are not ours.
                let path = BlobPath::new(path).ok()?;
                Some(BlobInfo {
                    path,
                    size: meta.size,
                })
            })
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    fn delete(&self, path: &BlobPath) -> Result<()> {
        let (store, at) = (Arc::clone(&self.store), self.path(path)?);
        match self.wait("delete", path, async move { store.delete(&at).await })? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failure("delete", path.as_str(), error)),
        }
    }
}
