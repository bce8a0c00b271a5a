//! The manifest: everything about one checkpoint, in one JSON document.

use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::ids::{BlobPath, CheckpointId, OperatorUid, WriterEpoch};
use crate::merge::Located;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use state_backend::operator_state::{ListMode, ListSnapshot};
use state_backend::{KeyGroupRange, StateCatalog};
use std::collections::{BTreeMap, BTreeSet};

/// Newest version of the manifest and of the Parquet files; older ones are read for ever.
pub const FORMAT_VERSION: u32 = 1;

/// One checkpoint or savepoint: which files hold the state of which operator, and where its
/// sources stood.
///
/// A manifest is written once, after every file it names is durable, and never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format; see [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Number of the checkpoint.
    pub id: CheckpointId,
    /// Who wrote it; set by the commit.
    #[serde(default)]
    pub writer: WriterEpoch,
    /// Checkpoint or savepoint.
    pub kind: ManifestKind,
    /// When it was triggered, in milliseconds since 1970, by the job's clock.
    pub created_ms: i64,
    /// The checkpoint this one adds to; none for a full one.
    #[serde(default)]
    pub parent: Option<CheckpointId>,
    /// The operators, each once.
    pub operators: Vec<OperatorSnapshot>,
    /// For each source, by its uid, how far each of its splits had been read.
    #[serde(default)]
    pub sources: BTreeMap<String, Vec<SplitPosition>>,
    /// Whatever the job wants to find again: its name, its version, its configuration.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// How long it took and how large it is.
    #[serde(default)]
    pub stats: CheckpointStats,
    /// Where its files are relative to: where it was read from, so not part of the document.
    #[serde(skip)]
    pub(crate) base: BlobPath,
}

/// What a manifest describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManifestKind {
    /// Taken by the job for its own recovery; shares files with its neighbours; removed when newer
    /// ones make it superfluous.
    Checkpoint,
    /// Asked for by the user; complete in its own directory, which can be moved; never removed
    /// by Weir unless asked.
    Savepoint,
}

/// The state of one operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperatorSnapshot {
    /// Its stable name.
    pub uid: OperatorUid,
    /// Number of its subtasks when the checkpoint was taken.
    pub parallelism: u16,
    /// Number of its key groups: fixed for its life.
    pub max_parallelism: u16,
    /// Its keyed states: names, kinds, types, versions.
    #[serde(default)]
    pub catalog: StateCatalog,
    /// Files of keyed state, oldest first. For one key the last file that has it decides.
    #[serde(default)]
    pub chain: Vec<FileRef>,
    /// What is not keyed, for each subtask.
    #[serde(default)]
    pub subtasks: Vec<SubtaskSnapshot>,
}

/// What one subtask keeps besides keyed state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SubtaskSnapshot {
    /// Operator state by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub operator_state: BTreeMap<String, OperatorStateEntry>,
    /// Records that an unaligned barrier overtook, in order, encoded by the operator's inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_flight: Vec<Item>,
}

/// One operator state of one subtask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorStateEntry {
    /// How the items find their subtask after a change of parallelism.
    pub mode: ListMode,
    /// The items, in order.
    pub items: Vec<Item>,
}

impl From<ListSnapshot> for OperatorStateEntry {
    fn from(list: ListSnapshot) -> Self {
        Self {
            mode: list.mode,
            items: list.items.into_iter().map(Item).collect(),
        }
    }
}

impl From<OperatorStateEntry> for ListSnapshot {
    fn from(entry: OperatorStateEntry) -> Self {
        Self {
            mode: entry.mode,
            items: entry.items.into_iter().map(|Item(bytes)| bytes).collect(),
        }
    }
}

/// Opaque bytes inside the manifest, in base 64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Item(pub Vec<u8>);

/// How far one split of a source had been read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitPosition {
    /// Name of the split within its source.
    pub split: String,
    /// Where to go on, in the source's own terms.
    pub position: serde_json::Value,
}

/// One Parquet file of keyed state, or the part of it that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Where it lies, relative to the store's root (checkpoint) or the manifest (savepoint).
    pub path: BlobPath,
    /// Name of the state in it.
    pub state: String,
    /// The key groups that count; rows of others are to be ignored.
    pub groups: KeyGroupRange,
    /// The newest checkpoint whose changes it holds.
    pub checkpoint: CheckpointId,
    /// Rows, deletions included.
    pub rows: u64,
    /// Deletions among the rows.
    pub tombstones: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Size of the keys and values in it.
    pub raw_bytes: u64,
    /// Checksum of the whole file.
    pub crc32: Crc32,
    /// Size of its last part, after the last row group: the Parquet footer. The footer holds the
    /// checksums of the row groups, so that whatever part is read can be verified.
    pub tail_bytes: u64,
    /// Checksum of that part.
    pub tail_crc32: Crc32,
    /// Which part of one sorted sequence of rows it is, if it is one: the parts in one directory follow each
    /// other, so a reader opens them one after the other. Files that were written on their own have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u32>,
}

