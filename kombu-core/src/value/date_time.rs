//! Points in time as Python's programs write them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use super::iso::{Cursor, not_iso};
use super::{Date, Time};
use crate::error::{Error, ErrorKind, Result};

/// A day and a time of day to the microsecond, with or without an offset from UTC: Python's `datetime.datetime`.
///
/// Without an offset it is *naive*: a clock somewhere shows it, and only the program knows where. Two values are equal when
/// all their parts are; 12:00+00:00 and 13:00+01:00 differ.
///
/// # Example
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use kombu_core::value::DateTime;
///
/// let eta: DateTime = "1970-01-01T01:00:10+01:00".parse()?;
/// assert_eq!(eta.to_system_time(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(10)));
/// # Ok::<(), kombu_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DateTime {
    date: Date,
    time: Time,
}

impl DateTime {
    /// Joins a day and a time of day, whose offset from UTC is kept.
    pub const fn new(date: Date, time: Time) -> Self {
        DateTime { date, time }
    }

    /// Returns the day.
    pub fn date(self) -> Date {
        self.date
    }

    /// Returns the time of day, with the offset from UTC.
    pub fn time(self) -> Time {
        self.time
    }

    /// Returns the point in time; `None` for a naive one, or when the system cannot express it.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let offset = self.time.utc_offset_micros()?;
        let micros = self.date.days_since_epoch() * MICROS_PER_DAY + self.time.micros_since_midnight() - offset;
        let distance = Duration::from_micros(micros.unsigned_abs());
        if micros < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        }
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let mut cursor = Cursor::new(text);
        let date = Date::read(&mut cursor)?;
        let time = match cursor.take_if(|byte| !byte.is_ascii_digit()) {
            Some(_) => Time::read(&mut cursor)?,
            None => Time::from_micros_since_midnight(0)?,
        };
        cursor.is_at_end().then_some(DateTime { date, time })
    }
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

impl TryFrom<SystemTime> for DateTime {
    type Error = Error;

    /// Returns the point in time in UTC, rounded down to microseconds; `InvalidArgument` outside the years 1 to 9999.
    fn try_from(time: SystemTime) -> Result<Self> {
        let micros = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).ok(),
            Err(before) => i64::try_from(before.duration().as_nanos().div_ceil(1000)).ok().map(|micros| -micros),
        };
        micros
            .and_then(|micros| {
                let date = Date::from_days_since_epoch(micros.div_euclid(MICROS_PER_DAY))?;
                let of_day = u64::try_from(micros.rem_euclid(MICROS_PER_DAY)).ok()?;
                let time = Time::from_micros_since_midnight(of_day)?.with_utc_offset_micros(Some(0)).ok()?;
                Some(DateTime { date, time })
            })
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "a datetime lies in the years 1 to 9999"))
    }
}

impl FromStr for DateTime {
    type Err = Error;

    /// Reads a date, any one character and a time, as `2020-01-02T03:04:05.000006+01:00`; the time may be missing.
    fn from_str(text: &str) -> Result<Self> {
        Self::read(text).ok_or_else(|| not_iso("a datetime", text))
    }
}

impl fmt::Display for DateTime {
    /// Writes what Python's `isoformat` writes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}T{}", self.date, self.time)
    }
}

impl fmt::Debug for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_time_goes_both_ways() {
        for seconds in [-62_135_596_800_i64, -1, 0, 1, 1_700_000_000, 253_402_300_799] {
            let distance = Duration::from_secs(seconds.unsigned_abs());
            let time = if seconds < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance };
            let date_time = DateTime::try_from(time).unwrap();
            assert_eq!(date_time.to_system_time(), Some(time), "{date_time}");
        }
        let after = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800);
        assert!(DateTime::try_from(after).is_err());
        let before = SystemTime::UNIX_EPOCH - Duration::from_nanos(1);
        assert_eq!(DateTime::try_from(before).unwrap().to_string(), "1969-12-31T23:59:59.999999+00:00");
    }

    #[test]
    fn naive_times_are_no_point_in_time() {
        assert_eq!("2020-01-02T03:04:05".parse::<DateTime>().unwrap().to_system_time(), None);
    }
}
