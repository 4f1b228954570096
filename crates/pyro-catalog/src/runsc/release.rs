//! The release of a `runsc`, read from what `--version` prints.
//!
//! gVisor's own say `release-20240729.0`, Debian's `0.0~20240729.0`: the date is in both.

use std::fmt;

/// The first whose systrap platform can be relied on. What came before knows only `ptrace`
/// and KVM, and `ptrace` is several times slower.
pub(crate) const OLDEST: Release = Release {
    date: 20_230_701,
    revision: 0,
};

/// Sorted by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release {
    /// Like 20240729.
    date: u32,
    /// Of that day.
    revision: u32,
}

impl Release {
    /// Finds the date in a version.
    pub(crate) fn of(version: &str) -> Option<Self> {
        let mut rest = version;
        loop {
            rest = &rest[rest.find(|c: char| c.is_ascii_digit())?..];
            let (number, after) = leading_digits(rest);
            if let Some(date) = date(number) {
                let revision = after.strip_prefix('.').map_or("", |r| leading_digits(r).0);
                return Some(Self {
                    date,
                    revision: revision.parse().unwrap_or(0),
                });
            }
            rest = after;
        }
    }

    /// For names of files: `20240729.0`.
    pub(crate) fn compact(self) -> String {
        format!("{}.{}", self.date, self.revision)
    }
}

/// The day: `2024-07-29`.
impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = parts(self.date);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

fn leading_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

fn date(number: &str) -> Option<u32> {
    let date = (number.len() == 8).then(|| number.parse().ok())??;
    let (year, month, day) = parts(date);
    let fits = (2018..2100).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    fits.then_some(date)
}

fn parts(date: u32) -> (u32, u32, u32) {
    (date / 10_000, date / 100 % 100, date % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_found_in_each_form_that_is_in_use() {
        let told = |version: &str| {
            Release::of(version).map(|release| (release.to_string(), release.compact()))
        };
        let july = |compact: &str| Some(("2024-07-29".to_owned(), compact.to_owned()));
        assert_eq!(told("release-20240729.0"), july("20240729.0"));
        assert_eq!(told("0.0~20240729.0"), july("20240729.0"));
        assert_eq!(told("0.0~git20240729.12ab"), july("20240729.12"));
        assert_eq!(
            told("release-20240729.3-33-g0123456789ab"),
            july("20240729.3")
        );
        for undated in [
            "VERSION_MISSING",
            "",
            "1.2.3",
            "99999999",
            "20241340",
            "202407291",
        ] {
            assert_eq!(told(undated), None, "{undated:?}");
        }
    }

    #[test]
    fn the_later_one_is_greater() {
        let sorted = [
            "0.0~20221219.0",
            "0.0~20240729.0",
            "release-20240729.1",
            "release-20260810.0",
        ];
        assert!(sorted.is_sorted_by_key(|version| Release::of(version).unwrap()));
        assert!(Release::of(sorted[0]).unwrap() < OLDEST);
        assert!(Release::of(sorted[1]).unwrap() > OLDEST);
    }
}
