//! Values of the size asked for, in place where the size is a common one.

use state_backend::StateValue;

/// A value that can be read and changed.
pub(crate) trait Payload: StateValue {
    fn new(size: usize, id: u64) -> Self;

    fn counter(&self) -> u64;

    /// Changes it in place.
    fn count(&mut self);
}

/// Bytes in place.
pub(crate) struct Inline<const N: usize>([u8; N]);

impl<const N: usize> Payload for Inline<N> {
    fn new(_: usize, id: u64) -> Self {
        let mut bytes = [0; N];
        fill(&mut bytes, id);
        Self(bytes)
    }

    #[inline]
    fn counter(&self) -> u64 {
        counter(&self.0)
    }

    #[inline]
    fn count(&mut self) {
        count(&mut self.0);
    }
}

impl<const N: usize> StateValue for Inline<N> {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(&self.0);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| format!("{} bytes, not {N}", bytes.len()))
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

/// Bytes on the heap.
pub(crate) struct Boxed(Box<[u8]>);

impl Payload for Boxed {
    fn new(size: usize, id: u64) -> Self {
        let mut bytes = vec![0; size.max(8)].into_boxed_slice();
        fill(&mut bytes, id);
        Self(bytes)
    }

    #[inline]
    fn counter(&self) -> u64 {
        counter(&self.0)
    }

    #[inline]
    fn count(&mut self) {
        count(&mut self.0);
    }
}

impl StateValue for Boxed {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(&self.0);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        Ok(Self(bytes.into()))
    }

    fn heap_bytes(&self) -> usize {
        self.0.len()
    }
}

/// A counter, then bytes that compress about as badly as real ones: half random, half the same.
fn fill(bytes: &mut [u8], id: u64) {
    let mut random = super::ids::Random(id);
    for piece in bytes.chunks_mut(16).skip(1) {
        let noise = random.next().to_le_bytes();
        let len = piece.len().min(8);
        piece[..len].copy_from_slice(&noise[..len]);
    }
}

#[inline]
fn counter(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[inline]
fn count(bytes: &mut [u8]) {
    if let Some(chunk) = bytes.first_chunk_mut() {
        *chunk = (u64::from_le_bytes(*chunk) + 1).to_le_bytes();
    }
}
