//! Days of delivery, by which the lake is partitioned (`dt`).

use std::fmt;

use millrace_core::Timestamp;

const MILLIS: i64 = 24 * 60 * 60 * 1000;

/// A day in UTC. Its text is the partition's `dt`, such as `2026-11-20`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(i64);

impl Day {
    /// The first day of the lake's table: the begin of its partition projection, 2026-01-01.
    pub const FIRST: Self = Self(20_454);

    /// The day of a time.
    #[must_use]
    pub const fn of(time: Timestamp) -> Self {
        Self(time.unix_millis().div_euclid(MILLIS))
    }

    /// The next day.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begin = self.0.checked_mul(MILLIS);
        let begin = begin.and_then(Timestamp::from_unix_millis);
        let begin = begin.ok_or(fmt::Error)?.to_string();
        f.write_str(begin.split('T').next().unwrap_or_default())
    }
}

/// A range of days. Both ends are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// The first day.
    pub first: Day,
    /// The last day, which isn't before the first one.
    pub last: Day,
}

impl Days {
    /// All days on which events can have been delivered. They end with tomorrow, because the clocks of this
    /// machine and of the delivery stream differ.
    #[must_use]
    pub fn until(now: Timestamp) -> Self {
        Self {
            first: Day::FIRST,
            last: Day::of(now).next().max(Day::FIRST),
        }
    }

    /// The earlier and the later half; `None` for a single day.
    #[must_use]
    pub const fn halves(self) -> Option<(Self, Self)> {
        if self.first.0 == self.last.0 {
            return None;
        }
        let middle = Day(self.first.0 + (self.last.0 - self.first.0) / 2);
        let earlier = Self {
            first: self.first,
            last: middle,
        };
        let later = Self {
            first: middle.next(),
            last: self.last,
        };
        Some((earlier, later))
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last {
            write!(f, "{first}")
        } else {
            write!(f, "{first} to {last}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    #[test]
    fn the_first_day_is_that_of_the_partition_projection() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/lib/lake-catalog.ts");
        let catalog = std::fs::read_to_string(path).expect("the catalogue");
        let range = format!("'projection.dt.range': '{},NOW'", Day::FIRST);
        assert!(catalog.contains(&range), "{range}");
    }

    #[test]
    fn a_day_is_written_as_its_partition() {
        let day = Day::of(time("2026-11-20T23:59:59.999Z"));
        assert_eq!(day.to_string(), "2026-11-20");
        assert_eq!(day.next().to_string(), "2026-11-21");
        assert_eq!(
            Day::of(time("1969-12-31T23:00:00Z")).to_string(),
            "1969-12-31"
        );
    }

    #[test]
    fn the_halves_are_all_days_of_the_range() {
        let mut ranges = vec![Days::until(time("2026-03-09T10:00:00Z"))];
        assert_eq!(ranges[0].to_string(), "2026-01-01 to 2026-03-10");
        let mut days = Vec::new();
        while let Some(range) = ranges.pop() {
            match range.halves() {
                Some((earlier, later)) => ranges.extend([later, earlier]),
                None => days.push(range.first),
            }
        }
        assert_eq!(days.len(), 31 + 28 + 10);
        assert!(days.windows(2).all(|pair| pair[0].next() == pair[1]));
    }

    #[test]
    fn a_clock_before_the_first_day_still_gives_a_range() {
        let days = Days::until(time("2001-01-01T00:00:00Z"));
        assert_eq!((days.first, days.last), (Day::FIRST, Day::FIRST));
        assert_eq!(days.to_string(), "2026-01-01");
    }
}
