//! Quotas for people and programs.

use serde::{Deserialize, Serialize};

use super::columns::{ColumnSet, name, number, text, wide};
use super::table::{CellColour, TableCell, or_dash, short_seconds};
use capture::units::Ns;
use detectors::QuotaRow;
use edge::clock::WallClock;

/// One limit of one quota: a contract, as for streams. What no header told is `null`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuotaView {
    pub provider: String,
    pub server_address: String,
    pub model: String,
    pub service: String,
    pub dimension: String,
    /// `bucket` or `window`.
    pub window: String,
    pub limit: Option<f64>,
    pub remaining: Option<f64>,
    pub remaining_ratio: Option<f64>,
    pub burn_per_second: Option<f64>,
    pub reset: Option<String>,
    pub resets_in_seconds: Option<f64>,
    pub exhausts_in_seconds: Option<f64>,
    /// Exhaustion minus reset: negative, and it runs dry.
    pub margin_seconds: Option<f64>,
    /// When a response last told.
    pub seen: String,
}

impl QuotaView {
    /// The view of a row at `now`.
    #[must_use]
    pub fn new(row: &QuotaRow, now: Ns, wall: &WallClock) -> QuotaView {
        QuotaView {
            provider: row.subject.provider.to_string(),
            server_address: row.subject.server.to_string(),
            model: row.subject.model.to_string(),
            service: row.subject.service.to_string(),
            dimension: row.dimension.clone(),
            window: row.window.to_owned(),
            limit: row.limit,
            remaining: row.remaining,
            remaining_ratio: row.ratio,
            burn_per_second: row.burn_per_second,
            reset: row.reset_at.map(|at| wall.rfc3339(at)),
            resets_in_seconds: row.reset_at.map(|at| at.seconds_since(now)),
            exhausts_in_seconds: row.exhausts_in,
            margin_seconds: row.margin,
            seen: wall.rfc3339(row.seen),
        }
    }
}

/// `inspect quota`.
pub const QUOTA: ColumnSet<QuotaView> = &[
    text("PROVIDER", |q| q.provider.as_str().into()),
    name("MODEL", 12, |q| q.model.as_str().into()),
    name("SERVICE", 10, |q| q.service.as_str().into()),
    text("DIMENSION", |q| q.dimension.as_str().into()),
    text("KIND", |q| q.window.as_str().into()),
    number("LEFT", |q| or_dash(q.remaining, |left| format!("{left:.0}"))),
    number("LIMIT", |q| or_dash(q.limit, |limit| format!("{limit:.0}"))),
    number("LEFT%", |q| or_dash(q.remaining_ratio, |ratio| format!("{:.0}", 100.0 * ratio))),
    number("RESETS", |q| or_dash(q.resets_in_seconds, short_seconds)),
    number("DRY", |q| or_dash(q.exhausts_in_seconds, short_seconds)),
    number("MARGIN", margin),
    wide(&number("BURN/S", |q| or_dash(q.burn_per_second, |burn| format!("{burn:.3}")))),
    wide(&text("SERVER", |q| q.server_address.as_str().into())),
    wide(&text("RESET", |q| q.reset.as_deref().unwrap_or("-").into())),
    wide(&text("SEEN", |q| q.seen.as_str().into())),
];

fn margin(quota: &QuotaView) -> TableCell {
    match quota.margin_seconds {
        Some(margin) if margin < 0.0 => {
            TableCell { text: format!("-{}", short_seconds(-margin)), tint: CellColour::Bad }
        }
        other => or_dash(other, short_seconds),
    }
}
