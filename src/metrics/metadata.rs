//! Type, unit and help by metric family.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::model::metadata::Metadata;

/// Different statements that are kept of one family: senders may disagree.
const PER_FAMILY_MAX: usize = 8;

/// Bytes of a unit or help text that are kept.
const TEXT_BYTES_MAX: usize = 4_096;

/// What senders said of metric families.
#[derive(Debug)]
pub(super) struct Families {
    families: Mutex<BTreeMap<String, Vec<Metadata>>>,
    families_max: usize,
}

impl Families {
    pub(super) fn new(families_max: usize) -> Self {
        Self { families: Mutex::default(), families_max }
    }

    /// Notes a statement; the newest comes first. Answers whether it is new or was not the newest.
    pub(super) fn set(&self, family: &str, metadata: &Metadata) -> bool {
        let mut families = self.families.lock();
        if let Some(known) = families.get_mut(family) {
            if known.first() == Some(metadata) {
                return false;
            }
            known.retain(|other| other != metadata);
            known.insert(0, clipped(metadata));
            known.truncate(PER_FAMILY_MAX);
            return true;
        }
        if families.len() >= self.families_max || family.is_empty() || family.len() > TEXT_BYTES_MAX {
            return false;
        }
        families.insert(family.to_owned(), vec![clipped(metadata)]);
        true
    }

    /// Takes what the log held, which is older than what is here.
    pub(super) fn put_below(&self, restored: Self) {
        let newer = std::mem::replace(&mut *self.families.lock(), restored.families.into_inner());
        for (family, statements) in newer {
            for metadata in statements.iter().rev() {
                self.set(&family, metadata);
            }
        }
    }

    /// Calls `visit` for every family in ascending order until it answers false.
    pub(super) fn visit(&self, mut visit: impl FnMut(&str, &[Metadata]) -> bool) {
        for (family, metadata) in self.families.lock().iter() {
            if !visit(family, metadata) {
                break;
            }
        }
    }

    pub(super) fn get(&self, family: &str) -> Vec<Metadata> {
        self.families.lock().get(family).cloned().unwrap_or_default()
    }
}

fn clipped(metadata: &Metadata) -> Metadata {
    let clip = |text: &str| text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text).to_owned();
    Metadata { kind: metadata.kind, unit: clip(&metadata.unit), help: clip(&metadata.help) }
}
