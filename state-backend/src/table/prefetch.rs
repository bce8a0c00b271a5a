//! A hint to the processor.

use prefetch_index::prefetch_index;

/// Bytes that a processor fetches at a time.
const LINE: usize = 64;

/// Asks for the first two lines of an item, in which rows have their key, their marks and the beginning of their
/// value; waits for nothing. Beyond the end it does nothing.
#[inline(always)]
pub(super) fn prefetch<T>(items: &[T], at: usize) {
    let Some(item) = items.get(at) else { return };
    prefetch_index(items, at);
    if size_of::<T>() > LINE {
        // No slice begins there, so the address is given as one from the beginning of an empty slice.
        let nothing: &[u8] = &[];
        let address = std::ptr::from_ref(item).addr() + LINE;
        prefetch_index(nothing, address.wrapping_sub(nothing.as_ptr().addr()));
    }
}
