//! How an objective stands at a time: what was good, what is left of its budget, how fast it burns.

use crate::base::clock::Millis;
use crate::model::calendar::{Calendar, Excluded};
use crate::model::labels::Labels;
use crate::slo::engine::{Engine, Live};
use crate::slo::maintenance::counted;
use crate::slo::objective::Objective;
use crate::slo::view::{Tally, View};
use crate::slo::window::Window;

/// Incidents that are listed for one window.
const INCIDENTS_MAX: usize = 1_000;

/// Incidents that spent less than this share of the budget are noise.
const INCIDENT_SHARE: f64 = 0.01;

/// One window of an objective, for one group.
#[derive(Clone, Debug)]
pub struct Status {
    /// Labels that it is grouped by.
    pub group: Labels,
    pub window: Window,
    /// Events in (from, to] are counted.
    pub from: Millis,
    pub to: Millis,
    /// The end of the period; `to` for a rolling window.
    pub end: Millis,
    pub tally: Tally,
    pub target: f64,
    /// Window and rate; no rate without events.
    pub burn_rates: Vec<(Millis, Option<f64>)>,
    pub excluded: Vec<Excluded>,
    /// What windows of maintenance take together.
    pub excluded_millis: Millis,
    pub min_events: f64,
    pub incidents: Vec<Incident>,
}

/// A time in which the budget burnt faster than it lasts.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    pub start: Millis,
    pub end: Millis,
    pub bad: f64,
    /// Of the budget of the whole window.
    pub share: f64,
}

impl Status {
    /// The share of good events; `None` without events.
    pub fn sli(&self) -> Option<f64> {
        (self.tally.total > 0.0).then(|| self.tally.good / self.tally.total)
    }

    /// What is left of the budget, 1 for all of it, below 0 where it is overspent.
    pub fn remaining(&self) -> f64 {
        1.0 - self.tally.error_ratio().unwrap_or(0.0) / (1.0 - self.target)
    }

    /// One word.
    pub fn word(&self) -> &'static str {
        if self.tally.total <= 0.0 {
            "no_data"
        } else if self.tally.total < self.min_events {
            "low_traffic"
        } else if self.remaining() <= 0.0 {
            "exhausted"
        } else {
            "ok"
        }
    }

    /// The rate over the hour, or the window next to it.
    pub fn current_burn_rate(&self) -> Option<f64> {
        let hour = self.burn_rates.iter().find(|(window, _)| *window >= 3_600_000);
        hour.or(self.burn_rates.last()).and_then(|(_, rate)| *rate)
    }

    /// Seconds until nothing is left at the current rate; `None` where it does not burn.
    pub fn exhaustion_secs(&self) -> Option<f64> {
        let rate = self.current_burn_rate().filter(|rate| *rate > 0.0)?;
        Some((self.remaining() * self.window.length() as f64 / 1_000.0 / rate).max(0.0))
    }

    /// Minutes of total failure that the budget allows over the whole window.
    pub fn budget_minutes(&self) -> f64 {
        let length = self.end - self.from;
        (1.0 - self.target) * (length - self.excluded_millis) as f64 / 60_000.0
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub time: Millis,
    pub with_incidents: bool,
}

/// Every window and group of an objective.
pub fn of(engine: &Engine, live: &Live, question: Question) -> Result<Vec<Status>, String> {
    let (objective, maintenance) = (&*live.objective, &live.maintenance);
    let time = question.time;
    let burns = objective.burn_windows();
    let bounds: Vec<(Millis, Millis)> = objective.windows.iter().map(|window| window.at(time)).collect();
    let first = bounds.iter().map(|(from, _)| *from).chain(burns.iter().map(|window| time - window)).min();
    let mut view = engine.view(live, time, first.unwrap_or(time))?;
    let ranges = maintenance.ranges(first.unwrap_or(time), time);
    let is_fixed = |edge: Millis| edge != time && ranges.iter().any(|(start, end)| *start == edge || *end == edge);
    let mut rates = Vec::new();
    for window in burns {
        rates.push((window, view.tally(&counted(maintenance, time - window, time), is_fixed)?));
    }
    let mut all = Vec::new();
    for (window, (from, end)) in objective.windows.iter().zip(bounds) {
        let parts = counted(maintenance, from, time);
        let mut tallies = view.tally(&parts, is_fixed)?;
        if tallies.is_empty() {
            tallies.insert(Labels::empty(), Tally::default());
        }
        let counted: Millis = parts.iter().map(|(from, to)| to - from).sum();
        for (group, tally) in tallies {
            let rate = |tally: Option<&Tally>| tally.and_then(|tally| tally.burn_rate(objective.target));
            let mut status = Status {
                window: window.clone(),
                from,
                to: time,
                end,
                tally,
                target: objective.target,
                burn_rates: rates.iter().map(|(window, tallies)| (*window, rate(tallies.get(&group)))).collect(),
                excluded: maintenance.excluded(from, time),
                excluded_millis: time - from - counted,
                min_events: objective.min_events,
                incidents: Vec::new(),
                group,
            };
            if question.with_incidents {
                status.incidents = incidents(&mut view, objective, &status, maintenance);
            }
            all.push(status);
        }
    }
    Ok(all)
}

/// Bins in which more was bad than the objective allows, those side by side joined.
fn incidents(view: &mut View<'_>, objective: &Objective, status: &Status, maintenance: &Calendar) -> Vec<Incident> {
    let (allowed, width) = (1.0 - objective.target, view.width());
    let budget = allowed * status.tally.total;
    let mut found: Vec<Incident> = Vec::new();
    for (end, tallies) in view.between(status.from, status.to) {
        let Some(tally) = tallies.get(&status.group).filter(|tally| tally.bad() > allowed * tally.total) else {
            continue;
        };
        if counted(maintenance, end - width, end).is_empty() || budget <= 0.0 {
            continue;
        }
        match found.last_mut() {
            // A pause of two bins belongs to it.
            Some(last) if end - width - last.end <= 2 * width => {
                last.end = end;
                last.bad += tally.bad();
            }
            _ => found.push(Incident { start: end - width, end, bad: tally.bad(), share: 0.0 }),
        }
    }
    found.iter_mut().for_each(|incident| incident.share = incident.bad / budget);
    found.retain(|incident| incident.share >= INCIDENT_SHARE);
    found.truncate(INCIDENTS_MAX);
    found
}
