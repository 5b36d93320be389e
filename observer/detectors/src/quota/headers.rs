//! Rate-limit headers of every vendor in one form, and times of reset in six formats.

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use capture::units::duration_seconds;

/// One limit, as a response tells of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct QuotaLimit {
    /// `requests`, `tokens`, `input-tokens` …: what is limited, with the window where the name has it.
    pub dimension: String,
    pub limit: Option<f64>,
    pub remaining: Option<f64>,
    /// Where only a share is told: what is left of it.
    pub ratio: Option<f64>,
    /// Seconds until it is full again.
    pub reset: Option<f64>,
}

/// Longest name of a dimension, and most dimensions of one response.
const NAME: usize = 40;
const DIMENSIONS: usize = 16;

#[derive(Clone, Copy)]
enum Field {
    Limit,
    Remaining,
    Reset,
    /// What was used, as a share or in percent.
    Used(f64),
}

/// The limits in the headers. `now`: wall clock, seconds; `date`: the server's own, which outweighs
/// it for times of day.
pub(super) fn limits(headers: &[(String, String)], now: Option<f64>, date: Option<&str>) -> Vec<QuotaLimit> {
    let clock = date.and_then(http_date).or(now);
    let mut found: Vec<QuotaLimit> = Vec::new();
    for (name, value) in headers {
        if structured(name, value, &mut found) {
            continue;
        }
        let Some((field, dimension)) = place(name) else { continue };
        let Some(at) = slot(&mut found, dimension) else { continue };
        match field {
            Field::Limit => at.limit = count(value),
            Field::Remaining => at.remaining = count(value),
            Field::Reset => at.reset = until(value, clock),
            Field::Used(whole) => at.ratio = count(value).map(|used| (1.0 - used / whole).clamp(0.0, 1.0)),
        }
    }
    found.retain(|limit| limit.remaining.is_some() || limit.ratio.is_some() || limit.reset.is_some());
    found
}

fn slot(found: &mut Vec<QuotaLimit>, dimension: String) -> Option<&mut QuotaLimit> {
    let at = match found.iter().position(|limit| limit.dimension == dimension) {
        Some(at) => at,
        None if found.len() >= DIMENSIONS => return None,
        None => {
            found.push(QuotaLimit { dimension, ..QuotaLimit::default() });
            found.len() - 1
        }
    };
    found.get_mut(at)
}

/// What a header's name says: which field of which dimension.
fn place(name: &str) -> Option<(Field, String)> {
    let name = name.strip_prefix("llm_provider-").unwrap_or(name);
    if let Some(rest) = name.strip_prefix("x-codex-") {
        let (which, field) = rest.split_once('-')?;
        let field = match field {
            "used-percent" => Field::Used(100.0),
            "reset-at" | "reset-after-seconds" => Field::Reset,
            _ => return None,
        };
        return Some((field, clean(&format!("codex-{which}"))));
    }
    if let Some(rest) = name.strip_prefix("anthropic-ratelimit-unified-") {
        let (window, field) = rest.rsplit_once('-')?;
        let field = match field {
            "utilization" => Field::Used(1.0),
            "reset" => Field::Reset,
            _ => return None,
        };
        return Some((field, clean(&format!("unified-{window}"))));
    }
    if let Some(rest) = name.strip_prefix("anthropic-ratelimit-") {
        return last(rest, "");
    }
    if let Some(rest) = name.strip_prefix("anthropic-priority-") {
        return last(rest, "priority-");
    }
    if let Some(rest) = name.strip_prefix("x-trial-endpoint-call-") {
        return Some((field(rest)?, "trial-calls".into()));
    }
    let families = [
        ("x-ratelimitbysize-", "size"),
        ("ratelimitbysize-", "size"),
        ("x-tokenlimit-", "tokens"),
        ("x-ratelimit-", "requests"),
        ("ratelimit-", "requests"),
    ];
    let (rest, alone) = families.iter().find_map(|(prefix, alone)| Some((name.strip_prefix(prefix)?, *alone)))?;
    match rest.split_once('-') {
        None => Some((field(rest)?, alone.into())),
        Some((first, dimension)) => {
            let dimension = if alone == "requests" { dimension.to_owned() } else { format!("{alone}-{dimension}") };
            Some((field(first)?, clean(&dimension)))
        }
    }
}

