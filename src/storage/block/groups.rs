//! Which blocks stand for which: raw blocks that share time are a group, and a block of a tier belongs to the group
//! that it was made from.
//!
//! A tier block names the raw blocks that it was made from. It stands for them while the group consists of exactly those;
//! when one comes in late or is written anew, the tier block is stale, and a new one is made. When all of them are gone
//! it is an orphan: then it is all there is of its time.

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::format::Meta;
use super::ulid::Ulid;

/// What a block is to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Raw samples of a group.
    Raw(u32),
    /// Rolled up from all of a group.
    Tier(u32),
    /// Rolled up from blocks that are gone.
    Orphan,
    /// Rolled up from something that has changed.
    Stale,
}

/// Raw blocks whose times overlap.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Places of those that can be read, as in the version.
    pub members: SmallVec<[u32; 2]>,
    /// All of them, ascending.
    pub ids: SmallVec<[Ulid; 2]>,
    pub max_time: i64,
    /// Tiers that stand for it: (resolution, place), the coarsest first.
    pub tiers: SmallVec<[(i64, u32); 2]>,
    /// All of its blocks can be read.
    pub whole: bool,
    /// Tiers may have series that raw blocks lack: a rule took them away.
    pub lost_series: bool,
}

impl Group {
    /// The tier block of this resolution.
    pub(super) fn tier(&self, resolution: i64) -> Option<u32> {
        self.tiers.iter().find(|(other, _)| *other == resolution).map(|(_, place)| *place)
    }
}

/// Sorts blocks into groups and gives each its role. `readable` in the order of the version.
pub(super) fn sort_out(readable: &[&Meta], quarantined: &[&Meta]) -> (Vec<Group>, Vec<Role>) {
    let places = readable.iter().enumerate().map(|(place, meta)| (*meta, Some(place as u32)));
    let raw = places.chain(quarantined.iter().map(|meta| (*meta, None)));
    let mut raw: Vec<(&Meta, Option<u32>)> = raw.filter(|(meta, _)| meta.resolution == 0).collect();
    raw.sort_by_key(|(meta, place)| (meta.min_time, *place));
    let mut groups: Vec<Group> = Vec::new();
    let mut group_of: HashMap<Ulid, u32> = HashMap::new();
    for (meta, place) in raw {
        if groups.last().is_none_or(|group| meta.min_time > group.max_time) {
            groups.push(Group { max_time: i64::MIN, whole: true, ..Group::default() });
        }
        group_of.insert(meta.id, groups.len() as u32 - 1);
        let Some(group) = groups.last_mut() else { continue };
        group.max_time = group.max_time.max(meta.max_time);
        group.ids.push(meta.id);
        group.members.extend(place);
        group.whole &= place.is_some();
        // Of one source is what a rule for retention took series from.
        group.lost_series |= place.is_none() || meta.sources.len() == 1;
    }
    for group in &mut groups {
        group.ids.sort_unstable();
        group.members.sort_unstable();
    }
    let mut roles = Vec::with_capacity(readable.len());
    for (place, meta) in readable.iter().enumerate() {
        let of = |id: &Ulid| group_of.get(id).copied();
        roles.push(match (meta.resolution, of(&meta.id), meta.sources.iter().find_map(of)) {
            (0, Some(group), _) => Role::Raw(group),
            (_, _, None) => Role::Orphan,
            (resolution, _, Some(number)) => {
                let most = |group: &Group| group.members.iter().map(|m| readable[*m as usize].series).max();
                let mut sources: SmallVec<[Ulid; 2]> = SmallVec::from_slice(&meta.sources);
                sources.sort_unstable();
                match groups.get_mut(number as usize) {
                    Some(group) if group.ids == sources && group.tier(resolution).is_none() => {
                        group.tiers.push((resolution, place as u32));
                        group.tiers.sort_unstable_by_key(|(resolution, _)| std::cmp::Reverse(*resolution));
                        group.lost_series |= most(group).is_some_and(|most| meta.series > most);
                        Role::Tier(number)
                    }
                    _ => Role::Stale,
                }
            }
        });
    }
    (groups, roles)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(id: u128, resolution: i64, (min_time, max_time): (i64, i64), sources: &[u128]) -> Meta {
        let sources = sources.iter().map(|id| Ulid(*id)).collect();
        Meta { id: Ulid(id), level: 0, resolution, min_time, max_time, series: 1, samples: 1, sources }
    }

    #[test]
    fn a_tier_stands_for_all_of_a_group_or_for_nothing() {
        let blocks = [
            meta(1, 0, (0, 10), &[]),
            meta(2, 0, (5, 20), &[]),
            meta(3, 0, (21, 30), &[]),
            meta(4, 60, (0, 20), &[2, 1]),
            meta(5, 10, (0, 10), &[1]),
            meta(6, 60, (21, 30), &[3, 9]),
            meta(7, 60, (31, 40), &[8]),
        ];
        let (groups, roles) = sort_out(&blocks.iter().collect::<Vec<_>>(), &[]);
        assert_eq!(groups.len(), 2);
        let expect = [Role::Raw(0), Role::Raw(0), Role::Raw(1), Role::Tier(0), Role::Stale, Role::Stale, Role::Orphan];
        assert_eq!(roles, expect);
        assert_eq!((groups[0].tier(60), groups[0].tier(10)), (Some(3), None));
        // Block 9 cannot be read: it belongs to the group all the same.
        let (groups, roles) = sort_out(&blocks.iter().collect::<Vec<_>>(), &[&meta(9, 0, (25, 26), &[])]);
        assert_eq!((roles[5], groups[1].whole), (Role::Tier(1), false));
    }
}
