//! Which series of a shard have which label: for each name its values in order, for each value its series, and a symbol
//! where it has several.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use roaring::RoaringBitmap;
use thin_vec::{ThinVec, thin_vec};

use crate::model::labels::Labels;

use super::symbols::{Coded, Symbol, Symbols, put_label};

/// Series slots that share a label pair. Most values of most shards belong to few series, for which a bitmap with its
/// containers would take ten times the memory; names of pods and requests belong to one. It takes two words, since nodes
/// of the tree that holds it have room for eleven and are seldom full.
#[derive(Debug)]
pub(super) enum Slots {
    One(u32),
    /// Ascending.
    Few(ThinVec<u32>, Option<Symbol>),
    Many(Box<RoaringBitmap>, Option<Symbol>),
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Slots>() == 16);

/// Above this many slots a bitmap is smaller and faster.
const FEW_MAX: usize = 32;

/// From so many series on a label has a symbol, which takes about a hundred bytes.
const SYMBOL_FROM: usize = 3;

impl Slots {
    fn insert(&mut self, slot: u32) {
        match self {
            Self::One(one) if *one == slot => {}
            Self::One(one) => *self = Self::Few(thin_vec![slot.min(*one), slot.max(*one)], None),
            Self::Few(slots, symbol) => {
                if let Err(at) = slots.binary_search(&slot) {
                    if slots.len() < FEW_MAX {
                        if slots.len() == slots.capacity() {
                            slots.reserve_exact(slots.len().max(1));
                        }
                        slots.insert(at, slot);
                    } else {
                        let mut many: RoaringBitmap = slots.iter().copied().collect();
                        many.insert(slot);
                        *self = Self::Many(Box::new(many), *symbol);
                    }
                }
            }
            Self::Many(slots, _) => {
                slots.insert(slot);
            }
        }
    }

    fn symbol(&self) -> Option<Symbol> {
        match self {
            Self::One(_) => None,
            Self::Few(_, symbol) | Self::Many(_, symbol) => *symbol,
        }
    }

    /// The symbol of the label that has these slots; it gets one when they are enough.
    fn symbol_in(&mut self, symbols: &mut Symbols, encoded: &[u8]) -> Option<Symbol> {
        let is_shared = self.len() >= SYMBOL_FROM;
        match self {
            Self::Few(_, symbol @ None) | Self::Many(_, symbol @ None) if is_shared => {
                *symbol = symbols.add(encoded);
                *symbol
            }
            _ => self.symbol(),
        }
    }

    /// Gives whether any is left.
    fn remove(&mut self, slot: u32) -> bool {
        match self {
            Self::One(one) => *one != slot,
            Self::Few(slots, _) => {
                slots.retain(|other| *other != slot);
                !slots.is_empty()
            }
            Self::Many(slots, _) => {
                slots.remove(slot);
                !slots.is_empty()
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Few(slots, _) => slots.len(),
            Self::Many(slots, _) => usize::try_from(slots.len()).unwrap_or(usize::MAX),
        }
    }

    pub(super) fn add_to(&self, set: &mut RoaringBitmap) {
        match self {
            Self::One(slot) => {
                set.insert(*slot);
            }
            Self::Few(slots, _) => set.extend(slots.iter().copied()),
            Self::Many(slots, _) => *set |= &**slots,
        }
    }

    pub(super) fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Self::One(slot) => std::iter::once(*slot).collect(),
            Self::Few(slots, _) => slots.iter().copied().collect(),
            Self::Many(slots, _) => (**slots).clone(),
        }
    }

    pub(super) fn intersects(&self, set: &RoaringBitmap) -> bool {
        match self {
            Self::One(slot) => set.contains(*slot),
            Self::Few(slots, _) => slots.iter().any(|slot| set.contains(*slot)),
            Self::Many(slots, _) => !slots.is_disjoint(set),
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
    symbols: Symbols,
}

impl Postings {
    /// Adds a series; answers its labels in the symbols of this index.
    pub(super) fn insert(&mut self, slot: u32, labels: &Labels) -> Coded {
        self.all.insert(slot);
        let mut coded = Vec::with_capacity(256);
        for (name, value, encoded) in labels.iter_encoded() {
            let values = match self.names.get_mut(name) {
                Some(values) => values,
                None => self.names.entry(name.into()).or_default(),
            };
            let symbol = match values.get_mut(value) {
                Some(slots) => {
                    slots.insert(slot);
                    slots.symbol_in(&mut self.symbols, encoded)
                }
                None => {
                    values.insert(value.into(), Slots::One(slot));
                    None
                }
            };
            put_label(&mut coded, symbol, encoded);
        }
        Coded::new(&coded)
    }

    /// Removes a series, with the names, values and symbols that no other has.
    pub(super) fn remove(&mut self, slot: u32, labels: &Coded) {
        self.all.remove(slot);
        let labels = self.symbols.labels(labels, &mut Vec::new());
        for (name, value) in labels.iter() {
            let Some(values) = self.names.get_mut(name) else { continue };
            if values.get_mut(value).is_some_and(|slots| !slots.remove(slot))
                && let Some(symbol) = values.remove(value).and_then(|slots| slots.symbol())
            {
                // Whoever names it would have the label.
                self.symbols.remove(symbol);
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    pub(super) fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    pub(super) fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &Values)> {
        self.names.iter().map(|(name, values)| (&**name, values))
    }

    pub(super) fn values(&self, name: &str) -> Option<&Values> {
        self.names.get(name)
    }
}
