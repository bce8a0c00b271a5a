use crate::error::{Error, Result};
use crate::evaluate::read::Row;
use crate::serve::hash;

/// Which part of a file is replayed: a guard against what holds on the whole of it only by chance.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    from: f64,
    to: f64,
    users: f64,
    seed: u64,
}

impl Default for Slice {
    fn default() -> Self {
        Self {
            from: 0.0,
            to: 1.0,
            users: 1.0,
            seed: 0,
        }
    }
}

impl Slice {
    /// The events between two shares of the stream: 0 to 0.5 is the first half.
    #[must_use]
    pub fn with_part(mut self, from: f64, to: f64) -> Self {
        (self.from, self.to) = (from, to);
        self
    }

    /// A share of the users (or sessions) with all their events; another seed, others.
    #[must_use]
    pub fn with_users(mut self, share: f64, seed: u64) -> Self {
        (self.users, self.seed) = (share, seed);
        self
    }

    pub(super) fn validate(&self) -> Result<()> {
        let share = 0.0..=1.0;
        if !share.contains(&self.from) || !share.contains(&self.to) || self.from > self.to {
            return Err(Error::invalid("part", "must lie between 0 and 1"));
        }
        match share.contains(&self.users) {
            true => Ok(()),
            false => Err(Error::invalid("users", "must lie between 0 and 1")),
        }
    }

    pub(super) fn cut(&self, rows: &mut Vec<Row>) {
        let at = |share: f64| (rows.len() as f64 * share) as usize;
        let (from, to) = (at(self.from), at(self.to));
        rows.truncate(to);
        rows.drain(..from);
        if self.users < 1.0 {
            let below = (self.users * 65_536.0) as u64;
            let seed = self.seed.to_le_bytes();
            rows.retain(|row| hash(&[&seed, &row.user.to_le_bytes()]) % 65_536 < below);
        }
    }
}
