//! Times in tokens.

use serde_json::Value;

/// A time as tokens write it: Unix seconds, with a fraction or without (RFC 7519, 2).
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct NumericDate(f64);

impl NumericDate {
    /// `None` for what is no number, and for times before 1970.
    pub fn from_json(value: &Value) -> Option<Self> {
        let seconds = value.as_f64()?;
        (seconds >= 0.0).then_some(Self(seconds))
    }

    /// The last whole second that is not later.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative; what is too large becomes the largest number"
    )]
    pub fn floor(self) -> u64 {
        self.0 as u64
    }

    /// The first whole second that is not earlier.
    pub fn ceil(self) -> u64 {
        Self(self.0.ceil()).floor()
    }

    /// Zero if `earlier` is later. Rounded, since the difference of two fractions is seldom exact.
    pub fn millis_since(self, earlier: Self) -> u64 {
        Self(((self.0 - earlier.0) * 1000.0).round()).floor()
    }
}

impl From<u64> for NumericDate {
    #[expect(
        clippy::cast_precision_loss,
        reason = "exact for the next 285 million years"
    )]
    fn from(seconds: u64) -> Self {
        Self(seconds as f64)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fractions_are_rounded_to_the_safe_side() {
        for (value, expected) in [
            (json!(7), Some((7, 7))),
            (json!(7.0), Some((7, 7))),
            (json!(7.001), Some((7, 8))),
            (json!(7.999), Some((7, 8))),
            (json!(1.795e9), Some((1_795_000_000, 1_795_000_000))),
            (json!(0), Some((0, 0))),
            (json!(-0.0), Some((0, 0))),
            (json!(0.5), Some((0, 1))),
            (json!(1e300), Some((u64::MAX, u64::MAX))),
            (json!(u64::MAX), Some((u64::MAX, u64::MAX))),
            (json!(-1), None),
            (json!(-0.5), None),
            (json!("7"), None),
            (json!(true), None),
            (json!(null), None),
            (json!([7]), None),
        ] {
            let time = NumericDate::from_json(&value);
            let seconds = time.map(|time| (time.floor(), time.ceil()));
            assert_eq!(seconds, expected, "{value}");
        }
    }

    #[test]
    fn fractions_do_not_lengthen_a_difference() {
        let time = |value: f64| NumericDate::from_json(&json!(value)).expect("a time");
        for (later, earlier, millis) in [
            (1_795_000_600.9, 1_795_000_000.9, 600_000),
            (1_795_000_600.123_456, 1_795_000_000.123_456, 600_000),
            (1_795_000_600.5, 1_795_000_000.0, 600_500),
            (1.0, 2.0, 0),
        ] {
            assert_eq!(time(later).millis_since(time(earlier)), millis);
        }
        assert_eq!(time(1e300).millis_since(time(0.0)), u64::MAX);
    }
}
