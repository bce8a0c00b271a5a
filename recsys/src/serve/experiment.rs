use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::Ranking;
use crate::serve::random::hash;
use crate::serve::rules::Rules;

/// An impression counts as the cause of an event upon the same item for so long.
pub(crate) const ATTRIBUTION_MS: i64 = 24 * 3_600_000;

/// Variants side by side, each user in one of them for as long as name and weights stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Part of what decides a user's variant, so that experiments are independent of each other.
    pub name: String,
    /// At least one.
    pub variants: Vec<Variant>,
}

/// One way to recommend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// The name in reports.
    pub name: String,
    /// Its share of users, relative to the others; 1 unless given, 0 is nobody.
    #[serde(default = "one")]
    pub weight: u32,
    /// Rules instead of the general ones.
    #[serde(default)]
    pub rules: Option<Rules>,
    /// Another order than the general one: `auto`, `tutorial` or the name of one
    /// [`crate::model::Channel`].
    #[serde(default)]
    pub channel: Option<String>,
}

fn one() -> u32 {
    1
}

/// What was shown and taken under a variant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Items shown.
    pub impressions: u64,
    /// Of these, acted upon within a day.
    pub outcomes: u64,
}

/// A variant's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantReport {
    /// The experiment.
    pub experiment: String,
    /// The variant.
    pub variant: String,
    /// What was counted.
    pub counts: Counts,
    /// Outcomes per impression.
    pub rate: f64,
    /// Its 95 % confidence interval (Wilson 1927).
    pub interval: (f64, f64),
}

impl Experiment {
    /// Checks names, weights and rules.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.name.is_empty() || self.name.len() > 256 {
            return Err(Error::invalid(
                "experiment",
                "the name must have 1 to 256 bytes",
            ));
        }
        if self.variants.is_empty() || self.variants.len() > 64 {
            return Err(Error::invalid("variants", "there must be 1 to 64"));
        }
        if self.variants.iter().all(|v| v.weight == 0) {
            return Err(Error::invalid("variants", "all weights are 0"));
        }
        for variant in &self.variants {
            variant.rules.as_ref().map_or(Ok(()), Rules::validate)?;
            if let Some(channel) = &variant.channel {
                channel.parse::<Ranking>()?;
            }
        }
        Ok(())
    }

    /// The variant of a user: a function of the user and the experiment's name alone.
    ///
    /// ```
    /// use recsys::{Experiment, Variant};
    /// let variant = |name: &str| Variant {
    ///     name: name.into(), weight: 1, rules: None, channel: None,
    /// };
    /// let e = Experiment { name: "e".into(), variants: vec![variant("a"), variant("b")] };
    /// assert_eq!(e.bucket("ann"), e.bucket("ann"));
    /// ```
    pub fn bucket(&self, user: &str) -> usize {
        let total: u64 = self.variants.iter().map(|v| u64::from(v.weight)).sum();
        if total == 0 {
            return 0;
        }
        let mut place = hash(&[self.name.as_bytes(), user.as_bytes()]) % total;
        for (n, variant) in self.variants.iter().enumerate() {
            match place.checked_sub(u64::from(variant.weight)) {
                Some(rest) => place = rest,
                None => return n,
            }
        }
        0
    }
}

impl Counts {
    /// The rate and its 95 % confidence interval by Wilson's formula.
    pub fn rate(&self) -> (f64, (f64, f64)) {
        let (n, taken) = (self.impressions as f64, self.outcomes as f64);
        if n == 0.0 {
            return (0.0, (0.0, 1.0));
        }
        let (p, z) = (taken / n, 1.959_964);
        let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half =
            z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).max(0.0).sqrt();
        (p, ((middle - half).max(0.0), (middle + half).min(1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_the_weights() {
        let variant = |name: &str, weight| Variant {
            name: name.into(),
            weight,
            rules: None,
            channel: None,
        };
        let experiment = Experiment {
            name: "e".into(),
            variants: vec![variant("a", 1), variant("b", 3)],
        };
        let b = (0..10_000)
            .filter(|n| experiment.bucket(&format!("u{n}")) == 1)
            .count();
        assert!((7300..7700).contains(&b), "{b}");
    }

    #[test]
    fn wilsons_interval_is_the_textbooks() {
        let counts = Counts {
            impressions: 100,
            outcomes: 10,
        };
        let (rate, (low, high)) = counts.rate();
        assert_eq!(rate, 0.1);
        assert!(
            (low - 0.0552).abs() < 1e-4 && (high - 0.1744).abs() < 1e-4,
            "{low} {high}"
        );
        assert_eq!(Counts::default().rate(), (0.0, (0.0, 1.0)));
    }
}
