//! Groups of alerts, and which is due when.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::base::clock::Millis;
use crate::model::labels::Labels;
use crate::notify::alert::{Alert, Fingerprint};

/// A node of the routing tree (by its id) and the group labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    pub route: String,
    pub labels: Labels,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) alerts: BTreeMap<Fingerprint, Alert>,
    /// When it is looked at next.
    next: Millis,
    /// Whether it was looked at before.
    pub(super) is_old: bool,
    /// Places that were handed a notification and have not answered.
    pub(super) in_flight: usize,
    /// It was due while a notification was under way.
    pub(super) is_waiting: bool,
}

/// All groups. Looking for those that are due costs by their number, not by that of all.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_id: HashMap<Arc<GroupId>, Group>,
    due: BTreeSet<(Millis, Arc<GroupId>)>,
}

impl Groups {
    pub(super) fn clear(&mut self) {
        self.by_id.clear();
        self.due.clear();
    }

    pub(super) fn get(&self, id: &GroupId) -> Option<&Group> {
        self.by_id.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &GroupId) -> Option<&mut Group> {
        self.by_id.get_mut(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<GroupId>, &Group)> {
        self.by_id.iter()
    }

    /// Puts an alert into its group; `next` is for a new one.
    pub(super) fn insert(&mut self, id: GroupId, alert: &Alert, next: Millis) {
        let fingerprint = alert.fingerprint();
        if let Some(group) = self.by_id.get_mut(&id) {
            group.alerts.insert(fingerprint, alert.clone());
            return;
        }
        let id = Arc::new(id);
        self.due.insert((next, Arc::clone(&id)));
        let alerts = BTreeMap::from([(fingerprint, alert.clone())]);
        self.by_id.insert(id, Group { alerts, next, is_old: false, in_flight: 0, is_waiting: false });
    }

    /// Says when a group is looked at next.
    pub(super) fn schedule(&mut self, id: &Arc<GroupId>, next: Millis) {
        if let Some(group) = self.by_id.get_mut(id) {
            self.due.remove(&(group.next, Arc::clone(id)));
            group.next = next;
            self.due.insert((next, Arc::clone(id)));
        }
    }

    /// Looks at a group that was never looked at no later than this.
    pub(super) fn hasten(&mut self, id: &GroupId, next: Millis) {
        let Some((id, group)) = self.by_id.get_key_value(id) else { return };
        if !group.is_old && group.next > next {
            let id = Arc::clone(id);
            self.schedule(&id, next);
        }
    }

    /// Takes the groups that are due; they are not due again before somebody says when.
    pub(super) fn take_due(&mut self, now: Millis) -> Vec<Arc<GroupId>> {
        let mut ids = Vec::new();
        while let Some((next, _)) = self.due.first()
            && *next <= now
        {
            ids.extend(self.due.pop_first().map(|(_, id)| id));
        }
        ids
    }

    pub(super) fn next_due(&self) -> Option<Millis> {
        self.due.first().map(|(next, _)| *next)
    }

    /// Forgets alerts of a group, and the group when none is left.
    pub(super) fn retain(&mut self, id: &GroupId, keep: impl Fn(&Fingerprint, &Alert) -> bool) {
        let Some(group) = self.by_id.get_mut(id) else { return };
        group.alerts.retain(|fingerprint, alert| keep(fingerprint, alert));
        if group.alerts.is_empty()
            && group.in_flight == 0
            && let Some((id, group)) = self.by_id.remove_entry(id)
        {
            self.due.remove(&(group.next, id));
        }
    }
}
