//! What a metric is: a row of a table, named by a constant whose type says which labels it wants. A sample with other
//! labels does not compile:
//!
//! ```text
//! STREAMS.of(&entry.labels, &["complete"])   common labels picked by field, own labels as an array of their number
//! EVENTS.with(&["data"])                     a metric about no call
//! ```
//! Tables stand with who measures: detectors have theirs, the exporter has its own and puts them all together.

use std::marker::PhantomData;

use super::labels::{CallLabel, CallLabels, LabelVocabulary};

/// What kind of series; for histograms the upper bounds of the buckets (without +Inf).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram(&'static [f64]),
}

impl MetricKind {
    /// As the exposition format calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram(_) => "histogram",
        }
    }
}

/// One label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricColumn {
    /// A field of the call's labels.
    Common(CallLabel),
    /// A label of the metric's own: given with each sample.
    Own { name: &'static str, values: LabelVocabulary },
}

/// An own label that takes words of clients, providers or the host.
#[must_use]
pub const fn open(name: &'static str) -> MetricColumn {
    MetricColumn::Own { name, values: LabelVocabulary::Open }
}

/// An own label that takes a handful of our own words.
#[must_use]
pub const fn closed(name: &'static str) -> MetricColumn {
    MetricColumn::Own { name, values: LabelVocabulary::Closed }
}

impl MetricColumn {
    /// Its name in the exposition.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            MetricColumn::Common(label) => label.name(),
            MetricColumn::Own { name, .. } => name,
        }
    }

    /// Strangers choose its values, so they are capped.
    #[must_use]
    pub const fn open(&self) -> bool {
        match self {
            MetricColumn::Common(label) => matches!(label.values(), LabelVocabulary::Open),
            MetricColumn::Own { values, .. } => matches!(values, LabelVocabulary::Open),
        }
    }
}

/// How many of these labels are own ones.
#[must_use]
pub const fn own_columns(mut columns: &[MetricColumn]) -> usize {
    let mut own = 0;
    while let [first, rest @ ..] = columns {
        own += matches!(first, MetricColumn::Own { .. }) as usize;
        columns = rest;
    }
    own
}

/// Where the row of a metric stands: which table of the catalogue, and which row of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricId {
    pub table: u8,
    pub row: u16,
}

/// One row of a table.
#[derive(Debug)]
pub struct MetricRow {
    pub id: MetricId,
    pub name: &'static str,
    pub kind: MetricKind,
    /// The labels it shares with its neighbours, first.
    pub common: &'static [MetricColumn],
    /// Its own labels, after them.
    pub own: &'static [MetricColumn],
    pub help: &'static str,
}

impl MetricRow {
    /// All labels, in the order in which they are shown.
    pub fn labels(&self) -> impl Iterator<Item = MetricColumn> + '_ {
        self.common.iter().chain(self.own).copied()
    }

    /// Whether strangers can make series of it.
    #[must_use]
    pub fn capped(&self) -> bool {
        self.labels().any(|label| label.open())
    }
}

/// The name of a metric inside the program. `L`: where its common labels come from, `CallLabels` or nowhere (`()`).
/// `OWN`: how many labels it has besides.
#[derive(Debug)]
pub struct Metric<L, const OWN: usize> {
    id: MetricId,
    labels: PhantomData<fn(L)>,
}

impl<L, const OWN: usize> Clone for Metric<L, OWN> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L, const OWN: usize> Copy for Metric<L, OWN> {}

impl<L, const OWN: usize> Metric<L, OWN> {
    /// For `metric_table!`.
    #[must_use]
    pub const fn new(id: MetricId) -> Self {
        Metric { id, labels: PhantomData }
    }

    /// Where its row stands.
    #[must_use]
    pub const fn id(self) -> MetricId {
        self.id
    }
}

impl<const OWN: usize> Metric<CallLabels, OWN> {
    /// The series of these labels.
    #[must_use]
    pub fn of<'a>(self, labels: &'a CallLabels, own: &'a [&'a str; OWN]) -> SeriesName<'a> {
        SeriesName { id: self.id, labels: Some(labels), own }
    }
}

impl<const OWN: usize> Metric<(), OWN> {
    /// The series of these labels.
    #[must_use]
    pub fn with<'a>(self, own: &'a [&'a str; OWN]) -> SeriesName<'a> {
        SeriesName { id: self.id, labels: None, own }
    }
}

/// One series: a metric and the values of its labels. Only a `Metric` makes it, so they are the right ones.
#[derive(Clone, Copy, Debug)]
pub struct SeriesName<'a> {
    id: MetricId,
    labels: Option<&'a CallLabels>,
    own: &'a [&'a str],
}

