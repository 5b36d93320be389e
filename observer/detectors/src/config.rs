//! What an operator may set of detectors: one section each, every number with its range, and other values for single
//! services.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;

/// What is wrong with a section: the key below `detect.NAME`, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    pub key: String,
    pub problem: String,
}

/// The thresholds of one detector.
pub trait Thresholds: Clone + Debug + Default {
    /// The section as the operator wrote it: every key optional, nothing checked.
    type Raw: DeserializeOwned + Debug + Default;
    /// These values where `typed` says nothing.
    ///
    /// # Errors
    /// A value is out of its range.
    fn over(&self, typed: &Self::Raw) -> Result<Self, ConfigFault>;
    /// Overrides for single services.
    fn services(typed: &Self::Raw) -> &BTreeMap<String, Self::Raw>;
    /// Whether the detector judges at all.
    fn enabled(&self) -> bool;
}

/// One section as meant.
#[derive(Clone, Debug, Default)]
pub struct ConfigSection<V> {
    base: V,
    services: BTreeMap<String, V>,
}

impl<V: Thresholds> ConfigSection<V> {
    /// Checks what was typed.
    ///
    /// # Errors
    /// A value is out of its range, or an override has overrides.
    pub fn new(typed: &V::Raw) -> Result<ConfigSection<V>, ConfigFault> {
        let base = V::default().over(typed)?;
        let mut services = BTreeMap::new();
        for (name, over) in V::services(typed) {
            let at = |fault: ConfigFault| ConfigFault { key: format!("services.{name}.{}", fault.key), ..fault };
            if !V::services(over).is_empty() {
                return Err(at(ConfigFault {
                    key: "services".into(),
                    problem: "cannot stand inside a service".into(),
                }));
            }
            services.insert(name.clone(), base.over(over).map_err(at)?);
        }
        Ok(ConfigSection { base, services })
    }

    /// The values for a service.
    #[must_use]
    pub fn of(&self, service: &str) -> &V {
        self.services.get(service).unwrap_or(&self.base)
    }

    /// The values for a service where the detector is on for it.
    #[must_use]
    pub fn on(&self, service: &str) -> Option<&V> {
        Some(self.of(service)).filter(|values| values.enabled())
    }

    /// For all services that have no values of their own.
    #[must_use]
    pub fn base(&self) -> &V {
        &self.base
    }
}

/// A check that a number lies in a range.
pub fn within<T: PartialOrd + Display>(range: RangeInclusive<T>) -> impl Fn(&T) -> Result<(), String> {
    move |value| {
        if range.contains(value) {
            Ok(())
        } else {
            Err(format!("must be between {} and {}", range.start(), range.end()))
        }
    }
}

/// No check.
pub fn any<T>(_: &T) -> Result<(), String> {
    Ok(())
}

/// Declares the thresholds of a detector: name, type, default and check of each, once.
macro_rules! thresholds {
    ($(#[$doc:meta])* $vis:vis struct $name:ident, $typed:ident { $($(#[$about:meta])* $field:ident: $type:ty = $default:expr, $check:expr;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            /// Whether the detector judges at all.
            pub enabled: bool,
            $($(#[$about])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { enabled: true, $($field: $default,)* }
            }
        }

        /// The section as the operator wrote it.
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        $vis struct $typed {
            enabled: Option<bool>,
            services: std::collections::BTreeMap<String, $typed>,
            $($field: Option<$type>,)*
        }

        impl $crate::config::Thresholds for $name {
            type Raw = $typed;

            fn over(&self, typed: &$typed) -> Result<Self, $crate::config::ConfigFault> {
                $(if let Some(value) = &typed.$field {
                    ($check)(value).map_err(|problem| $crate::config::ConfigFault {
                        key: stringify!($field).into(),
                        problem,
                    })?;
                })*
                Ok(Self {
                    enabled: typed.enabled.unwrap_or(self.enabled),
                    $($field: typed.$field.clone().unwrap_or_else(|| self.$field.clone()),)*
                })
            }

            fn services(typed: &$typed) -> &std::collections::BTreeMap<String, $typed> {
                &typed.services
            }

            fn enabled(&self) -> bool {
                self.enabled
            }
        }
    };
}

pub(super) use thresholds;

#[cfg(test)]
mod tests {
    use super::*;

    thresholds! {
        /// For the tests.
        struct Two, TypedTwo {
            ratio: f64 = 0.5, within(0.1..=0.9);
            streams: u32 = 30, within(1..=1000);
        }
    }

    fn section(text: &str) -> Result<ConfigSection<Two>, String> {
        let typed: TypedTwo = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        ConfigSection::new(&typed).map_err(|fault| format!("{} {}", fault.key, fault.problem))
    }

    #[test]
    fn services_inherit_what_they_do_not_say() {
        let section = section("ratio: 0.4\nservices: {quiet: {enabled: false}, odd: {streams: 7}}\n").unwrap();
        assert_eq!(section.base(), &Two { enabled: true, ratio: 0.4, streams: 30 });
        assert_eq!(section.of("odd"), &Two { enabled: true, ratio: 0.4, streams: 7 });
        assert!(section.on("quiet").is_none() && section.on("other").is_some());
    }

    #[test]
    fn faults_name_their_key() {
        assert_eq!(section("ratio: 2").unwrap_err(), "ratio must be between 0.1 and 0.9");
        assert_eq!(section("ratio: .nan").unwrap_err(), "ratio must be between 0.1 and 0.9");
        let inner = section("services: {a: {streams: 0}}").unwrap_err();
        assert_eq!(inner, "services.a.streams must be between 1 and 1000");
        assert!(section("services: {a: {services: {b: {}}}}").unwrap_err().contains("cannot stand inside"));
        assert!(section("ratoi: 1").unwrap_err().contains("unknown"), "{}", section("ratoi: 1").unwrap_err());
    }
}
