//! How the payload of a table becomes the bytes of a row: with or without write time, as one value
//! or as a list.

use crate::{Codec, Shape, Ttl};

/// What the rows of a state look like; a catalog records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowFormat {
    /// Version of the codec.
    pub(crate) version: u32,
    /// Whether each value or element carries its write time.
    pub(crate) timed: bool,
}

/// What is left of a row once expired state is taken out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unexpired {
    All,
    Nothing,
    /// The remaining row was appended.
    Part,
}

/// The way between payloads and row bytes.
pub(crate) trait Rows<P>: Send + Sync {
    /// The format that `encode` writes.
    fn format(&self) -> RowFormat;

    /// What a value, or an element, looks like in bytes.
    fn shape(&self) -> Option<Shape>;

    fn encode(&self, payload: &P, written: i64, out: &mut Vec<u8>) -> Result<(), String>;

    /// Reads a row of any format that the codec knows; `now` stands in for missing write times.
    fn decode(&self, row: &[u8], format: RowFormat, now: i64) -> Result<(P, i64), String>;

    fn heap_bytes(&self, payload: &P) -> usize;

    /// Whether nothing of it is alive.
    fn is_expired(&self, payload: &P, written: i64, ttl: &Ttl, now: i64) -> bool;

    /// Whether a part of it, not all, has expired.
    fn has_expired_part(&self, payload: &P, ttl: &Ttl, now: i64) -> bool;

    /// Drops expired parts of it.
    fn drop_expired(&self, payload: &mut P, ttl: &Ttl, now: i64);

    /// Encodes what is unexpired.
    fn encode_unexpired(
        &self,
        payload: &P,
        written: i64,
        ttl: &Ttl,
        now: i64,
        out: &mut Vec<u8>,
    ) -> Result<Unexpired, String>;

    /// The same on an encoded row of the current format; only `Part` appends to `out`.
    fn filter_row(
        &self,
        row: &[u8],
        ttl: &Ttl,
        now: i64,
        out: &mut Vec<u8>,
    ) -> Result<Unexpired, String>;
}

fn decode_any<V>(codec: &Codec<V>, bytes: &[u8], version: u32) -> Result<V, String> {
    if version == codec.version {
        (codec.decode)(bytes)
    } else {
        let migrate = codec.migrate.ok_or("no migration")?;
        migrate(version, bytes)
    }
}

fn split_time(row: &[u8]) -> Result<(i64, &[u8]), String> {
    row.split_first_chunk::<8>()
        .map(|(time, rest)| (i64::from_be_bytes(*time), rest))
        .ok_or_else(|| "no write time".to_owned())
}

/// One value a row: `[written i64 BE] value`.
pub(crate) struct SingleRows<V> {
    pub(crate) codec: Codec<V>,
    pub(crate) timed: bool,
}

impl<V: 'static> Rows<V> for SingleRows<V> {
    fn format(&self) -> RowFormat {
        RowFormat {
            version: self.codec.version,
            timed: self.timed,
        }
    }

    fn shape(&self) -> Option<Shape> {
        (self.codec.shape)()
    }

    fn encode(&self, payload: &V, written: i64, out: &mut Vec<u8>) -> Result<(), String> {
        if self.timed {
            out.extend_from_slice(&written.to_be_bytes());
        }
        (self.codec.encode)(payload, out)
    }

    fn decode(&self, row: &[u8], format: RowFormat, now: i64) -> Result<(V, i64), String> {
        let (written, bytes) = if format.timed {
            split_time(row)?
        } else {
            (now, row)
        };
        Ok((decode_any(&self.codec, bytes, format.version)?, written))
    }

    fn heap_bytes(&self, payload: &V) -> usize {
        (self.codec.heap_bytes)(payload)
    }

    fn is_expired(&self, _: &V, written: i64, ttl: &Ttl, now: i64) -> bool {
        ttl.is_expired(written, now)
    }

    fn has_expired_part(&self, _: &V, _: &Ttl, _: i64) -> bool {
        false
    }

    fn drop_expired(&self, _: &mut V, _: &Ttl, _: i64) {}

    fn encode_unexpired(
        &self,
        payload: &V,
        written: i64,
        ttl: &Ttl,
        now: i64,
        out: &mut Vec<u8>,
    ) -> Result<Unexpired, String> {
        if ttl.is_expired(written, now) {
            return Ok(Unexpired::Nothing);
        }
        self.encode(payload, written, out)?;
        Ok(Unexpired::All)
    }

    fn filter_row(
        &self,
        row: &[u8],
        ttl: &Ttl,
        now: i64,
        _: &mut Vec<u8>,
    ) -> Result<Unexpired, String> {
        let (written, _) = split_time(row)?;
        Ok(if ttl.is_expired(written, now) {
            Unexpired::Nothing
        } else {
            Unexpired::All
        })
    }
}

/// The elements of one list, and when each was written if there is a time to live.
#[derive(Debug)]
pub(crate) struct ListItems<T> {
    pub(crate) items: Vec<T>,
    /// As long as `items`, or empty without a time to live.
    pub(crate) written: Vec<i64>,
    /// Memory that the elements hold outside themselves.
    pub(crate) heap: usize,
}

impl<T> ListItems<T> {
    pub(crate) fn new() -> Self {
        Self {
            items: Vec::new(),
            written: Vec::new(),
            heap: 0,
        }
    }

    pub(crate) fn push(&mut self, item: T, written: Option<i64>, heap_bytes: fn(&T) -> usize) {
        self.heap += heap_bytes(&item);
        self.items.push(item);
        self.written.extend(written);
    }

