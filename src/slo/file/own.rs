//! Our short form.
//!
//! `slos:` is a list of objectives, or a map of them by name. docs/slo.md describes every key.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::model::calendar;
use crate::slo::burn::{self, BurnAlert, Pair};
use crate::slo::file::Composite;
use crate::slo::file::text::{At, Bound, Number, OneOrMany, Reading, place, step, target};
use crate::slo::objective::{AbsentAlert, Budgeting, Dialect, NoData, Objective, Pairs};
use crate::slo::terms::{Comparison, grouping};
use crate::slo::window::{Window, WindowError, zone};

mod indicator;

use indicator::{Indicator, SliText};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText<S> {
    #[serde(default = "Option::default")]
    slos: Option<S>,
    #[serde(default)]
    service: String,
    #[serde(default)]
    labels: Pairs,
    #[serde(default)]
    time_zone: Option<Spanned<String>>,
    #[serde(default)]
    alerting: Option<Spanned<AlertingText>>,
    #[serde(default)]
    maintenance: Option<Vec<calendar::Window>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SloText {
    name: Option<Spanned<String>>,
    service: Option<String>,
    description: String,
    labels: Pairs,
    objective: Option<Spanned<Number>>,
    target: Option<Spanned<Number>>,
    window: Option<Spanned<OneOrMany<WindowText>>>,
    windows: Option<Spanned<OneOrMany<WindowText>>>,
    time_zone: Option<Spanned<String>>,
    sli: Option<Spanned<SliText>>,
    /// The query alone, where nothing else has to be said.
    indicator: Option<Spanned<String>>,
    threshold: Option<Spanned<Bound>>,
    budgeting: Option<BudgetingText>,
    timeslice: Option<TimesliceText>,
    group_by: Option<Vec<String>>,
    min_events: f64,
    no_data: NoDataText,
    alerting: Option<Spanned<AlertingText>>,
    composite: Option<Vec<ComponentText>>,
}

/// A text, or a period of the calendar from a time on.
#[derive(Debug)]
enum WindowText {
    Text(String),
    Calendar(CalendarText),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CalendarText {
    duration: String,
    start: String,
    #[serde(default)]
    time_zone: Option<String>,
}

impl<'de> Deserialize<'de> for WindowText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match OneOrMany::<CalendarText>::deserialize(deserializer)? {
            OneOrMany::One(text) => Ok(Self::Text(text)),
            OneOrMany::Many(mut all) if all.len() == 1 => Ok(Self::Calendar(all.remove(0))),
            OneOrMany::Many(_) => Err(serde::de::Error::custom("a window is a text or a map")),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BudgetingText {
    #[serde(alias = "Occurrences")]
    Occurrences,
    #[serde(alias = "Timeslices")]
    Timeslices,
    #[serde(alias = "RatioTimeslices")]
    RatioTimeslices,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimesliceText {
    #[serde(default)]
    window: Option<Period>,
    #[serde(default)]
    target: Option<Spanned<Number>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NoDataText {
    #[default]
    Ignore,
    Good,
    Bad,
    Alert,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentText {
    slo: String,
    #[serde(default = "one")]
    weight: f64,
}

fn one() -> f64 {
    1.0
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AlertingText {
    disabled: bool,
    name: Option<String>,
    labels: Pairs,
    annotations: Pairs,
    burn_rates: Option<Spanned<OneOrMany<RowText>>>,
    absent: bool,
}

impl AlertingText {
    /// What an objective says goes before what its file says for all.
    fn over(&self, defaults: &Self) -> Self {
        let joined = |all: &Pairs, own: &Pairs| all.iter().chain(own).map(|(n, v)| (n.clone(), v.clone())).collect();
        Self {
            disabled: self.disabled || defaults.disabled,
            name: self.name.clone().or_else(|| defaults.name.clone()),
            labels: joined(&defaults.labels, &self.labels),
            annotations: joined(&defaults.annotations, &self.annotations),
            burn_rates: self.burn_rates.clone().or_else(|| defaults.burn_rates.clone()),
            absent: self.absent || defaults.absent,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowText {
    long: Period,
    #[serde(default)]
    short: Option<Period>,
    factor: f64,
    #[serde(default)]
    severity: Option<String>,
    #[serde(default, rename = "for")]
    hold: Option<Period>,
}

/// What the file says for all its objectives.
struct Defaults {
    service: String,
    labels: Pairs,
    zone: TimeZone,
    alerting: AlertingText,
}

/// Reads a document. `is_map` says that `slos` names objectives by its keys.
pub(super) fn read(reading: &mut Reading<'_>, document: &str, is_map: bool) {
    type Named = Vec<(Option<String>, Spanned<SloText>)>;
    let file: Option<FileText<Named>> = if is_map {
        let file = reading.structure::<FileText<BTreeMap<String, Spanned<SloText>>>>(document);
        file.map(|file| file.with(|slos| slos.into_iter().map(|(name, slo)| (Some(name), slo)).collect()))
    } else {
        let file = reading.structure::<FileText<Vec<Spanned<SloText>>>>(document);
        file.map(|file| file.with(|slos| slos.into_iter().map(|slo| (None, slo)).collect()))
    };
    let Some(file) = file else { return };
    reading.content.maintenance.extend(file.maintenance.unwrap_or_default());
    let defaults = Defaults {
        service: file.service,
        labels: file.labels,
        zone: time_zone(reading, file.time_zone.as_ref()).unwrap_or(TimeZone::UTC),
        alerting: file.alerting.map(|alerting| alerting.value).unwrap_or_default(),
    };
    for (name, slo) in file.slos.unwrap_or_default() {
        objective(reading, &defaults, name, slo);
    }
}

impl<S> FileText<S> {
    fn with<T>(self, change: impl FnOnce(S) -> T) -> FileText<T> {
        let Self { slos, service, labels, time_zone, alerting, maintenance } = self;
        FileText { slos: slos.map(change), service, labels, time_zone, alerting, maintenance }
    }
}

fn time_zone(reading: &mut Reading<'_>, name: Option<&Spanned<String>>) -> Option<TimeZone> {
    let name = name?;
    match zone(&name.value) {
        Ok(zone) => Some(zone),
        Err(error) => {
            reading.fault(place(name), error.to_string());
            None
        }
    }
}

fn objective(reading: &mut Reading<'_>, defaults: &Defaults, name: Option<String>, slo: Spanned<SloText>) {
    let at = slo.value.name.as_ref().map_or_else(|| place(&slo), place);
    let slo = slo.value;
    let name = name.or_else(|| slo.name.as_ref().map(|name| name.value.clone())).unwrap_or_default();
    if name.is_empty() {
        return reading.fault(at, "an objective needs a name");
    }
    let faults = reading.faults.len();
    let windows = windows(reading, defaults, &slo, at);
    let composite = slo.composite.as_ref();
    let indicator = match composite {
        None => indicator::read(reading, &slo, (&name, at)),
        Some(_) => indicator::composite(reading, &slo, (&name, at)),
    };
    let budgeting = budgeting(reading, &slo);
    let first = windows.first().map_or(0, Window::length);
    let alerting = match &slo.alerting {
        Some(own) => &own.value.over(&defaults.alerting),
        None => &defaults.alerting,
    };
    let alerts = alerts(reading, alerting, (at, first));
    let Some(Indicator { parts, target, kind, notes }) = indicator.filter(|_| reading.faults.len() == faults) else {
        return;
    };
    let group_by = match &slo.group_by {
        Some(labels) => labels.iter().map(|label| Arc::from(label.as_str())).collect(),
        None => parts.first().map(|part| grouping(&part.denominator)).unwrap_or_default(),
    };
    let mut labels = defaults.labels.clone();
    labels.extend(slo.labels);
    if let Some(components) = composite {
        let parts = components.iter().map(|part| (part.slo.clone(), part.weight)).collect();
        let place = reading.content.objectives.len();
        reading.content.composites.push(Composite { place, at, parts });
    }
    let objective = Objective {
        file: Arc::from(reading.file),
        name: Arc::from(name),
        service: Arc::from(slo.service.unwrap_or_else(|| defaults.service.clone())),
        description: slo.description,
        labels,
        target,
        windows,
        parts,
        group_by,
        budgeting,
        min_events: slo.min_events,
        no_data: match slo.no_data {
            NoDataText::Ignore | NoDataText::Alert => NoData::Ignore,
            NoDataText::Good => NoData::Good,
            NoDataText::Bad => NoData::Bad,
        },
        alerts,
        absent: absent(alerting, slo.no_data),
        kind,
        dialect: Dialect::Own,
        notes,
    };
    reading.finish(at, objective);
}

/// 30 days where nothing is said.
fn windows(reading: &mut Reading<'_>, defaults: &Defaults, slo: &SloText, at: At) -> Vec<Window> {
    let zone = time_zone(reading, slo.time_zone.as_ref()).unwrap_or_else(|| defaults.zone.clone());
    let written = match (&slo.window, &slo.windows) {
        (Some(_), Some(_)) => {
            reading.fault(at, "give window or windows, not both");
            return Vec::new();
        }
        (None, None) => return vec![Window::Rolling(Period::from_secs(30 * 86_400))],
        (Some(written), None) | (None, Some(written)) => written,
    };
    let found: Vec<Result<Window, WindowError>> = match &written.value {
        OneOrMany::One(text) => vec![Window::parse(text, &zone)],
        OneOrMany::Many(many) => many.iter().map(|one| window(one, &zone)).collect(),
    };
    if found.is_empty() {
        reading.fault(place(written), "an objective needs a window");
    }
    let mut windows = Vec::new();
    for window in found {
        match window {
            Ok(window) => windows.push(window),
            Err(error) => reading.fault(place(written), error.to_string()),
        }
    }
    windows
}

fn window(text: &WindowText, default: &TimeZone) -> Result<Window, WindowError> {
    let calendar = match text {
        WindowText::Text(text) => return Window::parse(text, default),
        WindowText::Calendar(calendar) => calendar,
    };
    let zone = calendar.time_zone.as_deref().map_or_else(|| Ok(default.clone()), zone)?;
    Window::calendar_text(&calendar.duration, &calendar.start, zone)
}

fn budgeting(reading: &mut Reading<'_>, slo: &SloText) -> Budgeting {
    let slice = slo.timeslice.as_ref();
    let width = step(slice.and_then(|slice| slice.window));
    match (slo.budgeting, slice) {
        (None | Some(BudgetingText::Occurrences), None) => Budgeting::Occurrences,
        (Some(BudgetingText::RatioTimeslices), _) => Budgeting::RatioTimeslices { width },
        (None | Some(BudgetingText::Timeslices), _) => {
            let written = slice.and_then(|slice| slice.target.as_ref());
            let share = written.or(slo.objective.as_ref()).map(|number| (place(number), target(number.value)));
            match share {
                Some((_, Ok(target))) => Budgeting::Timeslices { width, target },
                // A slice may have to be good as a whole.
                Some((_, Err(_))) if written.is_some_and(|number| matches!(number.value.value, 1.0 | 100.0)) => {
                    Budgeting::Timeslices { width, target: 1.0 }
                }
                Some((at, Err(why))) => {
                    reading.fault(at, why);
                    Budgeting::Occurrences
                }
                None => Budgeting::Timeslices { width, target: 1.0 },
            }
        }
        (Some(BudgetingText::Occurrences), Some(slice)) => {
            if let Some(target) = &slice.target {
                reading.fault(place(target), "timeslice means nothing where occurrences are counted");
            }
            Budgeting::Occurrences
        }
    }
}

/// How alerts are called that no file names.
const ALERT_NAME: &str = "ErrorBudgetBurn";

fn alerts(reading: &mut Reading<'_>, text: &AlertingText, (at, window): (At, Millis)) -> Vec<BurnAlert> {
    if text.disabled {
        return Vec::new();
    }
    let name = text.name.as_deref().unwrap_or(ALERT_NAME);
    let mut alerts = match &text.burn_rates {
        None => burn::alerts(name, &burn::WORKBOOK, window),
        Some(preset @ Spanned { value: OneOrMany::One(name_of_table), .. }) => match name_of_table.as_str() {
            "workbook" => burn::alerts(name, &burn::WORKBOOK, window),
            "steep" | "36x" => burn::alerts(name, &burn::STEEP, window),
            "pyrra" => pyrra(name, window),
            "none" => Vec::new(),
            other => {
                let why = format!("unknown table of burn rates {other:?}: workbook, steep, pyrra, none, or a list");
                reading.fault(place(preset), why);
                Vec::new()
            }
        },
        Some(Spanned { value: OneOrMany::Many(rows), .. }) => {
            rows.iter().map(|row| alert(reading, name, row, at)).collect()
        }
    };
    for alert in &mut alerts {
        alert.labels.extend(text.labels.clone());
        alert.annotations.extend(text.annotations.clone());
    }
    alerts
}

fn pyrra(name: &str, window: Millis) -> Vec<BurnAlert> {
    let alert = |(hold, (short, long, factor, severity)): (Millis, burn::Row)| BurnAlert {
        hold,
        ..burn::alert(name, (short, long), factor, severity)
    };
    burn::pyrra(window).map(alert).to_vec()
}

fn alert(reading: &mut Reading<'_>, name: &str, row: &RowText, at: At) -> BurnAlert {
    if row.long.is_zero() || row.factor.is_nan() || row.factor <= 0.0 {
        reading.fault(at, "a burn rate needs a long window and a factor above 0");
    }
    // A twelfth, as in the workbook.
    let short = row.short.map_or(row.long.as_millis() / 12, Period::as_millis);
    let severity = row.severity.as_deref().unwrap_or("critical");
    let mut alert = burn::alert(name, (short, row.long.as_millis()), row.factor, severity);
    alert.hold = row.hold.map_or(0, Period::as_millis);
    alert.pairs = vec![Pair { short, long: row.long.as_millis(), factor: row.factor, op: Comparison::Greater }];
    alert
}

fn absent(text: &AlertingText, no_data: NoDataText) -> Option<AbsentAlert> {
    (!text.disabled && (text.absent || matches!(no_data, NoDataText::Alert))).then(|| {
        let mut labels = Pairs::from([("severity".to_owned(), "critical".to_owned())]);
        labels.extend(text.labels.clone());
        let summary = "Nothing is counted any more for {{ $labels.slo }}".to_owned();
        let mut annotations = Pairs::from([("summary".to_owned(), summary)]);
        annotations.extend(text.annotations.clone());
        AbsentAlert { name: "SLOMetricAbsent".to_owned(), hold: 300_000, labels, annotations }
    })
}
