//! Options of the disk backends and their presets.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::io::{Fs, LockGuard, OsFs};
use crate::{Error, Result};

/// One mebibyte.
const MIB: usize = 1 << 20;

/// Some 0.2 ms of copying.
#[cfg(feature = "fs")]
const SHORT_WRITE: usize = MIB / 2;

/// Options of [`FsBackend`](crate::fs::FsBackend) and [`RedbBackend`](crate::redb::RedbBackend).
///
/// Start from a [`Preset`] or from `default()` and change what differs:
///
/// ```
/// use state_backend::disk::{DiskOptions, Preset, SyncPolicy};
///
/// let options = DiskOptions::preset(Preset::FlashSsd)
///     .with_cache_bytes(256 << 20)
///     .with_sync(SyncPolicy::EveryWrite);
/// assert_eq!(options.write_buffer_count(), 4);
/// ```
#[derive(Clone, Debug)]
pub struct DiskOptions {
    cache_bytes: usize,
    write_buffer_bytes: usize,
    write_buffer_count: usize,
    segment_bytes: usize,
    /// None until it is set.
    sync: Option<SyncPolicy>,
    compaction_threshold: f64,
    work: Work,
    fs: Arc<dyn Fs>,
}

/// Named option sets, after Flink's `PredefinedOptions` for RocksDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Preset {
    /// A balance for unknown hardware.
    #[default]
    Default,
    /// Few, large, sequential writes: big buffers, segments of 256 MiB, space reclaimed late.
    SpinningDisk,
    /// Random access is cheap: a large cache, several buffers, space reclaimed early.
    FlashSsd,
    /// As little memory as works well: 8 MiB of cache, two buffers of 1 MiB.
    LowMemory,
}

/// When written bytes are forced onto the medium.
///
/// This is for a backend that is used on its own and is itself the durable copy: take
/// [`OnFlush`](Self::OnFlush) and flush. Under a [`StateStore`](crate::StateStore) the files only hold
/// what does not fit into memory, from an empty start on: there it is [`Never`](Self::Never) unless set, and
/// setting it has one use: what is written goes to the medium at a steady pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// Each time a write buffer is written out. A power loss costs at most what was in memory.
    EveryWrite,
    /// When a flush asks for it, and before old files are given up. A power loss goes back to the
    /// last synced flush or to a later point, whole batches only. A B-tree cannot be consistent
    /// without ordering its writes: redb treats this as [`EveryWrite`](Self::EveryWrite).
    #[default]
    OnFlush,
    /// Only in a synced flush, with nothing kept in order between two of them. The death of the
    /// process loses only what was in memory; after a power loss the files may be reported as
    /// corrupted, and are then deleted and restored from the checkpoint.
    Never,
}

/// Where background work runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Work {
    /// On a thread of the backend, joined when the backend is dropped.
    #[default]
    Background,
    /// On the caller's thread, within the call that makes it necessary: slower, and the same
    /// every time. For tests.
    Inline,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self::preset(Preset::Default)
    }
}

impl DiskOptions {
    /// The options of a preset.
    #[must_use]
    pub fn preset(preset: Preset) -> Self {
        let base = Self {
            cache_bytes: 64 * MIB,
            write_buffer_bytes: 4 * MIB,
            write_buffer_count: 3,
            segment_bytes: 64 * MIB,
            sync: None,
            compaction_threshold: 0.5,
            work: Work::default(),
            fs: Arc::new(OsFs),
        };
        match preset {
            Preset::Default => base,
            Preset::SpinningDisk => Self {
                cache_bytes: 128 * MIB,
                write_buffer_bytes: 32 * MIB,
                segment_bytes: 256 * MIB,
                compaction_threshold: 0.6,
                ..base
            },
            Preset::FlashSsd => Self {
                cache_bytes: 128 * MIB,
                write_buffer_bytes: 8 * MIB,
                write_buffer_count: 4,
                compaction_threshold: 0.4,
                ..base
            },
            Preset::LowMemory => Self {
                cache_bytes: 8 * MIB,
                write_buffer_bytes: MIB,
                write_buffer_count: 2,
                segment_bytes: 16 * MIB,
                ..base
            },
        }
    }

    /// Memory for pages read back from disk. Used by redb; the log leaves caching to the
    /// operating system's page cache. Under a [`StateStore`](crate::StateStore) it is cut to a sixteenth of the store's
    /// memory budget.
    #[must_use]
    pub fn with_cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Size of one write buffer: what is collected in memory before it is written out.
    /// At least 4 KiB. Under a [`StateStore`](crate::StateStore) all of them together are cut to an eighth of the
    /// store's memory budget, and one of the log to 512 KiB unless each is synced: its owner writes it.
    #[must_use]
    pub fn with_write_buffer_bytes(mut self, bytes: usize) -> Self {
        self.write_buffer_bytes = bytes.max(4096);
        self
    }

    /// How many write buffers there are at most, at least 1. They are also read from: the log
    /// keeps its newest `count` buffers in memory, redb fills one while the others are being
    /// written; when all are full, the writer waits.
    #[must_use]
    pub fn with_write_buffer_count(mut self, count: usize) -> Self {
        self.write_buffer_count = count.max(1);
        self
    }

