//! Alert policies of OpenSLO and their conditions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::slo::burn::{BurnAlert, Pair};
use crate::slo::file::openslo::indicator::nearest_of;
use crate::slo::file::openslo::{MetadataText, ObjectText, name_of};
use crate::slo::file::text::{At, Number, Reading, place};
use crate::slo::objective::{AbsentAlert, Pairs};
use crate::slo::terms::Comparison;

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum PolicyText {
    Name(String),
    Reference(ReferenceText),
    Inline(Box<InlinePolicy>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReferenceText {
    #[serde(alias = "alertPolicyRef")]
    name: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InlinePolicy {
    #[serde(rename = "apiVersion", default)]
    _api_version: Option<String>,
    #[serde(rename = "kind", default)]
    _kind: Option<String>,
    metadata: MetadataText,
    spec: PolicySpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PolicySpec {
    description: String,
    #[serde(rename = "alertWhenNoData")]
    when_no_data: bool,
    #[serde(rename = "alertWhenResolved")]
    _when_resolved: Option<bool>,
    #[serde(rename = "alertWhenBreaching")]
    when_breaching: Option<bool>,
    conditions: Vec<ConditionText>,
    /// Whom routes tell, not the objective.
    #[serde(rename = "notificationTargets")]
    _targets: Option<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConditionText {
    #[serde(rename = "conditionRef")]
    reference: Option<Spanned<String>>,
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
    metadata: MetadataText,
    spec: Option<ConditionSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConditionSpec {
    description: String,
    severity: Option<String>,
    condition: Option<BurnText>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BurnText {
    kind: Spanned<String>,
    #[serde(default)]
    op: Option<Spanned<String>>,
    threshold: Number,
    #[serde(rename = "lookbackWindow")]
    lookback_window: Period,
    #[serde(rename = "alertAfter", default)]
    alert_after: Option<Period>,
}

/// Policies and conditions by their names.
#[derive(Default)]
pub(super) struct AlertPolicies {
    policies: BTreeMap<String, PolicySpec>,
    conditions: BTreeMap<String, ConditionSpec>,
}

impl AlertPolicies {
    /// Takes an object that others may refer to.
    pub(super) fn take(&mut self, reading: &mut Reading<'_>, document: &str, is_policy: bool) {
        if is_policy {
            if let Some(object) = reading.structure::<ObjectText<PolicySpec>>(document) {
                self.policies.insert(name_of(&object.metadata), object.spec);
            }
        } else if let Some(object) = reading.structure::<ObjectText<ConditionSpec>>(document) {
            self.conditions.insert(name_of(&object.metadata), object.spec);
        }
    }

    /// The alerts of an objective.
    pub(super) fn alerts(
        &self,
        reading: &mut Reading<'_>,
        policies: &[Spanned<PolicyText>],
        at: At,
    ) -> (Vec<BurnAlert>, Option<AbsentAlert>) {
        let (mut alerts, mut absent) = (Vec::new(), None);
        for policy in policies {
            let (name, spec) = match &policy.value {
                PolicyText::Inline(inline) => (name_of(&inline.metadata), inline.spec.clone()),
                PolicyText::Name(name) | PolicyText::Reference(ReferenceText { name }) => {
                    match self.policies.get(name) {
                        Some(spec) => (name.clone(), spec.clone()),
                        None => {
                            let known: Vec<&str> = self.policies.keys().map(String::as_str).collect();
                            let near = nearest_of(name, &known);
                            reading.fault(place(policy), format!("no AlertPolicy is called {name:?}{near}"));
                            continue;
                        }
                    }
                }
            };
            for condition in &spec.conditions {
                let found = self.condition(reading, (&name, &spec), condition, at);
                alerts.extend(found.filter(|_| spec.when_breaching != Some(false)));
            }
            if spec.when_no_data {
                let labels =
                    Pairs::from([("policy".to_owned(), name.clone()), ("severity".to_owned(), "critical".to_owned())]);
                let annotations = Pairs::from([(
                    "summary".to_owned(),
                    "Nothing is counted any more for {{ $labels.slo }}".to_owned(),
                )]);
                absent = Some(AbsentAlert { name: format!("{name}-no-data"), hold: 300_000, labels, annotations });
            }
        }
        (alerts, absent)
    }

    fn condition(
        &self,
        reading: &mut Reading<'_>,
        (policy, policy_spec): (&str, &PolicySpec),
        text: &ConditionText,
        at: At,
    ) -> Option<BurnAlert> {
        let (name, spec) = match (&text.reference, &text.spec) {
            (Some(reference), _) => match self.conditions.get(&reference.value) {
                Some(spec) => (reference.value.clone(), spec.clone()),
                None => {
                    let known: Vec<&str> = self.conditions.keys().map(String::as_str).collect();
                    let near = nearest_of(&reference.value, &known);
                    reading.fault(place(reference), format!("no AlertCondition is called {:?}{near}", reference.value));
                    return None;
                }
            },
            (None, Some(spec)) => (name_of(&text.metadata), spec.clone()),
            (None, None) => {
                reading.fault(at, "a condition needs conditionRef or spec");
                return None;
            }
        };
        let Some(burn) = &spec.condition else {
            reading.fault(at, format!("condition {name:?} needs spec.condition"));
            return None;
        };
        if burn.kind.value != "burnrate" {
            reading.fault(
                place(&burn.kind),
                format!("unknown condition {:?}: did you mean \"burnrate\"?", burn.kind.value),
            );
            return None;
        }
        let op = burn.op.as_ref().map_or(Some(Comparison::Greater), |op| Comparison::from_text(&op.value));
        let Some(op) = op else {
            reading.fault(burn.op.as_ref().map_or(at, place), "op is one of lt, lte, gt and gte");
            return None;
        };
        let long: Millis = burn.lookback_window.as_millis();
        let mut labels = Pairs::from([("policy".to_owned(), policy.to_owned())]);
        labels.extend(spec.severity.clone().map(|severity| ("severity".to_owned(), severity)));
        let described = [&spec.description, &policy_spec.description].into_iter().find(|text| !text.is_empty());
        let description = described.cloned().unwrap_or_default().replace("{{", "{ {");
        Some(BurnAlert {
            name,
            hold: burn.alert_after.map_or(0, Period::as_millis),
            pairs: vec![Pair { short: 0, long, factor: burn.threshold.value, op }],
            labels,
            annotations: Pairs::from([("description".to_owned(), description)]),
        })
    }
}
