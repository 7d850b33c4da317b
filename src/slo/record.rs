//! Series that are written about objectives: our own, and on request those of Sloth and Pyrra, so that dashboards made
//! for them show something.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::model::labels::{Labels, METRIC_NAME};
use crate::model::sample::{STALE_NAN, Value};
use crate::rules::seam::{Backend, RuleSample};
use crate::slo::engine::{Engine, Live};
use crate::slo::maintenance::counted;
use crate::slo::objective::{Dialect, Objective, Pairs};
use crate::slo::status::{self, Question, Status};
use crate::slo::view::Tallies;
use crate::slo::window::days;

/// Whose names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Names {
    Novascope,
    Sloth,
    Pyrra,
}

/// Windows of Sloth's series; that of the whole period comes beside them.
const SLOTH: [(&str, Millis); 7] = [
    ("5m", 300_000),
    ("30m", 1_800_000),
    ("1h", 3_600_000),
    ("2h", 7_200_000),
    ("6h", 21_600_000),
    ("1d", 86_400_000),
    ("3d", 259_200_000),
];

/// Writes series and ends those that are gone.
#[derive(Debug, Default)]
pub struct Recorder {
    written: Mutex<BTreeSet<Labels>>,
}

impl Recorder {
    /// Writes what objectives are at a time. Answers how many samples.
    pub fn record(
        &self,
        engine: &Engine,
        backend: &dyn Backend,
        names: &[Names],
        time: Millis,
    ) -> Result<usize, String> {
        let mut samples = Vec::new();
        let mut failed = None;
        let state = engine.state();
        for live in &state.objectives {
            if let Err(error) = objective(engine, live, names, (time, &mut samples)) {
                failed = Some(format!("{}: {error}", live.objective.id()));
            }
        }
        let count = samples.len();
        let now: BTreeSet<Labels> = samples.iter().map(|sample: &RuleSample| sample.labels.clone()).collect();
        let before = std::mem::replace(&mut *self.written.lock(), now.clone());
        let gone = before.difference(&now).cloned();
        samples.extend(gone.map(|labels| RuleSample { labels, time, value: Value::Float(STALE_NAN) }));
        backend.append(&[samples]).into_iter().collect::<Result<Vec<()>, String>>()?;
        failed.map_or(Ok(count), Err)
    }
}

/// Where samples of one objective go.
struct Pen<'a> {
    samples: &'a mut Vec<RuleSample>,
    time: Millis,
    pairs: Pairs,
}

impl Pen<'_> {
    fn write(&mut self, name: &str, more: &[(&str, &str)], value: f64) {
        let mut pairs = self.pairs.clone();
        pairs.insert(METRIC_NAME.to_owned(), name.to_owned());
        pairs.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.samples.push(RuleSample {
            labels: Labels::from_pairs(pairs),
            time: self.time,
            value: Value::Float(value),
        });
    }
}