    /// Memory it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.heap + self.items.len() * size_of::<T>() + self.written.len() * 8
    }

    /// Takes the expired elements out, with their positions in place of their write times.
    pub(crate) fn split_expired(
        &mut self,
        ttl: &Ttl,
        now: i64,
        heap_bytes: fn(&T) -> usize,
    ) -> Self {
        let mut gone = Self::new();
        if !self.written.iter().any(|&at| ttl.is_expired(at, now)) {
            return gone;
        }
        let items = std::mem::take(&mut self.items);
        for (position, (item, &at)) in items.into_iter().zip(&self.written).enumerate() {
            if ttl.is_expired(at, now) {
                self.heap = self.heap.saturating_sub(heap_bytes(&item));
                gone.push(item, Some(position as i64), heap_bytes);
            } else {
                self.items.push(item);
            }
        }
        self.written.retain(|&at| !ttl.is_expired(at, now));
        gone
    }
}

/// A list a row: for each element `length u32 BE [written i64 BE] element`.
pub(crate) struct ListRows<T> {
    pub(crate) codec: Codec<T>,
    pub(crate) timed: bool,
}

impl<T> ListRows<T> {
    fn encode_item(&self, item: &T, written: Option<i64>, out: &mut Vec<u8>) -> Result<(), String> {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        if let Some(written) = written {
            out.extend_from_slice(&written.to_be_bytes());
        }
        (self.codec.encode)(item, out)?;
        let len = u32::try_from(out.len() - start - 4).map_err(|_| "an element above 4 GiB")?;
        out[start..start + 4].copy_from_slice(&len.to_be_bytes());
        Ok(())
    }

    fn each_item<'r>(
        row: &'r [u8],
        timed: bool,
        mut visit: impl FnMut(i64, &'r [u8], &'r [u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut rest = row;
        while !rest.is_empty() {
            let (len, tail) = rest.split_first_chunk::<4>().ok_or("a list cut short")?;
            let item = tail
                .get(..u32::from_be_bytes(*len) as usize)
                .ok_or("a list cut short")?;
            let framed = &rest[..4 + item.len()];
            rest = &rest[4 + item.len()..];
            if timed {
                let (written, bytes) = split_time(item)?;
                visit(written, bytes, framed)?;
            } else {
                visit(0, item, framed)?;
            }
        }
        Ok(())
    }
}

impl<T: 'static> Rows<ListItems<T>> for ListRows<T> {
    fn format(&self) -> RowFormat {
        RowFormat {
            version: self.codec.version,
            timed: self.timed,
        }
    }

    fn shape(&self) -> Option<Shape> {
        (self.codec.shape)()
    }

    fn encode(&self, payload: &ListItems<T>, _: i64, out: &mut Vec<u8>) -> Result<(), String> {
        for (index, item) in payload.items.iter().enumerate() {
            self.encode_item(item, payload.written.get(index).copied(), out)?;
        }
        Ok(())
    }

    fn decode(
        &self,
        row: &[u8],
        format: RowFormat,
        now: i64,
    ) -> Result<(ListItems<T>, i64), String> {
        let mut list = ListItems::new();
        Self::each_item(row, format.timed, |written, bytes, _| {
            let item = decode_any(&self.codec, bytes, format.version)?;
            list.heap += (self.codec.heap_bytes)(&item);
            list.items.push(item);
            if self.timed {
                list.written.push(if format.timed { written } else { now });
            }
            Ok(())
        })?;
        Ok((list, 0))
    }

    fn heap_bytes(&self, payload: &ListItems<T>) -> usize {
        payload.heap + payload.items.capacity() * size_of::<T>() + payload.written.capacity() * 8
    }

    fn is_expired(&self, payload: &ListItems<T>, _: i64, ttl: &Ttl, now: i64) -> bool {
        payload
            .written
            .iter()
            .all(|&written| ttl.is_expired(written, now))
    }

    fn has_expired_part(&self, payload: &ListItems<T>, ttl: &Ttl, now: i64) -> bool {
        payload
            .written
            .iter()
            .any(|&written| ttl.is_expired(written, now))
    }

    fn drop_expired(&self, payload: &mut ListItems<T>, ttl: &Ttl, now: i64) {
        payload.split_expired(ttl, now, self.codec.heap_bytes);
    }

    fn encode_unexpired(
        &self,
        payload: &ListItems<T>,
        _: i64,
        ttl: &Ttl,
        now: i64,
        out: &mut Vec<u8>,
    ) -> Result<Unexpired, String> {
        let mut left = 0;
        for (item, &written) in payload.items.iter().zip(&payload.written) {
            if !ttl.is_expired(written, now) {
                self.encode_item(item, Some(written), out)?;
                left += 1;
            }
        }
        Ok(match left {
            0 => Unexpired::Nothing,
            all if all == payload.items.len() => Unexpired::All,
            _ => Unexpired::Part,
        })
    }

    fn filter_row(
        &self,
        row: &[u8],
        ttl: &Ttl,
        now: i64,
        out: &mut Vec<u8>,
    ) -> Result<Unexpired, String> {
        let start = out.len();
        let mut all = true;
        Self::each_item(row, true, |written, _, framed| {
            if ttl.is_expired(written, now) {
                all = false;
            } else {
                out.extend_from_slice(framed);
            }
            Ok(())
        })?;
        Ok(if all {
            out.truncate(start);
            Unexpired::All
        } else if out.len() == start {
            Unexpired::Nothing
        } else {
            Unexpired::Part
        })
    }
}
