//! Days of the calendar.

use std::fmt;
use std::str::FromStr;

use super::iso::{Cursor, not_iso};
use crate::error::{Error, ErrorKind, Result};

/// A day of the calendar, from 0001-01-01 to 9999-12-31: Python's `datetime.date`.
///
/// # Example
///
/// ```
/// use kombu_core::value::Date;
///
/// let date: Date = "2020-01-02".parse()?;
/// assert_eq!((date.year(), date.month(), date.day()), (2020, 1, 2));
/// # Ok::<(), kombu_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// Makes the day with that year (1 to 9999), month (1 to 12) and day of the month (from 1).
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the calendar has no such day.
    pub fn new(year: u16, month: u8, day: u8) -> Result<Self> {
        Self::checked(year.into(), month.into(), day.into())
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("no day {year:04}-{month:02}-{day:02}")))
    }

    /// Returns the year, 1 to 9999.
    pub fn year(self) -> u16 {
        self.year
    }

    /// Returns the month, 1 to 12.
    pub fn month(self) -> u8 {
        self.month
    }

    /// Returns the day of the month, 1 to 31.
    pub fn day(self) -> u8 {
        self.day
    }

    pub(super) fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let year = cursor.number(4)?;
        let dashed = cursor.eat(b'-');
        let month = cursor.number(2)?;
        if dashed && !cursor.eat(b'-') {
            return None;
        }
        Self::checked(year, month, cursor.number(2)?)
    }

    /// Days since 1970-01-01 (the algorithm of Howard Hinnant's `days_from_civil`).
    pub(super) fn days_since_epoch(self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = (i64::from(self.month) + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
    }

    /// The inverse of [`days_since_epoch`](Self::days_since_epoch); `None` outside the years 1 to 9999.
    pub(super) fn from_days_since_epoch(days: i64) -> Option<Self> {
        let days = days.checked_add(719_468)?;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self::checked(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?)
    }

    fn checked(year: u32, month: u32, day: u32) -> Option<Self> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let last = match month {
            2 => 28 + u32::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        if !(1..=9999).contains(&year) || !(1..=last).contains(&day) {
            return None;
        }
        Some(Date { year: year.try_into().ok()?, month: month.try_into().ok()?, day: day.try_into().ok()? })
    }
}

impl FromStr for Date {
    type Err = Error;

    /// Reads `YYYY-MM-DD` or `YYYYMMDD`.
    fn from_str(text: &str) -> Result<Self> {
        let mut cursor = Cursor::new(text);
        Self::read(&mut cursor).filter(|_| cursor.is_at_end()).ok_or_else(|| not_iso("a date", text))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_has_its_number() {
        let mut days = Date::new(1, 1, 1).unwrap().days_since_epoch();
        assert_eq!(Date::new(1970, 1, 1).unwrap().days_since_epoch(), 0);
        assert_eq!(Date::from_days_since_epoch(days - 1), None);
        while let Some(date) = Date::from_days_since_epoch(days) {
            assert_eq!(date.days_since_epoch(), days, "{date}");
            days += 1;
        }
        assert_eq!(days, Date::new(9999, 12, 31).unwrap().days_since_epoch() + 1);
    }

    #[test]
    fn impossible_days_are_refused() {
        for text in
            ["2021-02-29", "1900-02-29", "2020-13-01", "2020-00-01", "2020-01-00", "0000-01-01", "2020-0101", ""]
        {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
        assert_eq!("20200229".parse::<Date>().unwrap().to_string(), "2020-02-29");
    }
}
