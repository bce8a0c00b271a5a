/// Means over scored events, and the spread of query times.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) scored: u64,
    hr10: u64,
    hr20: u64,
    mrr20: f64,
    ndcg10: f64,
    pub(crate) query_ns: Vec<u32>,
}

impl Metrics {
    /// `rank` counts from 1; `None` is a miss.
    pub(crate) fn score(&mut self, rank: Option<usize>, query_ns: u64) {
        self.scored += 1;
        self.query_ns.push(query_ns.min(u64::from(u32::MAX)) as u32);
        let Some(rank) = rank else { return };
        if rank <= 10 {
            self.hr10 += 1;
            self.ndcg10 += 1.0 / ((rank + 1) as f64).log2();
        }
        if rank <= 20 {
            self.hr20 += 1;
            self.mrr20 += 1.0 / rank as f64;
        }
    }

    fn mean(&self, sum: f64) -> f64 {
        if self.scored == 0 {
            0.0
        } else {
            sum / self.scored as f64
        }
    }

    pub(crate) fn means(&self) -> [f64; 4] {
        [self.hr10 as f64, self.hr20 as f64, self.mrr20, self.ndcg10].map(|sum| self.mean(sum))
    }

    /// Microseconds at the 50th, 99th and 99.9th percentile.
    pub(crate) fn query_us(&mut self) -> [f64; 3] {
        self.query_ns.sort_unstable();
        [0.5, 0.99, 0.999].map(|q| {
            let last = self.query_ns.len().saturating_sub(1);
            let at = ((self.query_ns.len() as f64 * q) as usize).min(last);
            self.query_ns
                .get(at)
                .map_or(0.0, |ns| f64::from(*ns) / 1000.0)
        })
    }
}