/// `requests-remaining`: the field comes last.
fn last(rest: &str, prefix: &str) -> Option<(Field, String)> {
    let (dimension, word) = rest.rsplit_once('-')?;
    Some((field(word)?, clean(&format!("{prefix}{dimension}"))))
}

fn field(word: &str) -> Option<Field> {
    match word {
        "limit" => Some(Field::Limit),
        "remaining" => Some(Field::Remaining),
        "reset" => Some(Field::Reset),
        _ => None,
    }
}

/// The IETF draft's structured form: `ratelimit: "default";r=50;t=30`, `ratelimit-policy: "default";q=100;w=60`.
fn structured(name: &str, value: &str, found: &mut Vec<QuotaLimit>) -> bool {
    if name != "ratelimit" && name != "ratelimit-policy" {
        return false;
    }
    for item in value.split(',') {
        let mut parts = item.split(';').map(str::trim);
        let dimension = clean(parts.next().unwrap_or_default().trim_matches('"'));
        let Some(at) = slot(found, dimension) else { return true };
        for (key, number) in parts.filter_map(|part| part.split_once('=')) {
            match key {
                "r" => at.remaining = count(number),
                "t" => at.reset = count(number),
                "q" => at.limit = count(number),
                _ => {}
            }
        }
    }
    true
}

fn clean(dimension: &str) -> String {
    let keep = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '_';
    dimension.chars().filter(keep).take(NAME).collect()
}

/// A count; Azure's -1 is none.
fn count(value: &str) -> Option<f64> {
    value.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
}

/// Seconds until a reset: RFC 3339, epoch (milliseconds or seconds), seconds, or a duration like `6m0s`.
pub(super) fn until(value: &str, clock: Option<f64>) -> Option<f64> {
    let value = value.trim();
    if let Ok(number) = value.parse::<f64>() {
        return match number {
            n if n >= 1e12 => Some((n / 1e3 - clock?).max(0.0)),
            n if n >= 1e9 => Some((n - clock?).max(0.0)),
            n if n >= 0.0 => Some(n),
            _ => None,
        };
    }
    if let Ok(time) = value.parse::<Timestamp>() {
        return Some((time.as_nanosecond() as f64 / 1e9 - clock?).max(0.0));
    }
    duration_seconds(value).or_else(|| Some((http_date(value)? - clock?).max(0.0)))
}

