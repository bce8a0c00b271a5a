use prefetch_index::prefetch_index;
use serde::{Deserialize, Serialize};

use crate::model::handle::Handle;
use crate::model::packed::{self, Packed};

/// An item of a user's history.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Touch {
    pub(crate) item: Handle,
    /// The largest weight of the user's events upon the item.
    pub(crate) weight: f32,
    /// Time of the latest one.
    pub(crate) at_ms: i64,
}

/// An item of a history without its time.
pub(crate) type Past = (Handle, f32);

/// A user's distinct items, most recent last.
///
/// A query reads the items of a hundred users, and hardly ever their times: the times lie apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    items: Vec<Past>,
    /// Of the same length.
    times: Vec<i64>,
}

impl History {
    /// Most recent last.
    pub(crate) fn items(&self) -> &[Past] {
        &self.items
    }

    /// Most recent first.
    pub(crate) fn latest(&self) -> impl Iterator<Item = Touch> {
        let all = self.items.iter().zip(&self.times).rev();
        all.map(|(&(item, weight), &at_ms)| Touch {
            item,
            weight,
            at_ms,
        })
    }

    pub(crate) fn weight_of(&self, item: Handle) -> Option<f32> {
        let found = self.items.iter().rev().find(|(other, _)| *other == item);
        found.map(|(_, weight)| *weight)
    }

    /// Moves an item to the end, its larger weight kept; the oldest goes when there are `cap`.
    pub(crate) fn push(&mut self, mut touch: Touch, cap: usize) {
        let known = self.items.iter().rposition(|(item, _)| *item == touch.item);
        let gone = match known {
            Some(at) => {
                touch.weight = touch.weight.max(self.items[at].1);
                Some(at)
            }
            None => (self.items.len() >= cap).then_some(0),
        };
        if let Some(at) = gone {
            self.items.remove(at);
            self.times.remove(at);
        }
        self.items.push((touch.item, touch.weight));
        self.times.push(touch.at_ms);
    }

    /// Asks for the items and weights, without waiting for them.
    #[inline]
    pub(crate) fn prefetch(&self) {
        const PER_LINE: usize = 64 / size_of::<Past>();
        for at in (0..self.items.len()).step_by(PER_LINE) {
            prefetch_index(&self.items, at);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.items.capacity() * size_of::<Past>() + self.times.capacity() * size_of::<i64>()
    }
}

impl Serialize for History {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let all = self.items.iter().zip(&self.times);
        packed::serialize_all(
            all.map(|(&(item, weight), &at_ms)| Touch {
                item,
                weight,
                at_ms,
            }),
            to,
        )
    }
}

impl<'de> Deserialize<'de> for History {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let touches: Vec<Touch> = packed::deserialize(from)?;
        Ok(Self {
            items: touches.iter().map(|t| (t.item, t.weight)).collect(),
            times: touches.iter().map(|t| t.at_ms).collect(),
        })
    }
}

impl Packed<16> for Touch {
    fn pack(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.item.bits().to_le_bytes());
        bytes[4..8].copy_from_slice(&self.weight.to_le_bytes());
        bytes[8..].copy_from_slice(&self.at_ms.to_le_bytes());
        bytes
    }

    fn unpack(bytes: &[u8; 16]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, time @ ..] = *bytes;
        Some(Self {
            item: Handle::unpack(&[a, b, c, d])?,
            weight: f32::from_le_bytes([e, f, g, h]),
            at_ms: i64::from_le_bytes(time),
        })
    }
}
