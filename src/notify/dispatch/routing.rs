//! What comes from the configuration: the routing tree, the named times, and our settings.

use std::collections::HashMap;

use crate::base::clock::Millis;
use crate::model::calendar::interval::Interval;
use crate::notify::config::receivers::Receiver;
use crate::notify::config::{Config, SectionError};
use crate::notify::route::Route;
use crate::notify::settings::{Checked, Settings};

/// A configuration that was checked.
pub struct Routing {
    pub config: Config,
    pub root: Route,
    /// What goes beyond Alertmanager.
    pub beyond: Checked,
    /// The way from the root to each node, as positions among siblings.
    paths: HashMap<String, Vec<usize>>,
    intervals: HashMap<String, Vec<Interval>>,
}

impl Routing {
    /// Builds the tree and checks that everything it names exists.
    pub fn build(config: Config, settings: &Settings) -> Result<Self, SectionError> {
        config.check()?;
        let beyond = Checked::build(settings, &config.receivers)?;
        let root = Route::build(&config.route)?;
        let mut paths = HashMap::new();
        trace(&root, &mut Vec::new(), &mut paths);
        let intervals = config.intervals().map(|named| (named.name.clone(), named.time_intervals.clone())).collect();
        Ok(Self { config, root, beyond, paths, intervals })
    }

    /// The node with this id.
    pub fn route(&self, id: &str) -> Option<&Route> {
        self.paths.get(id)?.iter().try_fold(&self.root, |route, position| route.routes.get(*position))
    }

    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.config.receivers.iter().find(|receiver| receiver.name == name)
    }

    fn any_contains(&self, names: &[String], now: Millis) -> bool {
        let intervals = names.iter().filter_map(|name| self.intervals.get(name));
        intervals.flatten().any(|interval| interval.contains(now))
    }

    /// Whether the times of a route let it notify now.
    pub fn is_open(&self, route: &Route, now: Millis) -> bool {
        let is_active = route.active_time_intervals.is_empty() || self.any_contains(&route.active_time_intervals, now);
        is_active && !self.any_contains(&route.mute_time_intervals, now)
    }
}

fn trace(route: &Route, path: &mut Vec<usize>, paths: &mut HashMap<String, Vec<usize>>) {
    paths.insert(route.id.clone(), path.clone());
    for (position, child) in route.routes.iter().enumerate() {
        path.push(position);
        trace(child, path, paths);
        path.pop();
    }
}