fn objective(
    engine: &Engine,
    live: &Live,
    names: &[Names],
    (time, samples): (Millis, &mut Vec<RuleSample>),
) -> Result<(), String> {
    let objective = &live.objective;
    let statuses = status::of(engine, live, Question { time, with_incidents: false })?;
    let with_group = |pairs: Pairs, group: &Labels| {
        let mut pairs = pairs;
        pairs.extend(group.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        pairs
    };
    for (number, status) in statuses.iter().enumerate() {
        if names.contains(&Names::Novascope) {
            let pairs = with_group(objective.identity(), &status.group);
            own(&mut Pen { samples, time, pairs }, status, number == 0 || status.group != statuses[number - 1].group);
        }
    }
    // The public dashboards know one window for each objective.
    let first = objective.windows.first().map(ToString::to_string);
    for status in statuses.iter().filter(|status| Some(status.window.to_string()) == first) {
        if names.contains(&Names::Sloth) {
            let pairs = with_group(sloth_labels(objective), &status.group);
            let ratios = ratios(engine, live, &status.group, time)?;
            sloth(&mut Pen { samples, time, pairs }, objective, status, &ratios);
        }
        if names.contains(&Names::Pyrra) {
            let mut pairs = objective.labels.clone();
            pairs.insert("slo".to_owned(), objective.name.to_string());
            let pairs = with_group(pairs, &status.group);
            let short = tallies(engine, live, 300_000, time)?;
            let tally = short.get(&status.group).copied().unwrap_or_default();
            pyrra(&mut Pen { samples, time, pairs }, status, (tally.total / 300.0, tally.bad() / 300.0));
        }
    }
    Ok(())
}

fn own(pen: &mut Pen<'_>, status: &Status, with_rates: bool) {
    let window = status.window.to_string();
    let window = [("slo_window", window.as_str())];
    pen.write("novascope_slo_objective", &window, status.target);
    pen.write("novascope_slo_error_budget_remaining", &window, status.remaining());
    pen.write("novascope_slo_good_events", &window, status.tally.good);
    pen.write("novascope_slo_total_events", &window, status.tally.total);
    if let Some(sli) = status.sli() {
        pen.write("novascope_slo_sli", &window, sli);
    }
    for (length, rate) in status.burn_rates.iter().filter(|_| with_rates) {
        if let Some(rate) = rate {
            pen.write("novascope_slo_burn_rate", &[("window", &days(Period::from_millis(*length)))], *rate);
        }
    }
}

fn tallies(engine: &Engine, live: &Live, length: Millis, time: Millis) -> Result<Tallies, String> {
    engine.view(live, time, time - length)?.tally(&counted(&live.maintenance, time - length, time), |_| false)
}

/// Error ratios over Sloth's windows.
fn ratios(
    engine: &Engine,
    live: &Live,
    group: &Labels,
    time: Millis,
) -> Result<Vec<(&'static str, Option<f64>)>, String> {
    let longest = SLOTH.iter().map(|(_, length)| *length).max().unwrap_or(0);
    let mut view = engine.view(live, time, time - longest)?;
    let mut all = Vec::new();
    for (name, length) in SLOTH {
        let tallies = view.tally(&counted(&live.maintenance, time - length, time), |_| false)?;
        all.push((name, tallies.get(group).and_then(|tally| tally.error_ratio())));
    }
    Ok(all)
}

/// The labels of Sloth's series.
pub(super) fn sloth_labels(objective: &Objective) -> Pairs {
    let mut pairs = objective.labels.clone();
    for (name, value) in [
        ("sloth_id", objective.id()),
        ("sloth_service", objective.service.to_string()),
        ("sloth_slo", objective.name.to_string()),
    ] {
        pairs.insert(name.to_owned(), value);
    }
    pairs
}

fn sloth(pen: &mut Pen<'_>, objective: &Objective, status: &Status, ratios: &[(&str, Option<f64>)]) {
    let allowed = 1.0 - status.target;
    let period = status.window.length() as f64 / 86_400_000.0;
    for (window, ratio) in ratios {
        if let Some(ratio) = ratio {
            pen.write(&format!("slo:sli_error:ratio_rate{window}"), &[("sloth_window", window)], *ratio);
        }
    }
    let whole = days(Period::from_millis(status.window.length()));
    if let Some(ratio) = status.tally.error_ratio() {
        pen.write(&format!("slo:sli_error:ratio_rate{whole}"), &[("sloth_window", &whole)], ratio);
        pen.write("slo:period_burn_rate:ratio", &[], ratio / allowed);
        pen.write("slo:period_error_budget_remaining:ratio", &[], status.remaining());
    }
    pen.write("slo:objective:ratio", &[], status.target);
    pen.write("slo:error_budget:ratio", &[], allowed);
    pen.write("slo:time_period:days", &[], period);
    if let Some((_, Some(ratio))) = ratios.first() {
        pen.write("slo:current_burn_rate:ratio", &[], ratio / allowed);
    }
    // 0.57 times 100 is not 57.
    let objective_percent = ((status.target * 1e11).round() / 1e9).to_string();
    let spec = if objective.dialect == Dialect::Sloth { "prometheus/v1" } else { objective.dialect.name() };
    let info = [
        ("sloth_mode", "novascope"),
        ("sloth_spec", spec),
        ("sloth_version", env!("CARGO_PKG_VERSION")),
        ("sloth_objective", &objective_percent),
    ];
    pen.write("sloth_slo_info", &info, 1.0);
}

fn pyrra(pen: &mut Pen<'_>, status: &Status, (requests, errors): (f64, f64)) {
    pen.write("pyrra_objective", &[], status.target);
    pen.write("pyrra_window", &[], status.window.length() as f64 / 1_000.0);
    if let Some(sli) = status.sli() {
        pen.write("pyrra_availability", &[], sli);
    }
    pen.write("pyrra_requests:rate5m", &[], requests);
    pen.write("pyrra_errors:rate5m", &[], errors);
}
