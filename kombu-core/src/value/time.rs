//! Times of day.

use std::fmt;
use std::str::FromStr;

use super::iso::{Cursor, not_iso};
use crate::error::{Error, ErrorKind, Result};

/// A time of day to the microsecond, with or without an offset from UTC: Python's `datetime.time`.
///
/// # Example
///
/// ```
/// use kombu_core::value::Time;
///
/// let time: Time = "03:04:05.600000+01:00".parse()?;
/// assert_eq!((time.hour(), time.microsecond()), (3, 600_000));
/// assert_eq!(time.utc_offset_micros(), Some(3_600_000_000));
/// # Ok::<(), kombu_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Time {
    hour: u8,
    minute: u8,
    second: u8,
    microsecond: u32,
    utc_offset_micros: Option<i64>,
}

impl Time {
    /// Makes a time of day without offset: hour (0 to 23), minute, second (0 to 59) and microsecond (0 to 999 999).
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when a part is out of its range.
    pub fn new(hour: u8, minute: u8, second: u8, microsecond: u32) -> Result<Self> {
        Self::checked(hour.into(), minute.into(), second.into(), microsecond).ok_or_else(|| {
            let time = format!("no time {hour:02}:{minute:02}:{second:02}.{microsecond:06}");
            Error::new(ErrorKind::InvalidArgument, time)
        })
    }

    /// Returns this time with an offset from UTC in microseconds, which must be shorter than a day; `None` takes it away.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when the offset is a day or longer.
    pub fn with_utc_offset_micros(mut self, offset: Option<i64>) -> Result<Self> {
        if offset.is_some_and(|offset| offset.unsigned_abs() >= MICROS_PER_DAY) {
            return Err(Error::new(ErrorKind::InvalidArgument, "an offset from UTC is shorter than a day"));
        }
        self.utc_offset_micros = offset;
        Ok(self)
    }

    /// Returns the hour, 0 to 23.
    pub fn hour(self) -> u8 {
        self.hour
    }

    /// Returns the minute, 0 to 59.
    pub fn minute(self) -> u8 {
        self.minute
    }

    /// Returns the second, 0 to 59.
    pub fn second(self) -> u8 {
        self.second
    }

    /// Returns the microsecond, 0 to 999 999.
    pub fn microsecond(self) -> u32 {
        self.microsecond
    }

    /// Returns how far the clock is ahead of UTC, in microseconds; `None` when the time does not say.
    pub fn utc_offset_micros(self) -> Option<i64> {
        self.utc_offset_micros
    }

    pub(super) fn micros_since_midnight(self) -> i64 {
        let minutes = i64::from(self.hour) * 60 + i64::from(self.minute);
        (minutes * 60 + i64::from(self.second)) * 1_000_000 + i64::from(self.microsecond)
    }

    pub(super) fn from_micros_since_midnight(micros: u64) -> Option<Self> {
        let seconds = micros / 1_000_000;
        let part = |value: u64| u32::try_from(value).ok();
        Self::checked(part(seconds / 3600)?, part(seconds / 60 % 60)?, part(seconds % 60)?, part(micros % 1_000_000)?)
    }

    pub(super) fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let mut time = Self::read_clock(cursor)?;
        if cursor.eat(b'Z') {
            time.utc_offset_micros = Some(0);
        } else if let Some(sign) = cursor.take_if(|byte| matches!(byte, b'+' | b'-')) {
            let offset = Self::read_clock(cursor)?.micros_since_midnight();
            time.utc_offset_micros = Some(if sign == b'-' { -offset } else { offset });
        }
        Some(time)
    }

    /// Reads `HH[:MM[:SS[.ffffff]]]`, with or without the colons.
    fn read_clock(cursor: &mut Cursor<'_>) -> Option<Self> {
        let (hour, mut minute, mut second, mut microsecond) = (cursor.number(2)?, 0, 0, 0);
        let colons = cursor.eat(b':');
        if let Some(found) = cursor.number(2) {
            minute = found;
            if !colons || cursor.eat(b':') {
                match cursor.number(2) {
                    Some(found) => second = found,
                    None if colons => return None,
                    None => {}
                }
                if cursor.eat(b'.') || cursor.eat(b',') {
                    microsecond = cursor.millionths()?;
                }
            }
        } else if colons {
            return None;
        }
        Self::checked(hour, minute, second, microsecond)
    }

    fn checked(hour: u32, minute: u32, second: u32, microsecond: u32) -> Option<Self> {
        if hour > 23 || minute > 59 || second > 59 || microsecond > 999_999 {
            return None;
        }
        let part = |value: u32| u8::try_from(value).ok();
        Some(Time {
            hour: part(hour)?,
            minute: part(minute)?,
            second: part(second)?,
            microsecond,
            utc_offset_micros: None,
        })
    }
}

const MICROS_PER_DAY: u64 = 86_400_000_000;

impl FromStr for Time {
    type Err = Error;

    /// Reads `HH[:MM[:SS[.ffffff]]]` and an optional `Z` or `±HH[:MM[:SS]]`, with or without colons.
    fn from_str(text: &str) -> Result<Self> {
        let mut cursor = Cursor::new(text.strip_prefix('T').unwrap_or(text));
        Self::read(&mut cursor).filter(|_| cursor.is_at_end()).ok_or_else(|| not_iso("a time", text))
    }
}

impl fmt::Display for Time {
    /// Writes what Python's `isoformat` writes: microseconds only when there are any, UTC as `+00:00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.hour, self.minute, self.second)?;
        if self.microsecond != 0 {
            write!(f, ".{:06}", self.microsecond)?;
        }
        let Some(offset) = self.utc_offset_micros else { return Ok(()) };
        let (seconds, micros) = (offset.unsigned_abs() / 1_000_000, offset.unsigned_abs() % 1_000_000);
        let sign = if offset < 0 { '-' } else { '+' };
        write!(f, "{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)?;
        if seconds % 60 != 0 || micros != 0 {
            write!(f, ":{:02}", seconds % 60)?;
        }
        if micros != 0 {
            write!(f, ".{micros:06}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_texts_come_back_unchanged() {
        for text in [
            "03:04:05",
            "03:04:05.000001",
            "23:59:59.999999-23:59",
            "00:00:00+00:00",
            "01:02:03+01:02:03",
            "00:00:00-00:00:00.000001",
        ] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
        }
        for (text, canonical) in [("03", "03:00:00"), ("0304", "03:04:00"), ("T030405,5Z", "03:04:05.500000+00:00")] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn impossible_times_are_refused() {
        for text in ["", "3", "24:00:00", "03:60", "03:04:", "03:04:05.", "03:04:05+24:00", "03:04:05 ", "03:04:05+"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }
}
