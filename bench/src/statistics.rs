//! What is told of a row of measurements.

use std::time::Duration;

/// Measurements in ascending order; at least one.
#[derive(Clone, Debug)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn new(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then_some(Self(values))
    }

    /// In milliseconds.
    pub(crate) fn of_times(times: &[Duration]) -> Option<Self> {
        Self::new(times.iter().map(|time| time.as_secs_f64() * 1000.0))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn min(&self) -> f64 {
        self.0[0]
    }

    pub(crate) fn max(&self) -> f64 {
        self.0[self.count() - 1]
    }

    /// The middle one, or what lies between the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let above = self.count() / 2;
        if self.count() % 2 == 1 {
            self.0[above]
        } else {
            f64::midpoint(self.0[above - 1], self.0[above])
        }
    }

    /// The smallest value that 95 % of all do not exceed. Of fewer than twenty it is the largest.
    pub(crate) fn percentile_95(&self) -> f64 {
        self.0[(self.count() * 95).div_ceil(100) - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[f64]) -> Sample {
        Sample::new(values.iter().copied()).expect("values")
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(sample(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(sample(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(sample(&[7.0]).median(), 7.0);
    }

    #[test]
    fn the_95th_percentile_leaves_one_in_twenty_above() {
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(sample(&values).percentile_95(), 19.0);
        assert_eq!(sample(&values[..10]).percentile_95(), 10.0);
        assert_eq!(sample(&[7.0]).percentile_95(), 7.0);
    }

    #[test]
    fn nothing_measured_is_no_sample() {
        assert!(Sample::of_times(&[]).is_none());
        let times = [Duration::from_millis(2), Duration::from_micros(1500)];
        let sample = Sample::of_times(&times).expect("times");
        assert_eq!((sample.min(), sample.max(), sample.count()), (1.5, 2.0, 2));
    }
}