impl<'a> SeriesName<'a> {
    /// The metric.
    #[must_use]
    pub fn id(&self) -> MetricId {
        self.id
    }

    /// The values in the order of `row`'s labels.
    pub fn values(&self, row: &'a MetricRow) -> impl Iterator<Item = &'a str> + 'a {
        let SeriesName { labels, own, .. } = *self;
        let mut own = own.iter().copied();
        row.labels().map(move |column| match column {
            MetricColumn::Common(label) => labels.map_or("", |labels| labels.get(label)),
            MetricColumn::Own { .. } => own.next().unwrap_or(""),
        })
    }
}

/// What becomes of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SeriesChange {
    Add(f64),
    Observe(f64),
    Set(f64),
}

/// One number for one series.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    pub series: SeriesName<'a>,
    pub change: SeriesChange,
}

/// Who takes samples: the store of metrics.
pub trait SampleSink {
    /// One sample.
    fn take(&mut self, sample: Sample<'_>);
    /// Every series of a gauge goes; those that are still there are set again right after. Other metrics stay.
    fn clear_gauge(&mut self, id: MetricId);
}

/// A table of metrics: a constant a row, typed by the row's labels, and `TABLE` with all of them.
///
/// ```
/// use ledger::labels::{CallLabels, NO_LABELS, CALL_LABELS};
/// use ledger::metric::{MetricId, MetricKind::Counter, Metric, MetricRow, closed, own_columns};
///
/// ledger::metric_table! { 0:
///     CALLS = "calls_total", Counter, CALL_LABELS, &[closed("outcome")], "Calls that ended.";
///     LOSSES = "losses_total", Counter, NO_LABELS, &[closed("cause")], "Losses.";
/// }
/// let labels = CallLabels { model: "m".into(), ..CallLabels::default() };
/// let values: Vec<&str> = CALLS.of(&labels, &["complete"]).values(&TABLE[0]).collect();
/// assert!(values.contains(&"m") && values.ends_with(&["complete"]));
/// assert_eq!(LOSSES.with(&["ring_full"]).id(), TABLE[1].id);
/// ```
///
/// A label too few does not compile, nor do labels of a call where the metric has none:
///
/// ```compile_fail,E0308
/// # use ledger::labels::{CallLabels, CALL_LABELS};
/// # use ledger::metric::{MetricId, MetricKind::Counter, Metric, MetricRow, closed, own_columns};
/// # ledger::metric_table! { 0: CALLS = "c_total", Counter, CALL_LABELS, &[closed("outcome")], "OpenCalls."; }
/// CALLS.of(&CallLabels::default(), &[]);
/// ```
/// ```compile_fail,E0599
/// # use ledger::labels::{CallLabels, NO_LABELS};
/// # use ledger::metric::{MetricId, MetricKind::Counter, Metric, MetricRow, closed, own_columns};
/// # ledger::metric_table! { 0: LOSSES = "l_total", Counter, NO_LABELS, &[closed("cause")], "Losses."; }
/// LOSSES.of(&CallLabels::default(), &["ring_full"]);
/// ```
#[macro_export]
macro_rules! metric_table {
    (@labels NO_LABELS) => { () };
    (@labels $common:ident) => { CallLabels };
    ($table:literal: $($id:ident = $name:literal, $kind:expr, $common:ident, $own:expr, $help:literal;)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "they number the constants of these names")]
        enum RowNumber { $($id),* }

        $(
            #[doc = $help]
            pub const $id: Metric<$crate::metric_table!(@labels $common), { own_columns($common) + own_columns($own) }> =
                Metric::new(MetricId { table: $table, row: RowNumber::$id as u16 });
        )*

        /// The table.
        pub static TABLE: &[MetricRow] = &[$(
            MetricRow { id: $id.id(), name: $name, kind: $kind, common: $common, own: $own, help: $help }
        ),*];
    };
}

/// Whole streams: agents' answers last minutes, so the bounds go to an hour.
pub const DURATION: &[f64] =
    &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0];
/// Waiting for something to show: fine below a second, where people notice.
pub const FIRST: &[f64] =
    &[0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 4.0, 6.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0];
/// Between chunks: fast decoding is 5-20 ms a token, a stall is minutes.
pub const GAP: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
    300.0,
];
/// Shares of a whole.
pub const RATIO: &[f64] = &[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];
