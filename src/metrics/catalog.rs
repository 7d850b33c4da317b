//! What there is: label names and values, series, metadata, exemplars.

use hashbrown::HashSet;
use roaring::RoaringBitmap;

use crate::model::labels::Labels;
use crate::model::matcher::Matcher;
use crate::model::metadata::Metadata;

use super::exemplars::ExemplarRow;
use super::matching::Plan;
use super::selection::Selection;
use super::shard::Shard;
use super::store::Store;

/// What senders said of one metric family, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataRow {
    pub family: String,
    pub metadata: Vec<Metadata>,
}

/// An answer that may have been cut to the limit of its caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing<T> {
    pub items: Vec<T>,
    /// Whether there is more than the limit let through.
    pub truncated: bool,
}

impl<T> Listing<T> {
    fn cut(mut items: Vec<T>, limit: usize) -> Self {
        let truncated = limit > 0 && items.len() > limit;
        if truncated {
            items.truncate(limit);
        }
        Self { items, truncated }
    }
}

/// Texts, each once.
#[derive(Default)]
struct Texts(HashSet<String, foldhash::fast::RandomState>);

impl Texts {
    fn contains(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    fn add(&mut self, text: &str) {
        self.0.get_or_insert_with(text, |text| text.to_owned());
    }

    fn sorted(self) -> Vec<String> {
        let mut texts: Vec<String> = self.0.into_iter().collect();
        texts.sort_unstable();
        texts
    }
}

impl Store {
    /// Label names of the series that fulfil every matcher of any set (all series without sets), ascending.
    /// `limit` 0 means no limit, here and below.
    pub fn label_names(&self, sets: &[Vec<Matcher>], mint: i64, maxt: i64, limit: usize) -> Listing<String> {
        let mut names = Texts::default();
        self.each_shard(sets, mint, maxt, |shard, found| {
            for (name, values) in shard.postings().names() {
                if !names.contains(name) && found.is_none_or(|found| values.values().any(|s| s.intersects(found))) {
                    names.add(name);
                }
            }
        });
        if let Some(version) = self.blocks().map(|blocks| blocks.version()) {
            version.label_names(sets, (mint, maxt), |name| names.add(name));
        }
        Listing::cut(names.sorted(), limit)
    }

    /// Values of a label among the series that fulfil every matcher of any set, ascending.
    pub fn label_values(
        &self,
        name: &str,
        sets: &[Vec<Matcher>],
        (mint, maxt): (i64, i64),
        limit: usize,
    ) -> Listing<String> {
        let mut all = Texts::default();
        self.each_shard(sets, mint, maxt, |shard, found| {
            let Some(values) = shard.postings().values(name) else { return };
            // Labels of few series are looked at one by one, else the series of each value.
            if let Some(found) = found.filter(|found| found.len() < values.len() as u64) {
                let series = found.iter().filter_map(|slot| shard.by_slot(slot));
                series.filter_map(|series| shard.symbols().get(&series.labels, name)).for_each(|value| all.add(value));
                return;
            }
            for (value, slots) in values {
                if !all.contains(value) && found.is_none_or(|found| slots.intersects(found)) {
                    all.add(value);
                }
            }
        });
        if let Some(version) = self.blocks().map(|blocks| blocks.version()) {
            version.label_values(name, sets, (mint, maxt), |value| all.add(value));
        }
        Listing::cut(all.sorted(), limit)
    }

    /// Label sets of the series that fulfil every matcher of any set and have samples in the range, ascending.
    pub fn series(&self, sets: &[Vec<Matcher>], mint: i64, maxt: i64, limit: usize) -> Listing<Labels> {
        let mut found: Vec<Labels> = Vec::new();
        for set in sets {
            found.extend(Selection::new(self.shared(), set, mint, maxt).iter_labels().cloned());
        }
        if sets.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
        Listing::cut(found, limit)
    }

    /// Metadata of one family, or of all in ascending order. Limits of 0 mean none.
    pub fn metadata(&self, family: Option<&str>, limit: usize, limit_per_metric: usize) -> Vec<MetadataRow> {
        let cut = |metadata: &[Metadata]| {
            let count = if limit_per_metric == 0 { metadata.len() } else { metadata.len().min(limit_per_metric) };
            metadata.iter().take(count).cloned().collect::<Vec<_>>()
        };
        let families = &self.shared().families;
        let mut rows = Vec::new();
        match family {
            Some(family) => {
                let metadata = families.get(family);
                if !metadata.is_empty() {
                    rows.push(MetadataRow { family: family.to_owned(), metadata: cut(&metadata) });
                }
            }
            None => families.visit(|family, metadata| {
                rows.push(MetadataRow { family: family.to_owned(), metadata: cut(metadata) });
                limit == 0 || rows.len() < limit
            }),
        }
        rows
    }

    /// Exemplars in the range of the series that fulfil every matcher of any set.
    pub fn exemplars(&self, sets: &[Vec<Matcher>], mint: i64, maxt: i64) -> Vec<ExemplarRow> {
        self.shared().exemplars.select(sets, mint, maxt)
    }

    /// Calls `visit` with each shard and its matching slots; `None` stands for all series at any time.
    fn each_shard(
        &self,
        sets: &[Vec<Matcher>],
        mint: i64,
        maxt: i64,
        mut visit: impl FnMut(&Shard, Option<&RoaringBitmap>),
    ) {
        let plans: Vec<Vec<Plan<'_>>> = sets.iter().map(|set| set.iter().map(Plan::new).collect()).collect();
        for shard in &self.shared().shards {
            let shard = shard.lock();
            if plans.is_empty() {
                // Series leave the index with their last sample, so the index itself answers for retention.
                visit(&shard, None);
                continue;
            }
            let mut found = RoaringBitmap::new();
            for set in &plans {
                found |= shard.matching(set, mint, maxt);
            }
            visit(&shard, Some(&found));
        }
    }
}

impl Store {
    /// The newest metadata of the family that a metric belongs to: of its own name, or of the name without the suffix
    /// that samples of a family have.
    pub fn metadata_of(&self, metric: &str) -> Option<Metadata> {
        let families = &self.shared().families;
        let newest = |family: &str| families.get(family).into_iter().next();
        let suffixes = ["_total", "_bucket", "_count", "_sum", "_created", "_info"];
        let stripped = || suffixes.iter().find_map(|suffix| metric.strip_suffix(suffix)).and_then(newest);
        newest(metric).or_else(stripped)
    }
}