/// An HTTP date as seconds since the epoch.
pub(crate) fn http_date(value: &str) -> Option<f64> {
    // RFC 2822 wants a numeric zone or an obsolete name; `GMT` is one.
    let time = rfc2822::parse(value.trim()).ok()?;
    Some(time.timestamp().as_nanosecond() as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_in_six_formats() {
        let clock = Some(1_772_323_200.0); // 2026-03-01T00:00:00Z
        for (value, want) in [
            ("12ms", Some(0.012)),
            ("1s", Some(1.0)),
            ("6m0s", Some(360.0)),
            ("16m17.764s", Some(977.764)),
            ("2m59.56s", Some(179.56)),
            ("1h0m0s", Some(3600.0)),
            ("34", Some(34.0)),
            ("7.66", Some(7.66)),
            ("2026-03-01T00:01:00Z", Some(60.0)),
            ("2026-03-01T01:00:00+01:00", Some(0.0)),
            ("1772323260", Some(60.0)),
            ("1772323260500", Some(60.5)),
            ("Sun, 01 Mar 2026 00:02:00 GMT", Some(120.0)),
            ("-1", None),
            ("soon", None),
            ("", None),
            ("5x", None),
            ("nan", None),
        ] {
            let got = until(value, clock);
            assert!(
                got.zip(want).map_or(got == want, |(got, want)| (got - want).abs() < 1e-3),
                "{value}: {got:?}, not {want:?}"
            );
        }
        assert_eq!(until("2026-03-01T00:01:00Z", None), None, "without a clock a time of day says nothing");
    }

    #[test]
    fn every_vendor() {
        let clock = Some(1_772_323_200.0);
        let read = |text: &str| {
            let pairs: Vec<(String, String)> = text
                .lines()
                .filter_map(|line| line.trim().split_once(": "))
                .map(|(n, v)| (n.into(), v.into()))
                .collect();
            limits(&pairs, clock, None)
        };
        let of = |limits: &[QuotaLimit], dimension: &str| {
            let limit = limits.iter().find(|limit| limit.dimension == dimension);
            let QuotaLimit { limit, remaining, ratio, reset, .. } =
                limit.unwrap_or_else(|| panic!("{limits:?}")).clone();
            (limit, remaining, ratio, reset)
        };
        let openai = read(
            "x-ratelimit-limit-requests: 60\nx-ratelimit-remaining-requests: 59\nx-ratelimit-reset-requests: 1s\nx-ratelimit-limit-tokens: 150000\nx-ratelimit-remaining-tokens: 149984\nx-ratelimit-reset-tokens: 6m0s",
        );
        assert_eq!(of(&openai, "requests"), (Some(60.0), Some(59.0), None, Some(1.0)));
        assert_eq!(of(&openai, "tokens"), (Some(150_000.0), Some(149_984.0), None, Some(360.0)));
        let azure = read(
            "x-ratelimit-remaining-requests: -1\nx-ratelimit-limit-requests: 0\nx-ratelimit-renewalperiod-requests: 60",
        );
        assert_eq!(azure, []);
        let anthropic = read(
            "anthropic-ratelimit-input-tokens-limit: 100\nanthropic-ratelimit-input-tokens-remaining: 40\nanthropic-ratelimit-input-tokens-reset: 2026-03-01T00:01:00Z\nanthropic-priority-output-tokens-remaining: 5",
        );
        assert_eq!(of(&anthropic, "input-tokens"), (Some(100.0), Some(40.0), None, Some(60.0)));
        assert_eq!(of(&anthropic, "priority-output-tokens").1, Some(5.0));
        let unified = read(
            "anthropic-ratelimit-unified-status: allowed\nanthropic-ratelimit-unified-reset: 1772330000\nanthropic-ratelimit-unified-5h-utilization: 0.25\nanthropic-ratelimit-unified-5h-reset: 1772323800\nanthropic-ratelimit-unified-7d_sonnet-utilization: 1.2",
        );
        assert_eq!(of(&unified, "unified-5h"), (None, None, Some(0.75), Some(600.0)));
        assert_eq!(of(&unified, "unified-7d_sonnet").2, Some(0.0));
        let mistral = read(
            "x-ratelimit-limit-tokens-month: 10\nx-ratelimit-remaining-tokens-month: 4\nratelimitbysize-remaining: 7\nratelimitbysize-reset: 30",
        );
        assert_eq!(of(&mistral, "tokens-month").1, Some(4.0));
        assert_eq!(of(&mistral, "size"), (None, Some(7.0), None, Some(30.0)));
        let others = read(
            "x-trial-endpoint-call-remaining: 3\nx-tokenlimit-remaining-dynamic: 9\nx-ratelimit-reset: 1772323260500\nx-ratelimit-remaining: 8\nx-codex-primary-used-percent: 40\nx-codex-primary-reset-after-seconds: 90",
        );
        assert_eq!(of(&others, "trial-calls").1, Some(3.0));
        assert_eq!(of(&others, "tokens-dynamic").1, Some(9.0));
        assert_eq!(of(&others, "requests"), (None, Some(8.0), None, Some(60.5)));
        assert_eq!(of(&others, "codex-primary"), (None, None, Some(0.6), Some(90.0)));
        let ietf = read("ratelimit: \"default\";r=50;t=30\nratelimit-policy: \"default\";q=100;w=60");
        assert_eq!(of(&ietf, "default"), (Some(100.0), Some(50.0), None, Some(30.0)));
        let litellm = read("llm_provider-x-ratelimit-remaining-requests: 5");
        assert_eq!(of(&litellm, "requests").1, Some(5.0));
        assert_eq!(read("x-ratelimit-remaining-requests: many\nx-ratelimit-reset-requests: \u{1}"), []);
    }

    #[test]
    fn a_flood_of_dimensions_is_cut() {
        let pairs: Vec<_> = (0..1000).map(|n| (format!("x-ratelimit-remaining-d{n}"), "1".to_owned())).collect();
        assert_eq!(limits(&pairs, None, None).len(), DIMENSIONS);
    }

    /// The server's own clock counts for its times of day.
    #[test]
    fn skew_of_the_host_does_not_move_a_reset() {
        let pairs = [("anthropic-ratelimit-requests-reset".to_owned(), "2026-03-01T00:01:00Z".to_owned())];
        let found = limits(&pairs, Some(0.0), Some("Sun, 01 Mar 2026 00:00:30 GMT"));
        assert_eq!(found[0].reset, Some(30.0));
    }
}
