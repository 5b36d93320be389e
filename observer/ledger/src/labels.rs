//! The labels that metrics of calls share, as fields: a metric names those it takes (`metric`), and nobody has to keep
//! an order.
//!
//! To add a label: its row in `labels!`, the line in a constructor of `CallLabels` that says where
//! its value comes from, and its name in the lists of fields of the metrics that take it, all in
//! this file.

use super::metric::MetricColumn::{self, Common};
use super::metric::{closed, open};
use capture::identity::ProcessIdentity;

macro_rules! labels {
    ($($(#[$doc:meta])* $field:ident: $label:ident = $name:literal, $values:ident;)*) => {
        /// The labels of a call: who makes it and whom it goes to. They are made once a call and shared from then
        /// on; what is not known is empty.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct CallLabels {
            $($(#[$doc])* pub $field: Box<str>,)*
        }

        /// A field of `CallLabels`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CallLabel { $($label),* }

        impl CallLabel {
            /// The label's name in the exposition.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(CallLabel::$label => $name),* }
            }

            /// The vocabulary that the label's values come from.
            #[must_use]
            pub const fn values(self) -> LabelVocabulary {
                match self { $(CallLabel::$label => LabelVocabulary::$values),* }
            }
        }

        impl CallLabels {
            /// The value of one field.
            #[must_use]
            pub fn get(&self, label: CallLabel) -> &str {
                match label { $(CallLabel::$label => &self.$field),* }
            }

            /// Empties each field in which `other` differs.
            pub fn keep_common(&mut self, other: &CallLabels) {
                $(if self.$field != other.$field {
                    self.$field = Box::default();
                })*
            }
        }
    };
}

/// The vocabulary that the values of a label come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelVocabulary {
    /// A handful of our own.
    Closed,
    /// A client's, a provider's or the host's, so the store caps them.
    Open,
}

labels! {
    /// `gen_ai.provider.name`.
    provider: Provider = "gen_ai_provider_name", Closed;
    /// The model asked for, in its own word; empty until the request was seen.
    model: Model = "gen_ai_request_model", Open;
    /// The host that the request named, without its port.
    server: Server = "server_address", Open;
    /// The calling program.
    service: Service = "service", Open;
    namespace: Namespace = "k8s_namespace_name", Open;
    workload: Workload = "k8s_workload_name", Open;
}

impl CallLabels {
    /// The labels of a call of which the request head was seen.
    #[must_use]
    pub fn new(provider: &str, server: &str, identity: &ProcessIdentity) -> CallLabels {
        CallLabels { provider: provider.into(), server: server.into(), ..CallLabels::of_service(identity) }
    }

    /// The labels of a program, whatever it calls.
    #[must_use]
    pub fn of_service(identity: &ProcessIdentity) -> CallLabels {
        CallLabels {
            service: identity.service.as_str().into(),
            namespace: identity.k8s.namespace.as_deref().unwrap_or_default().into(),
            workload: identity.k8s.workload.as_deref().unwrap_or_default().into(),
            ..CallLabels::default()
        }
    }
}

/// What is measured of calls takes these fields.
pub const CALL_LABELS: &[MetricColumn] = &[
    Common(CallLabel::Provider),
    Common(CallLabel::Model),
    Common(CallLabel::Server),
    Common(CallLabel::Service),
    Common(CallLabel::Namespace),
    Common(CallLabel::Workload),
];

/// What is about a program and not one of its providers.
pub const SERVICE: &[MetricColumn] =
    &[Common(CallLabel::Service), Common(CallLabel::Namespace), Common(CallLabel::Workload)];

/// What is measured of connections.
pub const CONNECTION: &[MetricColumn] = &[
    Common(CallLabel::Provider),
    Common(CallLabel::Server),
    Common(CallLabel::Service),
    Common(CallLabel::Namespace),
    Common(CallLabel::Workload),
];

/// The OpenTelemetry metrics: what the conventions ask for, and who made the call.
pub const OPERATION: &[MetricColumn] = &[
    closed("gen_ai_operation_name"),
    Common(CallLabel::Provider),
    Common(CallLabel::Model),
    open("gen_ai_response_model"),
    Common(CallLabel::Server),
    open("server_port"),
    Common(CallLabel::Service),
    Common(CallLabel::Namespace),
    Common(CallLabel::Workload),
];

/// What is about no call.
pub const NO_LABELS: &[MetricColumn] = &[];
