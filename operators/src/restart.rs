//! What happens after a failure: a pure decision from the failures so far.

use std::time::Duration;

/// Whether and when a failed job is started again from its last checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartStrategy {
    /// A failure ends the job.
    None,
    /// A number of restarts over the whole life of the job, each after the same delay.
    FixedDelay {
        /// Restarts before the job is given up.
        attempts: u32,
        /// From a failure to the next start.
        delay: Duration,
    },
    /// Any number of restarts, each delay twice the one before, until the job has run well for a time.
    ExponentialBackoff {
        /// The first delay.
        initial: Duration,
        /// No delay is longer.
        max: Duration,
        /// After a run of this length the delay is `initial` again.
        reset_after: Duration,
    },
}

impl RestartStrategy {
    /// Restarts for ever, from 100 ms up to 10 s apart, calm after a minute.
    pub fn exponential() -> Self {
        Self::ExponentialBackoff {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(10),
            reset_after: Duration::from_secs(60),
        }
    }

    /// `attempts` restarts, `delay` apart.
    pub fn fixed_delay(attempts: u32, delay: Duration) -> Self {
        Self::FixedDelay { attempts, delay }
    }
}

impl Default for RestartStrategy {
    /// [`RestartStrategy::exponential`].
    fn default() -> Self {
        Self::exponential()
    }
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartDecision {
    /// Start again after this delay.
    After(Duration),
    /// The job has failed for good.
    GiveUp,
}

/// Applies a [`RestartStrategy`] to a sequence of failures.
#[derive(Debug, Clone)]
pub struct RestartCounter {
    strategy: RestartStrategy,
    restarts: u32,
    next_delay: Option<Duration>,
}

impl RestartCounter {
    /// No failure so far.
    pub fn new(strategy: RestartStrategy) -> Self {
        Self {
            strategy,
            restarts: 0,
            next_delay: None,
        }
    }

    /// Decides about a failure after a run of length `ran`.
    pub fn on_failure(&mut self, ran: Duration) -> RestartDecision {
        match &self.strategy {
            RestartStrategy::None => RestartDecision::GiveUp,
            RestartStrategy::FixedDelay { attempts, delay } => {
                if self.restarts >= *attempts {
                    return RestartDecision::GiveUp;
                }
                self.restarts += 1;
                RestartDecision::After(*delay)
            }
            RestartStrategy::ExponentialBackoff {
                initial,
                max,
                reset_after,
            } => {
                let delay = match self.next_delay {
                    Some(delay) if ran < *reset_after => delay,
                    _ => *initial,
                };
                self.restarts = self.restarts.saturating_add(1);
                self.next_delay = Some(delay.saturating_mul(2).min(*max));
                RestartDecision::After(delay.min(*max))
            }
        }
    }

    /// Restarts so far.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_number_of_restarts_is_counted_over_the_whole_life() {
        let second = Duration::from_secs(1);
        let mut counter = RestartCounter::new(RestartStrategy::fixed_delay(2, second));
        assert_eq!(
            counter.on_failure(second * 1000),
            RestartDecision::After(second)
        );
        assert_eq!(counter.on_failure(second), RestartDecision::After(second));
        assert_eq!(counter.on_failure(second), RestartDecision::GiveUp);
    }

    #[test]
    fn the_delay_doubles_up_to_its_limit_and_starts_anew_after_a_good_run() {
        let ms = Duration::from_millis;
        let mut counter = RestartCounter::new(RestartStrategy::exponential());
        let mut delays = Vec::new();
        for _ in 0..9 {
            if let RestartDecision::After(delay) = counter.on_failure(ms(5)) {
                delays.push(delay.as_millis());
            }
        }
        assert_eq!(
            delays,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        assert_eq!(
            counter.on_failure(ms(60_000)),
            RestartDecision::After(ms(100))
        );
    }
}
