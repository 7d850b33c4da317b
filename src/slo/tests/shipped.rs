//! The objectives of config/slo, each with the series that it is about.

use std::path::Path;

use super::*;
use crate::slo::set;

/// An hour of one sample a minute.
fn minutes(value: impl Fn(i64) -> f64) -> Vec<(Millis, f64)> {
    (0..=60).map(|minute| (minute * MINUTE, value(minute))).collect()
}

/// A classic histogram of which `share` of a thousand observations a minute is at or below each bound.
fn histogram(memory: &mut Memory, name: &str, bounds: &[(&str, f64)]) {
    for (le, share) in bounds.iter().copied().chain([("+Inf", 1.0)]) {
        memory.add(&format!("{name}_bucket"), &[("le", le)], minutes(|minute| minute as f64 * 1_000.0 * share));
    }
}

#[test]
fn every_shipped_objective_measures_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/slo");
    let set = set::load(&[folder.join("*.yml")]).unwrap();
    assert!(set.notes.is_empty() && set.objectives.len() == 11, "{:?}", set.notes);
    let mut memory = Memory::default();
    let counter = |rise: f64| minutes(|minute| minute as f64 * rise);
    histogram(
        &mut memory,
        "dwcp_consensus_latency_seconds",
        &[("0.01", 0.6), ("0.05", 0.94), ("0.1", 0.995), ("0.5", 0.9995)],
    );
    memory.add("dwcp_consensus_rounds_total", &[], counter(1_000.0));
    memory.add("dwcp_consensus_timeouts_total", &[], counter(4.0));
    histogram(&mut memory, "dwcp_partition_detection_time_seconds", &[("1", 0.98)]);
    memory.add("dwcp_bandwidth_prediction_accuracy", &[], minutes(|minute| if minute % 20 == 0 { 0.8 } else { 0.9 }));
    memory.add("dwcp_amst_packet_loss_ratio", &[], minutes(|minute| if minute == 30 { 0.002 } else { 0.0 }));
    memory.add("dwcp_migration_total", &[], counter(50.0));
    memory.add("dwcp_migration_failure_total", &[], counter(1.0));
    histogram(&mut memory, "dwcp_migration_duration_seconds", &[("30", 0.5), ("60", 0.97)]);
    memory.add("dwcp_migration_bandwidth_efficiency", &[], minutes(|_| 0.75));
    let (clock, _hand) = Clock::simulated(60 * MINUTE);
    let limits = Limits { options: QueryOptions::default(), groups_max: 100 };
    let engine = Engine::new(Arc::new(memory), clock, limits);
    engine.apply(&set);
    let mut found = Vec::new();
    for (objective, statuses) in engine.statuses(Question { time: 60 * MINUTE, with_incidents: false }, |_| true) {
        let status = statuses.unwrap().remove(0);
        found.push((objective.id(), status.sli().unwrap(), status.remaining() >= 0.0));
    }
    let expect = [
        ("consensus-latency-p50", 0.6, true),
        ("consensus-latency-p95", 0.94, false),
        ("consensus-latency-p99", 0.995, true),
        ("consensus-latency-p999", 0.9995, true),
        ("consensus-timeouts", 0.996, true),
        ("migration-success", 0.98, false),
        ("migration-duration", 0.97, true),
        ("migration-bandwidth-efficiency", 1.0, true),
        ("network-prediction-accuracy", 57.0 / 61.0, false),
        ("network-partition-detection", 0.98, false),
        ("network-packet-loss", 60.0 / 61.0, false),
    ];
    assert_eq!(found.len(), expect.len());
    for ((id, sli, kept), (name, share, expected)) in found.iter().zip(expect) {
        assert_eq!((id.as_str(), *kept), (name, expected));
        assert!((sli - share).abs() < 1e-9, "{id}: {sli}, expected {share}");
    }
    // Each of them tells its runbook.
    for alert in set.objectives.iter().flat_map(|objective| &objective.alerts) {
        let runbook = alert.annotations.get("runbook_url").unwrap_or_else(|| panic!("{alert:?}"));
        assert!(folder.join("../..").join(runbook).exists(), "{runbook}");
    }
}
