//! Which series of a shard have which label: for each name its values in order, for each value its series.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use roaring::RoaringBitmap;
use thin_vec::{ThinVec, thin_vec};

/// Series slots that share a label pair. Most values of most shards belong to few series, for which a bitmap with its
/// containers would take ten times the memory; names of pods and requests belong to one. It takes two words, since nodes
/// of the tree that holds it have room for eleven and are seldom full.
#[derive(Debug)]
pub(super) enum Slots {
    One(u32),
    /// Ascending.
    Few(ThinVec<u32>),
    Many(Box<RoaringBitmap>),
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Slots>() == 16);

/// Above this many slots a bitmap is smaller and faster.
const FEW_MAX: usize = 32;

impl Slots {
    fn insert(&mut self, slot: u32) {
        match self {
            Self::One(one) if *one == slot => {}
            Self::One(one) => *self = Self::Few(thin_vec![slot.min(*one), slot.max(*one)]),
            Self::Few(slots) => {
                if let Err(at) = slots.binary_search(&slot) {
                    if slots.len() < FEW_MAX {
                        if slots.len() == slots.capacity() {
                            slots.reserve_exact(slots.len().max(1));
                        }
                        slots.insert(at, slot);
                    } else {
                        let mut many: RoaringBitmap = slots.iter().copied().collect();
                        many.insert(slot);
                        *self = Self::Many(Box::new(many));
                    }
                }
            }
            Self::Many(slots) => {
                slots.insert(slot);
            }
        }
    }

    /// Gives whether any is left.
    fn remove(&mut self, slot: u32) -> bool {
        match self {
            Self::One(one) => *one != slot,
            Self::Few(slots) => {
                slots.retain(|other| *other != slot);
                !slots.is_empty()
            }
            Self::Many(slots) => {
                slots.remove(slot);
                !slots.is_empty()
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Few(slots) => slots.len(),
            Self::Many(slots) => usize::try_from(slots.len()).unwrap_or(usize::MAX),
        }
    }

    pub(super) fn add_to(&self, set: &mut RoaringBitmap) {
        match self {
            Self::One(slot) => {
                set.insert(*slot);
            }
            Self::Few(slots) => set.extend(slots.iter().copied()),
            Self::Many(slots) => *set |= &**slots,
        }
    }

    pub(super) fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Self::One(slot) => std::iter::once(*slot).collect(),
            Self::Few(slots) => slots.iter().copied().collect(),
            Self::Many(slots) => (**slots).clone(),
        }
    }

    pub(super) fn intersects(&self, set: &RoaringBitmap) -> bool {
        match self {
            Self::One(slot) => set.contains(*slot),
            Self::Few(slots) => slots.iter().any(|slot| set.contains(*slot)),
            Self::Many(slots) => !slots.is_disjoint(set),
        }
    }
}

/// The values of one label name, in ascending order.
pub(super) type Values = BTreeMap<Box<str>, Slots>;

/// The label index of a shard.
#[derive(Debug, Default)]
pub(super) struct Postings {
    names: HashMap<Box<str>, Values, foldhash::fast::RandomState>,
    /// Every live slot.
    all: RoaringBitmap,
}

impl Postings {
    /// Adds a series.
    pub(super) fn insert<'a>(&mut self, slot: u32, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        self.all.insert(slot);
        for (name, value) in labels {
            let values = match self.names.get_mut(name) {
                Some(values) => values,
                None => self.names.entry(name.into()).or_default(),
            };
            match values.get_mut(value) {
                Some(slots) => slots.insert(slot),
                None => {
                    values.insert(value.into(), Slots::One(slot));
                }
            }
        }
    }

    /// Removes a series, with the names and values that no other has.
    pub(super) fn remove<'a>(&mut self, slot: u32, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        self.all.remove(slot);
        for (name, value) in labels {
            let Some(values) = self.names.get_mut(name) else { continue };
            if values.get_mut(value).is_some_and(|slots| !slots.remove(slot)) {
                values.remove(value);
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    pub(super) fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &Values)> {
        self.names.iter().map(|(name, values)| (&**name, values))
    }

    pub(super) fn values(&self, name: &str) -> Option<&Values> {
        self.names.get(name)
    }
}
