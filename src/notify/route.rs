//! The routing tree: which receivers an alert goes to, and how it is grouped on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::{RouteConfig, SectionError};
use super::matchers::{all_match, print_all};
use crate::model::labels::Labels;
use crate::model::matcher::Matcher;

/// A node with everything inherited already put in.
#[derive(Clone, Debug)]
pub struct Route {
    pub receiver: String,
    pub matchers: Vec<Matcher>,
    /// Also look at later siblings after a match here.
    pub continues: bool,
    pub group_by: GroupBy,
    pub group_wait: Duration,
    pub group_interval: Duration,
    pub repeat_interval: Duration,
    pub mute_time_intervals: Vec<String>,
    pub active_time_intervals: Vec<String>,
    /// Labels for templates, inherited and overridden.
    pub labels: BTreeMap<String, String>,
    pub routes: Vec<Route>,
    /// The matchers on the way from the root, `{}/{team="a"}`: the first part of a group's key.
    pub key: String,
    /// As the key, with positions, so that it is unique.
    pub id: String,
}

/// By which labels alerts are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// `['...']`.
    All,
    Labels(Vec<String>),
}

impl GroupBy {
    /// The labels of an alert that make its group.
    pub fn of(&self, labels: &Labels) -> Labels {
        match self {
            Self::All => labels.clone(),
            Self::Labels(names) => labels.filter(|name| names.iter().any(|wanted| wanted == name)),
        }
    }
}

impl Route {
    /// Builds the tree with Alertmanager's defaults: 30 s, 5 min, 4 h.
    pub fn build(root: &RouteConfig) -> Result<Self, SectionError> {
        let base = Self {
            receiver: String::new(),
            matchers: Vec::new(),
            continues: false,
            group_by: GroupBy::Labels(Vec::new()),
            group_wait: Duration::from_secs(30),
            group_interval: Duration::from_secs(5 * 60),
            repeat_interval: Duration::from_secs(4 * 60 * 60),
            mute_time_intervals: Vec::new(),
            active_time_intervals: Vec::new(),
            labels: BTreeMap::new(),
            routes: Vec::new(),
            key: String::new(),
            id: String::new(),
        };
        let mut route = base.inherit(root)?;
        route.key = print_all(&route.matchers);
        route.id = route.key.clone();
        route.add_children(root)?;
        Ok(route)
    }

    fn inherit(&self, config: &RouteConfig) -> Result<Self, SectionError> {
        let mut labels = self.labels.clone();
        labels.extend(config.labels.clone());
        let group_by = match config.group_by.as_deref() {
            None => self.group_by.clone(),
            Some([all]) if all == "..." => GroupBy::All,
            Some(names) => GroupBy::Labels(names.to_vec()),
        };
        let period = |own: Option<crate::base::units::Period>, inherited: Duration| {
            own.map_or(inherited, crate::base::units::Period::as_duration)
        };
        Ok(Self {
            receiver: config.receiver.clone().unwrap_or_else(|| self.receiver.clone()),
            matchers: config.all_matchers()?,
            continues: config.continues,
            group_by,
            group_wait: period(config.group_wait, self.group_wait),
            group_interval: period(config.group_interval, self.group_interval),
            repeat_interval: period(config.repeat_interval, self.repeat_interval),
            mute_time_intervals: config.mute_time_intervals.clone(),
            active_time_intervals: config.active_time_intervals.clone(),
            labels,
            routes: Vec::new(),
            key: String::new(),
            id: String::new(),
        })
    }

    fn add_children(&mut self, config: &RouteConfig) -> Result<(), SectionError> {
        for (position, child_config) in config.routes.iter().enumerate() {
            let mut child = self.inherit(child_config)?;
            let matchers = print_all(&child.matchers);
            child.key = format!("{}/{matchers}", self.key);
            child.id = format!("{}/{matchers}/{position}", self.id);
            child.add_children(child_config)?;
            self.routes.push(child);
        }
        Ok(())
    }

    /// The nodes that an alert ends at, depth first, left to right.
    pub fn matching(&self, labels: &Labels) -> Vec<&Self> {
        let mut found = Vec::new();
        if all_match(&self.matchers, labels) {
            self.collect(labels, &mut found);
        }
        found
    }

    fn collect<'a>(&'a self, labels: &Labels, found: &mut Vec<&'a Self>) {
        let before = found.len();
        for child in &self.routes {
            if all_match(&child.matchers, labels) {
                child.collect(labels, found);
                if !child.continues {
                    break;
                }
            }
        }
        if found.len() == before {
            found.push(self);
        }
    }

    /// Calls `visit` for this node and all below it.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        for child in &self.routes {
            child.walk(visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::yaml;

    const TREE: &str = "
receiver: default
group_by: [alertname]
routes:
  - matchers: [team=\"db\"]
    receiver: db
    group_wait: 1s
    continue: true
    routes:
      - match: {severity: page}
        receiver: db-pager
        group_by: ['...']
  - match_re: {team: 'db|web'}
    receiver: both
";

    #[track_caller]
    fn check(pairs: &[(&str, &str)], receivers: &[&str]) {
        let root = Route::build(&yaml::read_plain("test.yml", TREE).unwrap()).unwrap();
        let labels = Labels::from_pairs(pairs.iter().copied());
        let seen: Vec<_> = root.matching(&labels).iter().map(|route| route.receiver.as_str()).collect();
        assert_eq!(seen, receivers);
    }

    #[test]
    fn alerts_go_to_the_deepest_match_and_on_where_it_says_continue() {
        check(&[("team", "db")], &["db", "both"]);
        check(&[("team", "db"), ("severity", "page")], &["db-pager", "both"]);
        check(&[("team", "web")], &["both"]);
        check(&[("team", "other")], &["default"]);
    }

    #[test]
    fn settings_are_inherited_and_keys_name_the_way() {
        let root = Route::build(&yaml::read_plain("test.yml", TREE).unwrap()).unwrap();
        let pager = &root.routes[0].routes[0];
        assert_eq!((pager.group_wait, pager.group_interval), (Duration::from_secs(1), Duration::from_secs(300)));
        assert_eq!(pager.group_by, GroupBy::All);
        assert_eq!(pager.key, r#"{}/{team="db"}/{severity="page"}"#);
        assert_eq!(pager.id, r#"{}/{team="db"}/0/{severity="page"}/0"#);
    }
}
