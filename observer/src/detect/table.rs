//! The detectors: a line each.

use serde::Deserialize;

use super::config::{Fault, Section};
use super::{Detector, chunks, failover};

/// A row of the table.
pub struct Row {
    /// Name in labels, in the configuration and in `inspect findings`.
    pub name: &'static str,
    /// What it judges, in a sentence.
    pub about: &'static str,
    /// Metrics that it alone feeds. Gauges among them are filled anew at each scrape.
    pub metrics: &'static [&'static str],
    /// The detector, as set.
    pub make: fn(&Settings) -> Box<dyn Detector>,
}

macro_rules! detectors {
    ($($name:ident: $module:ident, $about:literal, [$($metric:literal),*];)*) => {
        /// Every detector's settings.
        #[derive(Clone, Debug, Default)]
        pub struct Settings { $(pub $name: Section<$module::Config>,)* }

        /// The `detect` section as typed.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Typed { $($name: $module::Typed,)* }

        impl Settings {
            /// Checks what was typed.
            ///
            /// # Errors
            /// A value is out of its range; the key is that below `detect`.
            pub fn new(typed: &Typed) -> Result<Settings, Fault> {
                Ok(Settings {
                    $($name: Section::new(&typed.$name).map_err(|fault| Fault {
                        key: format!("{}.{}", stringify!($name), fault.key),
                        ..fault
                    })?,)*
                })
            }
        }

        /// The table.
        pub static DETECTORS: &[Row] = &[$(Row {
            name: stringify!($name),
            about: $about,
            metrics: &[$($metric),*],
            make: |settings| Box::new($module::new(settings.$name.clone())),
        },)*];
    };
}

detectors! {
    failover: failover, "The same turn went on at another host or model after an attempt failed.",
        ["llm_failover_hops_total", "llm_failover_gap_seconds", "llm_failover_refusal_flips_total",
         "llm_failover_discarded_visible_chars_total"];
    chunk_regression: chunks, "Chunks became smaller, larger, bunched or stalled at an unchanged rate of text.",
        ["llm_chunk_regression_active", "llm_chunk_size_ratio"];
}
