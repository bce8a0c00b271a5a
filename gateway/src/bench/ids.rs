//! Which key each operation is for, drawn beforehand so that drawing costs no backend anything.

use super::config::{Config, Distribution};

/// Draws kept: 4 M take 16 MiB, and are gone round again by longer runs.
const RING: u64 = 4 << 20;

/// The exponent that YCSB uses.
const EXPONENT: f64 = 0.99;

/// Key numbers, below `keys`, in the order of asking.
#[derive(Debug)]
pub(crate) struct Ids {
    ring: Vec<u32>,
    next: usize,
}

impl Ids {
    /// The same for the same configuration and seed. At most 4 billion keys.
    pub(crate) fn new(config: &Config, ops: u64, seed: u64) -> Self {
        let keys = config.keys.clamp(1, u64::from(u32::MAX));
        let len = ops.clamp(1, RING);
        let mut random = Random(seed);
        let ring = match config.distribution {
            Distribution::Sequential => (0..keys.max(len).min(RING))
                .map(|n| (n % keys) as u32)
                .collect(),
            Distribution::Uniform => (0..len).map(|_| random.below(keys) as u32).collect(),
            Distribution::Zipf => {
                let zipf = Zipf::new(keys);
                // Ranks are spread over the keys, so that the frequent ones are no neighbours.
                (0..len)
                    .map(|_| (zipf.rank(random.unit()).wrapping_mul(SPREAD) % keys) as u32)
                    .collect()
            }
        };
        Self { ring, next: 0 }
    }

    #[inline]
    pub(crate) fn draw(&mut self) -> u64 {
        let id = self.ring[self.next];
        self.next += 1;
        if self.next == self.ring.len() {
            self.next = 0;
        }
        u64::from(id)
    }
}

/// A prime, and so a permutation of the ranks for any number of keys that is no multiple of it.
const SPREAD: u64 = 4_294_967_291;

/// Gray et al., "Quickly generating billion-record synthetic databases" (1994), as in YCSB.
struct Zipf {
    keys: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    fn new(keys: u64) -> Self {
        let zeta = |n: u64| (1..=n).map(|k| (k as f64).powf(-EXPONENT)).sum::<f64>();
        let (all, two) = (zeta(keys), zeta(keys.min(2)));
        let count = keys as f64;
        Self {
            keys: count,
            alpha: 1.0 / (1.0 - EXPONENT),
            zeta: all,
            eta: (1.0 - (2.0 / count).powf(1.0 - EXPONENT)) / (1.0 - two / all),
        }
    }

    fn rank(&self, unit: f64) -> u64 {
        let uz = unit * self.zeta;
        if uz < 1.0 || self.keys < 2.0 {
            return 0;
        }
        if uz < 1.0 + 0.5_f64.powf(EXPONENT) {
            return 1;
        }
        let rank = self.keys * (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.keys as u64 - 1)
    }
}

/// splitmix64.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The finalizer of splitmix64.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
