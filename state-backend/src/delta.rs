//! Rows on their way into a checkpoint or out of one.

use crate::{KeyGroup, RestoredRows, StateId};

/// Rows of one state and one key group, in one allocation for all their bytes.
///
/// Within the chunks of one snapshot each key comes once, in no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaChunk {
    /// State the rows belong to, as numbered by the store that wrote them
    /// ([`StateStore::catalog`](crate::StateStore::catalog) has the name).
    pub state: StateId,
    /// Group that all keys are in.
    pub group: KeyGroup,
    data: Vec<u8>,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    key_end: u32,
    value_end: u32,
    deleted: bool,
}

impl DeltaChunk {
    /// No rows yet.
    #[must_use]
    pub fn new(state: StateId, group: KeyGroup) -> Self {
        Self {
            state,
            group,
            data: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// No rows yet, and place for so many of so many bytes in all.
    #[must_use]
    pub fn with_capacity(state: StateId, group: KeyGroup, rows: usize, bytes: usize) -> Self {
        Self {
            data: Vec::with_capacity(bytes),
            rows: Vec::with_capacity(rows),
            ..Self::new(state, group)
        }
    }

    /// What a row takes beside its bytes.
    pub(crate) const ROW_BYTES: usize = size_of::<Row>();

    /// Appends a row; `None` says that the key is deleted.
    ///
    /// # Panics
    /// If the chunk would pass 4 GiB; split it long before.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        let start = self.data.len();
        self.data.extend_from_slice(key);
        let key_end = self.data.len();
        self.data.extend_from_slice(value.unwrap_or_default());
        self.close_row(start, key_end, value.is_none());
    }

    /// Appends rows that are alive.
    pub(crate) fn extend(&mut self, rows: &RestoredRows<'_>) {
        self.data.reserve(rows.bytes());
        self.rows.reserve(rows.len());
        for (key, value) in rows.iter() {
            self.push(key, Some(value));
        }
    }

    /// Appends a row whose value `encode` writes; an error leaves the chunk as it was.
    pub(crate) fn push_with<E>(
        &mut self,
        key: &[u8],
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let start = self.data.len();
        self.data.extend_from_slice(key);
        let key_end = self.data.len();
        if let Err(error) = encode(&mut self.data) {
            self.data.truncate(start);
            return Err(error);
        }
        self.close_row(start, key_end, false);
        Ok(self.data.len() - key_end)
    }

    /// Takes the last row back.
    pub(crate) fn pop(&mut self) {
        self.rows.pop();
        let end = self.rows.last().map_or(0, |row| row.value_end as usize);
        self.data.truncate(end);
    }

    fn close_row(&mut self, start: usize, key_end: usize, deleted: bool) {
        let Ok(value_end) = u32::try_from(self.data.len()) else {
            self.data.truncate(start);
            panic!("a delta chunk of more than 4 GiB");
        };
        self.rows.push(Row {
            key_end: key_end as u32,
            value_end,
            deleted,
        });
    }

    /// The rows as they were appended: key without group, and value or `None` for a deletion.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> {
        let mut start = 0;
        self.rows.iter().map(move |row| {
            let key_end = row.key_end as usize;
            let key = &self.data[start..key_end];
            start = row.value_end as usize;
            let value = &self.data[key_end..start];
            (key, (!row.deleted).then_some(value))
        })
    }

    /// The bytes of all rows, one after the other: of each the key and then the value.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// How many rows come before the first whose key is not `passed`, if the keys ascend.
    pub(crate) fn rows_upto(&self, passed: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if passed(self.row(middle).0) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    pub(crate) fn row(&self, index: usize) -> (&[u8], Option<&[u8]>) {
        let start = match index {
            0 => 0,
            _ => self.rows[index - 1].value_end as usize,
        };
        let row = self.rows[index];
        let key_end = row.key_end as usize;
        let value = &self.data[key_end..row.value_end as usize];
        (&self.data[start..key_end], (!row.deleted).then_some(value))
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Key and value bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data.len()
    }
}
