//! The borders of tumbling and sliding windows, by arithmetic.

use crate::window::Window;

/// Windows that reach beyond this, in either direction, are not sliced: within it nothing overflows.
pub(super) const LIMIT: i64 = 1 << 61;
/// The greatest size and lateness that are sliced.
pub(super) const MAX_SPAN: i64 = 1 << 60;

/// The windows `[offset + k * slide, offset + k * slide + size)` for all whole k.
///
/// A window is named by its end. Arguments lie within [`LIMIT`] unless it says otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub(super) size: i64,
    slide: i64,
    offset: i64,
    /// Ends of the first and last window within the limit.
    lowest_end: i64,
    highest_end: i64,
}

impl Grid {
    /// `None` where numbers are so large that sums of them could overflow.
    pub(super) fn new(size: i64, slide: i64, offset: i64) -> Option<Self> {
        if size > MAX_SPAN || slide > MAX_SPAN {
            return None;
        }
        let mut grid = Self {
            size,
            slide,
            offset,
            lowest_end: 0,
            highest_end: 0,
        };
        grid.lowest_end = grid.first_end_after(-LIMIT + size - 1);
        grid.highest_end = grid.first_end_after(LIMIT) - slide;
        Some(grid)
    }

    pub(super) const fn slide(&self) -> i64 {
        self.slide
    }

    pub(super) const fn has_gaps(&self) -> bool {
        self.slide > self.size
    }

    /// Whether a window is one of those within the limit.
    pub(super) const fn is_within(&self, window: Window) -> bool {
        let end = window.end().as_millis();
        end >= self.lowest_end && end <= self.highest_end
    }

    /// From where to where all windows of an instant lie within the limit.
    pub(super) const fn inner(&self) -> (i64, i64) {
        let margin = self.size + self.slide;
        (-LIMIT + margin, LIMIT - margin)
    }

    /// Whether all windows of `at` lie within the limit.
    pub(super) const fn is_inner(&self, at: i64) -> bool {
        let (from, to) = self.inner();
        at >= from && at < to
    }

    pub(super) const fn window(&self, end: i64) -> Window {
        Window::from_millis(end - self.size, end)
    }

    pub(super) const fn is_end(&self, end: i64) -> bool {
        end >= self.lowest_end
            && end <= self.highest_end
            && (end - self.offset - self.size).rem_euclid(self.slide) == 0
    }

    /// The first end after `at`; of any `at`.
    pub(super) const fn first_end_after(&self, at: i64) -> i64 {
        let at = if at < -LIMIT {
            -LIMIT
        } else if at > LIMIT {
            LIMIT
        } else {
            at
        };
        at + self.slide - (at - self.offset - self.size).rem_euclid(self.slide)
    }

    /// The end of the newest window that has `at`, unless `at` is in a gap.
    pub(super) const fn last_end_of(&self, at: i64) -> i64 {
        at - (at - self.offset).rem_euclid(self.slide) + self.size
    }

    /// The nearest borders: the last at or before `at`, the first after it.
    pub(super) const fn borders(&self, at: i64) -> (i64, i64) {
        let since_start = (at - self.offset).rem_euclid(self.slide);
        let since_end = (at - self.offset - self.size).rem_euclid(self.slide);
        let (least, most) = if since_start < since_end {
            (since_start, since_end)
        } else {
            (since_end, since_start)
        };
        (at - least, at + self.slide - most)
    }

    /// The bounds of ends within the limit, for clamping.
    pub(super) const fn ends(&self) -> (i64, i64) {
        (self.lowest_end, self.highest_end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arithmetic_agrees_with_the_definition(
            size in 1_i64..40, slide in 1_i64..40, offset in any::<i64>(), at in -200_i64..200,
        ) {
            let offset = offset % slide;
            let grid = Grid::new(size, slide, offset).unwrap();
            let ends: Vec<i64> = (-600..600).map(|k| offset + k * slide + size).collect();
            let starts: Vec<i64> = ends.iter().map(|end| end - size).collect();
            prop_assert_eq!(
                Some(grid.first_end_after(at)), ends.iter().copied().find(|e| *e > at)
            );
            prop_assert_eq!(
                Some(grid.last_end_of(at)),
                ends.iter().copied().rev().find(|e| *e - size <= at)
            );
            let (low, high) = grid.borders(at);
            let all = || starts.iter().chain(&ends).copied();
            prop_assert_eq!(Some(low), all().filter(|b| *b <= at).max());
            prop_assert_eq!(Some(high), all().filter(|b| *b > at).min());
            prop_assert_eq!(grid.is_end(at), ends.contains(&at));
        }
    }

    #[test]
    fn the_limit_holds() {
        let grid = Grid::new(MAX_SPAN, MAX_SPAN, MAX_SPAN - 1).unwrap();
        let (low, high) = grid.ends();
        assert!(low - MAX_SPAN >= -LIMIT && high <= LIMIT);
        assert!(grid.is_end(low) && grid.is_end(high));
        assert!(grid.first_end_after(i64::MIN) <= low);
        assert!(grid.first_end_after(i64::MAX) > high);
        assert!(Grid::new(MAX_SPAN + 1, 1, 0).is_none());
    }
}
