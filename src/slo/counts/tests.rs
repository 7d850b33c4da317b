use super::*;
use crate::promql::parse::parse;
use crate::slo::fixture::Memory;
use crate::slo::terms::{self, Comparison, Condition};

#[track_caller]
fn check(memory: &Memory, terms: &[Term], edges: &[Millis], expect: &[f64]) {
    let options = QueryOptions::default();
    let reader = Reader { source: memory, options: &options, group_by: &[], groups_max: 10 };
    let bins = reader.bins(terms, edges).unwrap();
    assert_eq!(bins.get(&Labels::empty()).map(Vec::as_slice), Some(expect));
}

fn counted(query: &str) -> Vec<Term> {
    terms::sum(&parse(query).unwrap()).unwrap()
}

#[test]
fn a_rise_counts_at_its_later_sample_and_resets_are_corrected() {
    let mut memory = Memory::default();
    memory.add("a", &[], [(900, 10.0), (1_000, 12.0), (2_000, 15.0), (3_000, 2.0), (4_000, 2.0), (5_000, 7.0)]);
    check(&memory, &counted("a"), &[1_000, 2_000, 3_500, 5_000], &[3.0, 2.0, 5.0]);
    // Edges between samples: what rose in between counts where the later sample is.
    check(&memory, &counted("a"), &[950, 1_500, 5_000], &[2.0, 10.0]);
    check(&memory, &counted("sum(rate(a[5m] offset 1s))"), &[2_000, 3_000], &[3.0]);
}

#[test]
fn gaps_and_staleness_lose_nothing() {
    let mut memory = Memory::default();
    let hour = 3_600_000;
    let stale = crate::model::sample::STALE_NAN;
    memory.add("a", &[], [(0, 100.0), (1_000, stale), (5 * hour, 140.0), (5 * hour + 1, f64::NAN), (6 * hour, 141.0)]);
    check(&memory, &counted("a"), &[4 * hour, 5 * hour, 6 * hour], &[40.0, 1.0]);
}

#[test]
fn what_was_born_in_the_span_counts_from_zero_unless_it_is_old() {
    let mut memory = Memory::default();
    memory.add("a", &[("job", "x")], [(1_000, 5.0), (2_000, 9.0)]);
    // Began long before anybody looked.
    memory.add("b", &[("job", "x")], [(1_000, 1e9), (2_000, 1e9 + 4.0)]);
    // Out of proportion as well, but its target was seen before it came.
    memory.add("c", &[("job", "y"), ("code", "200")], [(1_000, 1.0)]);
    memory.add("c", &[("job", "y"), ("code", "500")], [(2_000, 500.0)]);
    check(&memory, &counted("a"), &[0, 2_000], &[9.0]);
    check(&memory, &counted("b"), &[0, 2_000], &[4.0]);
    check(&memory, &counted("c"), &[0, 2_000], &[501.0]);
    // A start time decides.
    for (start, expect) in [(500, 1e9 + 4.0), (-500, 4.0)] {
        let mut column = Column::default();
        column.push_float(1_000, start, 1e9);
        column.push_float(2_000, start, 1e9 + 4.0);
        check(&Memory(vec![(Labels::from_pairs([("__name__", "d")]), column)]), &counted("d"), &[0, 2_000], &[expect]);
    }
}

#[test]
fn buckets_are_chosen_by_their_bound() {
    let mut memory = Memory::default();
    for (le, last) in [("0.1", 3.0), ("0.25", 5.0), ("+Inf", 8.0)] {
        memory.add("h_bucket", &[("le", le)], [(0, 0.0), (1_000, last)]);
    }
    let matchers = crate::promql::parse::parse_selector("h").unwrap();
    for (bound, expect) in [(0.1, 3.0), (0.25, 5.0), (0.2, 3.0), (9.0, 5.0), (f64::INFINITY, 8.0)] {
        let ratio = terms::latency(&matchers, bound).unwrap();
        check(&memory, &ratio.numerator, &[0, 1_000], &[expect]);
        check(&memory, &ratio.denominator, &[0, 1_000], &[8.0]);
    }
}

#[test]
fn native_histograms_count_by_bound() {
    let histogram = |scale: f64| {
        let mut histogram = Histogram {
            schema: -53,
            custom_values: vec![0.1, 0.5].into(),
            positive_spans: vec![crate::model::histogram::Span { offset: 0, length: 3 }],
            positive_buckets: vec![1.0, 2.0, 1.0],
            count: 4.0,
            ..Histogram::default()
        };
        histogram.scale(scale);
        Arc::new(histogram)
    };
    let mut column = Column::default();
    for (time, scale) in [(0, 1.0), (1_000, 3.0), (2_000, 1.0)] {
        column.push_histogram(time, 0, histogram(scale));
    }
    let memory = Memory(vec![(Labels::from_pairs([("__name__", "h")]), column)]);
    let matchers = crate::promql::parse::parse_selector("h").unwrap();
    let ratio = terms::latency(&matchers, 0.5).unwrap();
    check(&memory, &ratio.numerator, &[0, 1_000, 2_000], &[6.0, 3.0]);
    check(&memory, &ratio.denominator, &[0, 1_000, 2_000], &[8.0, 4.0]);
}

#[test]
fn samples_and_queries_are_counted() {
    let mut memory = Memory::default();
    memory.add("up", &[("i", "1")], (0..=10).map(|n| (n * 60_000, f64::from(u8::from(n % 5 != 0)))));
    check(&memory, &counted("sum_over_time(up[1m])"), &[0, 600_000], &[8.0]);
    check(&memory, &counted("count_over_time(up[1m])"), &[0, 600_000], &[10.0]);
    let below = Measure::Holding(Condition { op: Comparison::Less, value: 1.0 });
    let matchers = crate::promql::parse::parse_selector("up").unwrap();
    check(&memory, &[Term::series(matchers, below)], &[0, 600_000], &[2.0]);
    let query = Term::query(&parse("max(up) + 1").unwrap(), 60_000, below);
    check(&memory, &[query], &[0, 300_000, 600_000], &[0.0, 0.0]);
    let query = Term::query(&parse("max(up)").unwrap(), 60_000, below);
    check(&memory, &[query], &[0, 300_000, 600_000], &[1.0, 1.0]);
}

#[test]
fn groups_are_kept_apart_up_to_a_limit() {
    let mut memory = Memory::default();
    for route in ["a", "b", "c"] {
        memory.add("x", &[("route", route), ("i", "1")], [(0, 0.0), (1_000, 2.0)]);
        memory.add("x", &[("route", route), ("i", "2")], [(0, 0.0), (1_000, 3.0)]);
    }
    let (options, group_by) = (QueryOptions::default(), [Arc::from("route")]);
    let reader = |groups_max| Reader { source: &memory, options: &options, group_by: &group_by, groups_max };
    let bins = reader(10).bins(&counted("sum by (route) (x)"), &[0, 1_000]).unwrap();
    assert_eq!(bins.values().map(|bins| bins[0]).collect::<Vec<_>>(), [5.0, 5.0, 5.0]);
    let bins = reader(10).bins(&counted("sum(x)"), &[0, 1_000]).unwrap();
    assert_eq!(bins.keys().collect::<Vec<_>>(), [&Labels::empty()]);
    let bins = reader(2).bins(&counted("x"), &[0, 1_000]).unwrap();
    assert_eq!(bins.values().map(|bins| bins[0]).sum::<f64>(), 15.0);
    assert_eq!(bins.len(), 3);
}
