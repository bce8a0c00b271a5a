//! What a window computes of its elements.

use crate::Timestamp;
use std::{fmt, marker::PhantomData};

/// Folds elements into an accumulator, one at a time, and accumulators into each other.
///
/// The accumulator is the window's state: it is what a checkpoint holds. `merge` must be associative;
/// sessions and shared slices combine parts in the order of time, not of arrival.
///
/// ```
/// use time_engine::{Timestamp, window::Aggregate};
///
/// /// The mean of a reading.
/// struct Mean;
///
/// impl Aggregate for Mean {
///     type In = f64;
///     type Acc = (u64, f64);
///     type Out = f64;
///     fn create(&self) -> (u64, f64) {
///         (0, 0.0)
///     }
///     fn add(&self, acc: &mut (u64, f64), value: &f64, _at: Timestamp) {
///         acc.0 += 1;
///         acc.1 += value;
///     }
///     fn merge(&self, acc: &mut (u64, f64), later: &(u64, f64)) {
///         acc.0 += later.0;
///         acc.1 += later.1;
///     }
///     fn result(&self, acc: &(u64, f64)) -> f64 {
///         acc.1 / acc.0 as f64
///     }
/// }
/// # let mut acc = Mean.create();
/// # Mean.add(&mut acc, &3.0, Timestamp::EPOCH);
/// # Mean.add(&mut acc, &5.0, Timestamp::EPOCH);
/// # assert_eq!(Mean.result(&acc), 4.0);
/// ```
pub trait Aggregate: 'static {
    /// What comes in.
    type In;
    /// What is kept for a window.
    type Acc: Clone + 'static;
    /// What comes out.
    type Out;

    /// The accumulator of no elements.
    fn create(&self) -> Self::Acc;

    /// Takes one element in. `at` is its timestamp, [`Timestamp::MIN`] if it has none.
    fn add(&self, acc: &mut Self::Acc, value: &Self::In, at: Timestamp);

    /// Takes the elements of `later` in.
    fn merge(&self, acc: &mut Self::Acc, later: &Self::Acc);

    /// The result for what was taken in.
    fn result(&self, acc: &Self::Acc) -> Self::Out;

    /// Takes the elements of `part`, once merged in, out again *exactly*; `false`, without a change, if
    /// that cannot be done. Must always give the same answer.
    ///
    /// With it a sliding window moves on in two operations and needs no memory of partial results.
    /// Sums of floats are not exact, minimum and maximum cannot forget: leave those as they are.
    fn retract(&self, acc: &mut Self::Acc, part: &Self::Acc) -> bool {
        let _ = (acc, part);
        false
    }
}

/// The number of elements.
#[derive(Debug, Clone, Copy)]
pub struct Count<T>(PhantomData<fn(T)>);

impl<T> Count<T> {
    /// Counts elements of any kind.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Count<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: 'static> Aggregate for Count<T> {
    type In = T;
    type Acc = u64;
    type Out = u64;

    fn create(&self) -> u64 {
        0
    }

    fn add(&self, acc: &mut u64, _value: &T, _at: Timestamp) {
        *acc += 1;
    }

    fn merge(&self, acc: &mut u64, later: &u64) {
        *acc += later;
    }

    fn result(&self, acc: &u64) -> u64 {
        *acc
    }

    fn retract(&self, acc: &mut u64, part: &u64) -> bool {
        *acc = acc.wrapping_sub(*part);
        true
    }
}

/// The sum; wraps around like Java's `long`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum;

impl Aggregate for Sum {
    type In = i64;
    type Acc = i64;
    type Out = i64;

    fn create(&self) -> i64 {
        0
    }

    fn add(&self, acc: &mut i64, value: &i64, _at: Timestamp) {
        *acc = acc.wrapping_add(*value);
    }

    fn merge(&self, acc: &mut i64, later: &i64) {
        *acc = acc.wrapping_add(*later);
    }

    fn result(&self, acc: &i64) -> i64 {
        *acc
    }

    fn retract(&self, acc: &mut i64, part: &i64) -> bool {
        *acc = acc.wrapping_sub(*part);
        true
    }
}

