//! Every family of the process, and the collectors that add figures living elsewhere.

use std::sync::OnceLock;

use parking_lot::Mutex;

use crate::telemetry::family::Gather;
use crate::telemetry::snapshot::Family;

type Collector = Box<dyn Fn(&mut Vec<Family>) + Send + Sync>;

/// Families and collectors. There is one for the process: [`registry`].
#[derive(Default)]
pub struct Registry {
    families: Mutex<Vec<&'static dyn Gather>>,
    collectors: Mutex<Vec<Collector>>,
}

/// The process's registry.
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(Registry::default)
}

impl Registry {
    /// Adds a family; the family itself calls this at its first use.
    pub(crate) fn announce(&self, family: &'static dyn Gather) {
        self.families.lock().push(family);
    }

    /// Adds a function that contributes families to each gathering. It must not block and not gather itself.
    pub fn collect(&self, collector: impl Fn(&mut Vec<Family>) + Send + Sync + 'static) {
        self.collectors.lock().push(Box::new(collector));
    }

    /// Everything, sorted by name; families of one name are joined, those without samples are left out.
    pub fn gather(&self) -> Vec<Family> {
        let mut families: Vec<Family> = self.families.lock().iter().map(|family| family.gather()).collect();
        for collector in self.collectors.lock().iter() {
            collector(&mut families);
        }
        families.retain(|family| !family.samples.is_empty());
        families.sort_by(|a, b| a.name.cmp(&b.name));
        families.dedup_by(|later, earlier| {
            let same = later.name == earlier.name;
            if same {
                earlier.samples.append(&mut later.samples);
            }
            same
        });
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::family::Counters;
    use crate::telemetry::snapshot::Kind;

    #[test]
    fn gathers_statics_and_collectors_in_order_of_names() {
        static COUNTED: Counters<0> = Counters::new("novascope_test_b_total", "B.", []);
        let own = Registry::default();
        own.collect(|families| families.push(Family::single("novascope_test_a", "A.", Kind::Gauge, 1.5)));
        COUNTED.get().add(2);
        own.announce(&COUNTED);
        let names: Vec<_> = own.gather().into_iter().map(|family| family.name).collect();
        assert_eq!(names, ["novascope_test_a", "novascope_test_b_total"]);
        assert!(registry().gather().iter().any(|family| family.name == "novascope_test_b_total"));
    }
}