impl FileRef {
    /// Whether all its rows come after those of `before`, going by what the manifest says of the two: they are
    /// parts of one sequence, or have other key groups.
    pub(crate) fn continues(&self, before: &Self) -> bool {
        let (end, start) = (before.groups.end(), self.groups.start());
        let later_part = self.part.zip(before.part).is_some_and(|(a, b)| a > b);
        end < start || (later_part && end == start && self.path.parent() == before.path.parent())
    }
}

/// What a checkpoint cost, and what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckpointStats {
    /// From the trigger to the moment the manifest was about to be written.
    pub duration_ms: u64,
    /// Milliseconds by phase, in the job's own terms (`align`, `capture`, `write`).
    pub phases_ms: BTreeMap<String, u64>,
    /// Rows written for this checkpoint, deletions included.
    pub rows_written: u64,
    /// Bytes of the files written for this checkpoint.
    pub bytes_written: u64,
    /// Bytes of all files it refers to.
    pub bytes_total: u64,
}

impl Manifest {
    /// The operator of this name.
    pub fn operator(&self, uid: &OperatorUid) -> Option<&OperatorSnapshot> {
        self.operators.iter().find(|operator| operator.uid == *uid)
    }

    /// All files, with the operator each belongs to.
    pub fn files(&self) -> impl Iterator<Item = (&OperatorSnapshot, &FileRef)> {
        let operators = self.operators.iter();
        operators.flat_map(|operator| operator.chain.iter().map(move |file| (operator, file)))
    }

    /// Path of a file in the store that the manifest was read from.
    pub fn locate(&self, file: &FileRef) -> BlobPath {
        file.path.below(&self.base)
    }

    /// A file and its path in the store.
    pub(crate) fn located(&self, file: &FileRef) -> Located {
        (self.locate(file), file.clone())
    }

    /// Sets where its files are relative to, which is not part of the document.
    #[must_use]
    pub(crate) fn based_at(mut self, base: BlobPath) -> Self {
        self.base = base;
        self
    }

    /// The document: JSON whose first line holds the checksum of everything after it.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a property of the manifest has no JSON form (a map key that is not
    /// text, in a source's position).
    pub fn encode(&self) -> Result<Bytes> {
        let body = serde_json::to_string_pretty(self)
            .map_err(|error| Error::invalid("manifest", self.id.to_string(), error.to_string()))?;
        let rest = format!(
            "{}\n",
            body.trim_start_matches('{').trim_start_matches('\n')
        );
        Ok(format!("{{\"crc32\":\"{}\",\n{rest}", Crc32::of(rest.as_bytes())).into())
    }

    /// Reads what [`encode`](Self::encode) wrote. `path` is for the messages.
    ///
    /// # Errors
    /// [`Error::Corrupted`] for anything but a whole and consistent manifest,
    /// [`Error::UnsupportedVersion`] for one of a newer format.
    pub fn decode(path: &BlobPath, document: &[u8]) -> Result<Self> {
        let damaged = |what: String| Error::corrupted(path, what);
        let rest = checked_body(document).map_err(|what| damaged(what.to_owned()))?;
        let json = [b"{", rest].concat();
        let version: Version = serde_json::from_slice(&json).map_err(|e| damaged(e.to_string()))?;
        if version.format_version > FORMAT_VERSION {
            return Err(Error::UnsupportedVersion {
                path: path.clone(),
                found: version.format_version,
                supported: FORMAT_VERSION,
            });
        }
        let manifest: Self = serde_json::from_slice(&json).map_err(|e| damaged(e.to_string()))?;
        manifest.check().map_err(damaged)?;
        Ok(manifest)
    }

