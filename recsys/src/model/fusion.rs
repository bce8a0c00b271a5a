use serde::{Deserialize, Serialize};

use crate::model::features::{CONTEXTS, FEATURES, prior};
use crate::model::math::exp;

/// A linear softmax over the candidates of one query, learnt test-then-learn: each wanted item is
/// one step of Adagrad on the cross entropy.
///
/// Weights are a shared part plus one part for each context (how long the history is), so that
/// what helps a newcomer is learnt apart from what helps an old hand, and still from little data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fusion {
    /// Shared weights, then those of each context.
    weights: Vec<f32>,
    /// Sums of squared gradients, in the same order.
    squares: Vec<f32>,
    /// Steps taken.
    pub(crate) steps: u64,
}

const LEN: usize = (1 + CONTEXTS) * FEATURES;

impl Default for Fusion {
    fn default() -> Self {
        let mut weights = vec![0.0; LEN];
        for (feature, weight) in weights.iter_mut().take(FEATURES).enumerate() {
            *weight = prior(feature);
        }
        Self {
            weights,
            squares: vec![0.0; LEN],
            steps: 0,
        }
    }
}

impl Fusion {
    /// The weights in a context.
    pub(crate) fn weights(&self, context: usize) -> [f32; FEATURES] {
        let mut sum = [0.0; FEATURES];
        let at = (1 + context) * FEATURES;
        let own = self.weights.get(at..at + FEATURES).unwrap_or_default();
        for (sum, (shared, own)) in sum.iter_mut().zip(self.weights.iter().zip(own)) {
            *sum = shared + own;
        }
        sum
    }

    /// Learns that of the candidates with these features the one at `wanted` was taken. Of the scores
    /// nothing is left.
    pub(crate) fn learn(
        &mut self,
        context: usize,
        features: &[[f32; FEATURES]],
        scores: &mut [f32],
        wanted: usize,
        rate: f32,
    ) {
        let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for score in &mut *scores {
            *score = exp(*score - max);
        }
        let total: f32 = scores.iter().sum();
        let mut gradient = [0.0_f32; FEATURES];
        for (n, (row, score)) in features.iter().zip(&*scores).enumerate() {
            let error = score / total - if n == wanted { 1.0 } else { 0.0 };
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
        self.steps += 1;
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