macro_rules! extreme {
    ($(#[$doc:meta])* $name:ident, $none:expr, $pick:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name;

        impl Aggregate for $name {
            type In = i64;
            type Acc = i64;
            type Out = i64;

            fn create(&self) -> i64 {
                $none
            }

            fn add(&self, acc: &mut i64, value: &i64, _at: Timestamp) {
                *acc = (*acc).$pick(*value);
            }

            fn merge(&self, acc: &mut i64, later: &i64) {
                *acc = (*acc).$pick(*later);
            }

            fn result(&self, acc: &i64) -> i64 {
                *acc
            }
        }
    };
}
extreme!(
    /// The smallest value.
    Min, i64::MAX, min
);
extreme!(
    /// The largest value.
    Max, i64::MIN, max
);

/// Count, sum, minimum and maximum in one pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats;

/// What [`Stats`] keeps and gives. With `count` 0 the other fields mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StatsAcc {
    /// How many values.
    pub count: u64,
    /// Their sum; wraps around.
    pub sum: i64,
    /// The smallest.
    pub min: i64,
    /// The largest.
    pub max: i64,
}

impl Aggregate for Stats {
    type In = i64;
    type Acc = StatsAcc;
    type Out = StatsAcc;

    fn create(&self) -> StatsAcc {
        StatsAcc {
            count: 0,
            sum: 0,
            min: i64::MAX,
            max: i64::MIN,
        }
    }

    fn add(&self, acc: &mut StatsAcc, value: &i64, _at: Timestamp) {
        acc.count += 1;
        acc.sum = acc.sum.wrapping_add(*value);
        acc.min = acc.min.min(*value);
        acc.max = acc.max.max(*value);
    }

    fn merge(&self, acc: &mut StatsAcc, later: &StatsAcc) {
        acc.count += later.count;
        acc.sum = acc.sum.wrapping_add(later.sum);
        acc.min = acc.min.min(later.min);
        acc.max = acc.max.max(later.max);
    }

    fn result(&self, acc: &StatsAcc) -> StatsAcc {
        *acc
    }
}

/// Combines elements of one type pairwise, as Flink's `reduce`.
#[derive(Clone, Copy)]
pub struct Reduce<T, F> {
    combine: F,
    element: PhantomData<fn(T)>,
}

impl<T, F: Fn(&T, &T) -> T> Reduce<T, F> {
    /// Reduces by an associative function.
    pub const fn new(combine: F) -> Self {
        Self {
            combine,
            element: PhantomData,
        }
    }
}

impl<T, F> fmt::Debug for Reduce<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reduce")
    }
}

impl<T: Clone + 'static, F: Fn(&T, &T) -> T + 'static> Aggregate for Reduce<T, F> {
    type In = T;
    type Acc = Option<T>;
    type Out = Option<T>;

    fn create(&self) -> Option<T> {
        None
    }

    fn add(&self, acc: &mut Option<T>, value: &T, _at: Timestamp) {
        *acc = Some(match acc.take() {
            None => value.clone(),
            Some(sum) => (self.combine)(&sum, value),
        });
    }

    fn merge(&self, acc: &mut Option<T>, later: &Option<T>) {
        if let Some(later) = later {
            self.add(acc, later, Timestamp::MIN);
        }
    }

    fn result(&self, acc: &Option<T>) -> Option<T> {
        acc.clone()
    }
}

/// An element with its timestamp; [`Timestamp::MIN`] means it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Timestamped<T> {
    /// When it happened.
    pub at: Timestamp,
    /// The element.
    pub value: T,
}

/// Keeps every element, for functions that want to see them all, and for evictors.
///
/// Under per-window evaluation ([`super::PlainWindows`]) the list is in arrival order.
#[derive(Debug, Clone, Copy)]
pub struct Collect<T>(PhantomData<fn(T)>);

impl<T> Collect<T> {
    /// Collects elements.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Collect<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + 'static> Aggregate for Collect<T> {
    type In = T;
    type Acc = Vec<Timestamped<T>>;
    type Out = Vec<Timestamped<T>>;

    fn create(&self) -> Self::Acc {
        Vec::new()
    }

    fn add(&self, acc: &mut Self::Acc, value: &T, at: Timestamp) {
        acc.push(Timestamped {
            at,
            value: value.clone(),
        });
    }

    fn merge(&self, acc: &mut Self::Acc, later: &Self::Acc) {
        acc.extend_from_slice(later);
    }

    fn result(&self, acc: &Self::Acc) -> Self::Out {
        acc.clone()
    }
}
