//! Dates and times of day. Compares what is written, in the order in which it is written where that is clear;
//! knows no calendar.

use crate::names::Name;
use crate::token::{Kind, Token, Tokens};

/// A date, if the tokens are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Day {
    None,
    /// Three numbers of which the first is no year: only equal texts are equal.
    Unclear,
    /// A month with a day, a year, or both; 0 where there is none.
    Date {
        year: u32,
        month: u32,
        day: u32,
    },
}

/// `March 5, 2021`, `5 Mar.`, `2021-03-05`, `3/5/2021`.
pub(crate) fn day(tokens: Tokens<'_>) -> Day {
    if let [first, mark, second, other, third] = tokens
        && matches!(mark.text, "-" | "/")
        && mark.text == other.text
        && let (Some(year), Some(month), Some(day)) = (small(first), small(second), small(third))
    {
        let clear = year >= 1000 && (1..=12).contains(&month) && (1..=31).contains(&day);
        return if clear { Day::Date { year, month, day } } else { Day::Unclear };
    }
    let (mut year, mut month, mut day) = (0, 0, 0);
    for token in tokens {
        match (token.name.month(), small(token)) {
            (Some(named), _) if month == 0 => month = named,
            (_, Some(number @ 1..=31)) if day == 0 => day = number,
            (_, Some(number @ 32..)) if year == 0 => year = number,
            _ if matches!(token.name, Name::Comma | Name::Dot | Name::Article) => {}
            _ if day > 0 && matches!(token.text, "st" | "nd" | "rd" | "th" | "of") => {}
            _ => return Day::None,
        }
    }
    if month > 0 && day + year > 0 { Day::Date { year, month, day } } else { Day::None }
}

/// Whether two times of day are the same, one at least with am or pm. `None` if they are not such times.
pub(crate) fn same_time(a: Tokens<'_>, b: Tokens<'_>) -> Option<bool> {
    let ((hour_a, minute_a, half_a), (hour_b, minute_b, half_b)) = (clock(a)?, clock(b)?);
    let of_day = |hour: u32, half: Option<bool>| half.map_or(hour, |pm| hour % 12 + if pm { 12 } else { 0 });
    if half_a.is_none() && half_b.is_none() {
        return None;
    }
    let either = half_a.is_none() || half_b.is_none();
    let same_hour = of_day(hour_a, half_a) == of_day(hour_b, half_b) || (either && hour_a == hour_b);
    Some(same_hour && minute_a == minute_b)
}

/// Hour, minute, and whether it is after noon.
fn clock(tokens: Tokens<'_>) -> Option<(u32, u32, Option<bool>)> {
    let (half, clock) = match tokens {
        [clock @ .., half] if half.is_word(Name::Am) || half.is_word(Name::Pm) => (Some(half.name == Name::Pm), clock),
        _ => (None, tokens),
    };
    match clock {
        [hour] if half.is_some() => Some((small(hour)?, 0, half)),
        [hour, colon, minute] if colon.name == Name::Colon => Some((small(hour)?, small(minute)?, half)),
        _ => None,
    }
}

/// An integer of at most four digits.
fn small(token: &Token<'_>) -> Option<u32> {
    let short = token.kind == Kind::Number && token.is_integer() && token.text.len() <= 4;
    short.then(|| token.digits().fold(0, |number, digit| 10 * number + u32::from(digit & 15)))
}

#[cfg(test)]
mod tests {
    use super::{Day, day, same_time};
    use crate::lexer::tokenize;

    #[test]
    fn dates() {
        let date = |text: &str| day(&tokenize(text));
        for text in
            ["March 5, 2021", "5 March 2021", "Mar. 5th, 2021", "2021-03-05", "2021/3/5", "the 5th of March 2021"]
        {
            assert_eq!(date(text), Day::Date { year: 2021, month: 3, day: 5 }, "{text}");
        }
        assert_eq!(date("May 2nd"), Day::Date { year: 0, month: 5, day: 2 });
        assert_eq!(date("10-1-1"), Day::Unclear);
        for text in ["May", "5", "2021", "10 - 1", "March 5 km", "2021-3", "3/4\\div 2"] {
            assert_eq!(date(text), Day::None, "{text}");
        }
    }

    #[test]
    fn times() {
        for (a, b, same) in [
            ("9:00 AM", "9 a.m.", Some(true)),
            ("7 am", "7 pm", Some(false)),
            ("3:45 pm", "15:45", Some(true)),
            ("12:30 am", "0:30", Some(true)),
            ("3:45", "03:45", None),
            ("5", "5 pm", None),
        ] {
            assert_eq!(same_time(&tokenize(a), &tokenize(b)), same, "{a} {b}");
        }
    }
}
