use serde::{Deserialize, Serialize};

use crate::model::features::{CONTEXTS, FEATURES, prior};
use crate::model::math::exp;
use crate::model::options::{QUICK_RATE, STEADY_RATE};

/// A linear softmax over the candidates of one query, learnt test-then-learn: each wanted item is
/// one step of Adagrad on the cross entropy.
///
/// Weights are a shared part plus one part for each context (how long the history is), so that
/// what helps a newcomer is learnt apart from what helps an old hand, and still from little data.
///
/// How fast to learn depends on the stream: where most is noise small steps are better, where the world
/// turns or one source is nearly always right large ones are. So two learners run side by side, and the
/// quick one answers where its lists were clearly better than the steady one's: a paired test of the
/// reciprocal ranks that both gave to what was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fusion {
    steady: Learner,
    quick: Learner,
    /// Sum and sum of squares of the lead of the quick one, the last steps counting most.
    lead: f32,
    squares: f32,
    quick_answers: bool,
    /// Steps taken.
    pub(crate) steps: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Learner {
    /// Shared weights, then those of each context.
    weights: Vec<f32>,
    /// Sums of squared gradients, in the same order.
    squares: Vec<f32>,
}

const LEN: usize = (1 + CONTEXTS) * FEATURES;
/// Steps after which a lead counts 1/e.
const MEMORY: f32 = 8192.0;
/// The share of a candidate below which it does not move the weights: together they are less than a
/// five-hundredth.
const NOTHING: f32 = 5e-6;
/// Standard errors of lead from which on the quick one answers, and below which it no longer does.
const CLEARLY: f32 = 1.5;
const BARELY: f32 = 0.5;

impl Default for Fusion {
    fn default() -> Self {
        let mut weights = vec![0.0; LEN];
        for (feature, weight) in weights.iter_mut().take(FEATURES).enumerate() {
            *weight = prior(feature);
        }
        let learner = Learner {
            weights,
            squares: vec![0.0; LEN],
        };
        Self {
            steady: learner.clone(),
            quick: learner,
            lead: 0.0,
            squares: 0.0,
            quick_answers: false,
            steps: 0,
        }
    }
}

impl Fusion {
    /// The weights in a context.
    pub(crate) fn weights(&self, context: usize) -> [f32; FEATURES] {
        match self.quick_answers {
            true => self.quick.weights(context),
            false => self.steady.weights(context),
        }
    }

    /// Learns that of the candidates with these features the one at `wanted` was taken. `scores` are
    /// those that the [weights](Self::weights) give; nothing is left of them, and `spare` is working memory.
    pub(crate) fn learn(
        &mut self,
        context: usize,
        features: &[[f32; FEATURES]],
        scores: &mut [f32],
        spare: &mut Vec<f32>,
        wanted: usize,
    ) {
        self.steps += 1;
        let (answering, other, rates) = match self.quick_answers {
            true => (&mut self.quick, &mut self.steady, [QUICK_RATE, STEADY_RATE]),
            false => (&mut self.steady, &mut self.quick, [STEADY_RATE, QUICK_RATE]),
        };
        let weights = other.weights(context);
        spare.clear();
        spare.extend(features.iter().map(|row| dot(&weights, row)));
        let theirs = other.learn(context, features, spare, wanted, rates[1]);
        let ours = answering.learn(context, features, scores, wanted, rates[0]);
        let lead = match self.quick_answers {
            true => ours - theirs,
            false => theirs - ours,
        };
        self.lead += lead - self.lead / MEMORY;
        self.squares += lead * lead - self.squares / MEMORY;
        let needed = if self.quick_answers { BARELY } else { CLEARLY };
        self.quick_answers = self.lead > needed * self.squares.sqrt();
    }
}

impl Learner {
    fn weights(&self, context: usize) -> [f32; FEATURES] {
        let mut sum = [0.0; FEATURES];
        let at = (1 + context) * FEATURES;
        let own = self.weights.get(at..at + FEATURES).unwrap_or_default();
        for (sum, (shared, own)) in sum.iter_mut().zip(self.weights.iter().zip(own)) {
            *sum = shared + own;
        }
        sum
    }

    /// One step; the reciprocal rank of what was wanted before it, 0 beyond 20. Of the scores nothing is
    /// left.
    fn learn(
        &mut self,
        context: usize,
        features: &[[f32; FEATURES]],
        shares: &mut [f32],
        wanted: usize,
        rate: f32,
    ) -> f32 {
        let own = shares.get(wanted).copied().unwrap_or(f32::NEG_INFINITY);
        let before = shares.iter().filter(|score| **score > own).count();
        let max = shares.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for share in &mut *shares {
            *share = exp(*share - max);
        }
        let total: f32 = shares.iter().sum();
        let nothing = NOTHING * total;
        let mut gradient = [0.0_f32; FEATURES];
        for (n, (row, share)) in features.iter().zip(&*shares).enumerate() {
            if *share < nothing && n != wanted {
                continue;
            }
            let error = share / total - if n == wanted { 1.0 } else { 0.0 };
            for (g, f) in gradient.iter_mut().zip(row) {
                *g += error * f;
            }
        }
        let own = (1 + context) * FEATURES;
        for part in [0, own] {
            let weights = self.weights.iter_mut().skip(part);
            let squares = self.squares.iter_mut().skip(part);
            for ((w, s), g) in weights.zip(squares).zip(&gradient) {
                if g.is_finite() {
                    *s += g * g;
                    *w -= rate * g / (s.sqrt() + 1e-6);
                }
            }
        }
        match before {
            0..20 => (1.0 + before as f32).recip(),
            _ => 0.0,
        }
    }
}

pub(crate) fn dot(weights: &[f32; FEATURES], row: &[f32; FEATURES]) -> f32 {
    // Eight independent sums let the compiler use vector registers; the order is fixed.
    let mut lanes = [0.0_f32; 8];
    for (w, f) in weights.chunks_exact(8).zip(row.chunks_exact(8)) {
        for (lane, (w, f)) in lanes.iter_mut().zip(w.iter().zip(f)) {
            *lane += w * f;
        }
    }
    lanes.iter().sum()
}