    /// Size at which a segment of the log is closed and the next begun: at least 4 KiB, at most
    /// 1 GiB. A segment is longer when a single batch is.
    #[must_use]
    pub fn with_segment_bytes(mut self, bytes: usize) -> Self {
        self.segment_bytes = bytes.clamp(4096, 1024 * MIB);
        self
    }

    /// When bytes are forced onto the medium.
    #[must_use]
    pub fn with_sync(mut self, sync: SyncPolicy) -> Self {
        self.sync = Some(sync);
        self
    }

    /// The share of dead space, 0.1 to 0.9, at which space is reclaimed. Lower needs less disk
    /// and writes more: a log at threshold t holds up to 1/(1-t) times the live bytes.
    #[must_use]
    pub fn with_compaction_threshold(mut self, share: f64) -> Self {
        self.compaction_threshold = if share.is_nan() {
            0.5
        } else {
            share.clamp(0.1, 0.9)
        };
        self
    }

    /// Where background work runs.
    #[must_use]
    pub fn with_work(mut self, work: Work) -> Self {
        self.work = work;
        self
    }

    /// The file system to use instead of the operating system's.
    #[must_use]
    pub fn with_fs(mut self, fs: Arc<dyn Fs>) -> Self {
        self.fs = fs;
        self
    }

    /// See [`with_cache_bytes`](Self::with_cache_bytes).
    #[must_use]
    pub fn cache_bytes(&self) -> usize {
        self.cache_bytes
    }

    /// See [`with_write_buffer_bytes`](Self::with_write_buffer_bytes).
    #[must_use]
    pub fn write_buffer_bytes(&self) -> usize {
        self.write_buffer_bytes
    }

    /// See [`with_write_buffer_count`](Self::with_write_buffer_count).
    #[must_use]
    pub fn write_buffer_count(&self) -> usize {
        self.write_buffer_count
    }

    /// See [`with_segment_bytes`](Self::with_segment_bytes).
    #[must_use]
    pub fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// See [`with_sync`](Self::with_sync).
    #[must_use]
    pub fn sync(&self) -> SyncPolicy {
        self.sync.unwrap_or_default()
    }

    /// The same for a backend under a store, which need not sync: see [`SyncPolicy`].
    pub(crate) fn within_a_store(&self) -> Self {
        let mut options = self.clone();
        options.sync.get_or_insert(SyncPolicy::Never);
        options
    }

    /// The same with a cache of at most a sixteenth of this much memory, and write buffers of an eighth. A page
    /// in a cache is a row or two that are asked for among thirty that are not: memory is of more use as rows in the
    /// tables, and the operating system has the pages.
    pub(crate) fn within(&self, budget_bytes: u64) -> Self {
        let budget = usize::try_from(budget_bytes).unwrap_or(usize::MAX);
        let buffer = budget / 8 / self.write_buffer_count;
        self.clone()
            .with_cache_bytes(self.cache_bytes.min(budget / 16))
            .with_write_buffer_bytes(self.write_buffer_bytes.min(buffer))
    }

    /// The same with buffers so small that writing one out, which the log's owner does, is no pause; unless each is to
    /// be synced, which would be many times as often.
    #[cfg(feature = "fs")]
    pub(crate) fn with_short_writes(self) -> Self {
        if self.sync() == SyncPolicy::EveryWrite {
            return self;
        }
        let bytes = self.write_buffer_bytes.min(SHORT_WRITE);
        self.with_write_buffer_bytes(bytes)
    }

    /// See [`with_compaction_threshold`](Self::with_compaction_threshold).
    #[must_use]
    pub fn compaction_threshold(&self) -> f64 {
        self.compaction_threshold
    }

    /// See [`with_work`](Self::with_work).
    #[must_use]
    pub fn work(&self) -> Work {
        self.work
    }

    /// See [`with_fs`](Self::with_fs).
    #[must_use]
    pub fn fs(&self) -> &Arc<dyn Fs> {
        &self.fs
    }
}

/// Makes `dir` and keeps other backends away from what `lock` names for as long as the guard lives.
pub(crate) fn take_dir(
    dir: &Path,
    lock: &str,
    options: &DiskOptions,
) -> Result<Box<dyn LockGuard>> {
    let fs = options.fs();
    fs.create_dir_all(dir)
        .map_err(|e| Error::io("create", dir, e))?;
    let lock = dir.join(lock);
    match fs.try_lock(&lock) {
        Ok(Some(guard)) => Ok(guard),
        Ok(None) => Err(Error::io(
            "lock",
            lock,
            io::Error::new(io::ErrorKind::ResourceBusy, "another backend has it open"),
        )),
        Err(error) => Err(Error::io("lock", lock, error)),
    }
}

/// Lets go of a file that is deleted, or that another one has taken the place of. The system then gives back its blocks and cached pages:
/// tens of milliseconds for some hundred megabytes, so the owner does not do it if it can be helped.
pub(crate) fn retire(work: Work, old: impl Send + 'static) {
    if work == Work::Inline {
        return drop(old);
    }
    let thread = std::thread::Builder::new().name("weir-state-retire".into());
    // Nobody waits for it. Where there is no thread to be had, what was to run on it, and with it the file, is dropped here.
    let _ = thread.spawn(move || drop(old));
}