    /// Whether it is consistent in itself; says what is not.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut uids = BTreeSet::new();
        for operator in &self.operators {
            let uid = &operator.uid;
            if !uids.insert(uid) {
                return Err(format!("operator {uid:?} occurs twice"));
            }
            let max = operator.max_parallelism;
            if !(1..=1 << 15).contains(&max) || !(1..=max).contains(&operator.parallelism) {
                return Err(format!(
                    "operator {uid:?} has parallelism {} of {max}",
                    operator.parallelism
                ));
            }
            let mut newest = CheckpointId::default();
            for file in &operator.chain {
                let (start, end) = (file.groups.start(), file.groups.end());
                if start > end || end.get() >= max {
                    return Err(format!("{} covers impossible {}", file.path, file.groups));
                }
                if file.checkpoint < newest || file.checkpoint > self.id {
                    return Err(format!("{} is out of order in its chain", file.path));
                }
                if file.tombstones > file.rows || file.tail_bytes > file.bytes {
                    return Err(format!("the figures of {} cannot be", file.path));
                }
                newest = file.checkpoint;
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

/// What follows the first line, if its checksum is the one in that line.
fn checked_body(document: &[u8]) -> Result<&[u8], &'static str> {
    let rest = document
        .strip_prefix(b"{\"crc32\":\"")
        .ok_or("it does not begin with a checksum")?;
    let (digits, rest) = rest.split_at_checked(8).ok_or("it is cut off")?;
    let rest = rest
        .strip_prefix(b"\",\n")
        .ok_or("its first line is not as written")?;
    let stated = std::str::from_utf8(digits).ok().and_then(Crc32::parse);
    if stated != Some(Crc32::of(rest)) {
        return Err("its checksum does not fit");
    }
    Ok(rest)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl From<Item> for String {
    fn from(item: Item) -> Self {
        let mut text = Self::with_capacity(item.0.len().div_ceil(3) * 4);
        for chunk in item.0.chunks(3) {
            let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for digit in 0..4 {
                if digit <= chunk.len() {
                    let index = bits >> (18 - 6 * digit) & 63;
                    text.push(char::from(ALPHABET[index as usize]));
                } else {
                    text.push('=');
                }
            }
        }
        text
    }
}

impl TryFrom<String> for Item {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fault = || "an item is not base 64".to_owned();
        if !text.len().is_multiple_of(4) {
            return Err(fault());
        }
        let digits = text.trim_end_matches('=');
        if text.len() - digits.len() > 2 {
            return Err(fault());
        }
        let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
        for chunk in digits.as_bytes().chunks(4) {
            let mut bits = 0;
            for at in 0..4 {
                let value = match chunk.get(at) {
                    Some(c @ b'A'..=b'Z') => c - b'A',
                    Some(c @ b'a'..=b'z') => c - b'a' + 26,
                    Some(c @ b'0'..=b'9') => c - b'0' + 52,
                    Some(b'+') => 62,
                    Some(b'/') => 63,
                    Some(_) => return Err(fault()),
                    None => 0,
                };
                bits = bits << 6 | u32::from(value);
            }
            let all = bits.to_be_bytes();
            bytes.extend_from_slice(&all[1..chunk.len().max(1)]);
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn empty() -> Manifest {
        Manifest {
            format_version: FORMAT_VERSION,
            id: CheckpointId::new(7),
            writer: WriterEpoch::new(1),
            kind: ManifestKind::Checkpoint,
            created_ms: 1,
            parent: None,
            operators: Vec::new(),
            sources: BTreeMap::new(),
            properties: BTreeMap::new(),
            stats: CheckpointStats::default(),
            base: BlobPath::root(),
        }
    }

    #[test]
    fn is_plain_json_and_reads_back() {
        let mut manifest = empty();
        manifest.properties.insert("job".into(), "a \"b\"\n".into());
        let document = manifest.encode().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(json["id"], 7);
        let read = Manifest::decode(&BlobPath::root(), &document).unwrap();
        assert_eq!(read, manifest);
    }

    #[test]
    fn every_flipped_or_missing_byte_is_noticed() {
        let document = empty().encode().unwrap();
        for at in 0..document.len() {
            for flip in [1, 0x20, 0x80, 0xff] {
                let mut bytes = document.to_vec();
                bytes[at] ^= flip;
                let read = Manifest::decode(&BlobPath::root(), &bytes);
                assert!(matches!(read, Err(Error::Corrupted { .. })), "{at} {flip}");
            }
            let read = Manifest::decode(&BlobPath::root(), &document[..at]);
            assert!(matches!(read, Err(Error::Corrupted { .. })), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_format_is_named_not_misread() {
        let mut manifest = empty();
        manifest.format_version = 99;
        let read = Manifest::decode(&BlobPath::root(), &manifest.encode().unwrap());
        assert!(
            matches!(read, Err(Error::UnsupportedVersion { found: 99, .. })),
            "{read:?}"
        );
    }

    proptest! {
        #[test]
        fn items_survive_base_64(bytes: Vec<u8>) {
            let text = String::from(Item(bytes.clone()));
            prop_assert_eq!(Item::try_from(text).unwrap(), Item(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[A-Za-z0-9+/=é]{0,12}") {
            let _ = Item::try_from(text);
        }
    }
}
