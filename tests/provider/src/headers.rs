//! The response headers that vendors are known by: request ids, clocks, rate limits. A scenario's
//! own headers come after these and may repeat them: then only the scenario's are sent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::dialect::{Api, Asked, Flavour};
use crate::script::Reply;

pub(crate) type Headers = Vec<(String, String)>;

/// What is left of an account's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub requests: (u64, u64),
    pub tokens: (u64, u64),
    /// Until both are whole again.
    pub reset: Duration,
    /// This request came too late.
    pub exceeded: bool,
}

/// The headers of every answer to this request.
#[must_use]
pub(crate) fn usual(asked: &Asked, left: Option<Left>, reply: &Reply) -> Headers {
    let id = "req_scripted";
    let now = ahead(SystemTime::now(), reply.clock_ahead_s.unwrap_or(0));
    let mut headers = Headers::new();
    if reply.clock_ahead_s.is_some() {
        headers.push(header("date", &date(now)));
    }
    match (asked.api, asked.flavour) {
        (Api::Messages, _) => headers.push(header("request-id", id)),
        (Api::Converse | Api::Invoke, _) => headers.push(header("x-amzn-requestid", id)),
        (Api::Gemini, _) => headers.push(header("server-timing", "gfet4t7; dur=87")),
        (Api::Chat, Flavour::DeepSeek) => headers.push(header("x-ds-trace-id", id)),
        (Api::OllamaChat | Api::OllamaGenerate, _) => {}
        (_, Flavour::Own) => {
            headers.extend([header("x-request-id", id), header("openai-processing-ms", "87")]);
        }
        _ => headers.push(header("x-request-id", id)),
    }
    if let Some(left) = left {
        headers.extend(limits(asked, left, now));
    }
    let own = &reply.headers;
    headers.retain(|(name, _)| !own.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
    headers.extend_from_slice(own);
    headers
}

/// So many seconds later, or earlier.
fn ahead(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    // Out of what the clock can say: as it was.
    let moved = if seconds < 0 { time.checked_sub(by) } else { time.checked_add(by) };
    moved.unwrap_or(time)
}

fn limits(asked: &Asked, left: Left, now: SystemTime) -> Headers {
    let mut headers = Vec::new();
    if left.exceeded {
        headers.push(header("retry-after", &left.reset.as_secs().max(1).to_string()));
        headers.push(header("retry-after-ms", &left.reset.as_millis().to_string()));
    }
    let both = [("requests", left.requests), ("tokens", left.tokens)];
    match (asked.api, asked.flavour) {
        (Api::Messages, _) => {
            let reset = rfc3339(now + left.reset);
            for (what, (remaining, limit)) in both {
                headers.push(header(&format!("anthropic-ratelimit-{what}-limit"), &limit.to_string()));
                headers.push(header(&format!("anthropic-ratelimit-{what}-remaining"), &remaining.to_string()));
                headers.push(header(&format!("anthropic-ratelimit-{what}-reset"), &reset));
            }
        }
        (Api::Chat, Flavour::Mistral) => {
            let both = [("req", left.requests), ("tokens", left.tokens)];
            for (what, (remaining, limit)) in both {
                headers.push(header(&format!("x-ratelimit-limit-{what}-minute"), &limit.to_string()));
                headers.push(header(&format!("x-ratelimit-remaining-{what}-minute"), &remaining.to_string()));
            }
        }
        (Api::Gemini | Api::Converse | Api::Invoke | Api::Cohere | Api::OllamaChat | Api::OllamaGenerate, _) => {}
        _ => {
            let reset = go_duration(left.reset);
            for (what, (remaining, limit)) in both {
                headers.push(header(&format!("x-ratelimit-limit-{what}"), &limit.to_string()));
                headers.push(header(&format!("x-ratelimit-remaining-{what}"), &remaining.to_string()));
                headers.push(header(&format!("x-ratelimit-reset-{what}"), &reset));
            }
        }
    }
    headers
}

/// As Go prints durations: `12ms`, `1.5s`, `6m0s`.
fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = |millis: u128| match millis % 1000 {
        0 => format!("{}s", millis / 1000),
        rest => format!("{}.{}s", millis / 1000, format!("{rest:03}").trim_end_matches('0')),
    };
    match millis {
        0..1000 => format!("{millis}ms"),
        1000..60_000 => seconds(millis),
        _ => format!("{}m{}", millis / 60_000, seconds(millis % 60_000)),
    }
}

/// `2026-01-02T03:04:05Z`.
fn rfc3339(time: SystemTime) -> String {
    let (year, month, day, [hour, minute, second], _) = civil(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `Fri, 02 Jan 2026 03:04:05 GMT`.
fn date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day, [hour, minute, second], days) = civil(time);
    let weekday = usize::try_from(days % 7).ok().and_then(|at| DAYS.get(at)).copied().unwrap_or_default();
    let month = usize::try_from(month).ok().and_then(|at| MONTHS.get(at - 1)).copied().unwrap_or_default();
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Year, month, day, time of day and days since 1970 (Howard Hinnant's civil_from_days).
fn civil(time: SystemTime) -> (u64, u64, u64, [u64; 3], u64) {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let days = seconds / 86_400;
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day, [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60], days)
}

pub(crate) fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        let time = UNIX_EPOCH + Duration::from_secs(951_782_399);
        assert_eq!(rfc3339(time), "2000-02-28T23:59:59Z");
        assert_eq!(date(time), "Mon, 28 Feb 2000 23:59:59 GMT");
        assert_eq!(date(time + Duration::from_secs(1)), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(date(UNIX_EPOCH), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn the_clock_may_be_off_or_not_be_told() {
        let of = |clock_ahead_s| {
            let headers = usual(&Asked::default(), None, &Reply { clock_ahead_s, ..Reply::default() });
            headers.into_iter().find(|(name, _)| name == "date").map(|(_, date)| date)
        };
        assert_eq!(of(None), None);
        // No clock of the test's own is that exact: what it was before and after.
        let (before, seen, after) =
            (date(ahead(SystemTime::now(), -3600)), of(Some(-3600)), date(ahead(SystemTime::now(), -3600)));
        assert!(seen == Some(before) || seen == Some(after));
        assert_eq!(date(ahead(UNIX_EPOCH, 86_401)), "Fri, 02 Jan 1970 00:00:01 GMT");
    }

    #[test]
    fn durations_are_those_of_go() {
        for (millis, text) in
            [(12, "12ms"), (1_000, "1s"), (7_660, "7.66s"), (360_000, "6m0s"), (977_764, "16m17.764s")]
        {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }
}
