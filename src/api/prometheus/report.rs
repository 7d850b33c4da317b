//! What a query took: `stats` as Prometheus gives it, and `explain`.

use serde_json::{Value, json};

use crate::promql::eval::{Explained, Stats, StepSamples};
use crate::query::evaluate::Timings;

/// `stats=true`, and with samples by step `stats=all`.
pub fn stats(timings: &Timings, stats: &Stats, (steps, by_step): (&StepSamples, bool)) -> Value {
    let Timings { waited, evaluated, total } = timings;
    let mut samples = json!({
        "totalQueryableSamples": steps.total.iter().sum::<u64>(),
        "samplesRead": steps.read.iter().sum::<u64>(),
        "peakSamples": stats.peak_samples,
    });
    if by_step {
        samples["totalQueryableSamplesPerStep"] = points(steps, &steps.total);
        samples["samplesReadPerStep"] = points(steps, &steps.read);
    }
    json!({
        "timings": {
            "evalTotalTime": evaluated.as_secs_f64(),
            "resultSortTime": 0.0,
            "queryPreparationTime": 0.0,
            "innerEvalTime": evaluated.as_secs_f64(),
            "execQueueTime": waited.as_secs_f64(),
            "execTotalTime": total.as_secs_f64(),
        },
        "samples": samples,
        "series": stats.series,
    })
}

fn points(steps: &StepSamples, counts: &[u64]) -> Value {
    let time = |at: usize| {
        let ms = steps.start + at as i64 * steps.step;
        if ms % 1000 == 0 { json!(ms / 1000) } else { json!(ms as f64 / 1000.0) }
    };
    counts.iter().enumerate().map(|(at, count)| json!([time(at), count])).collect()
}

/// A node of the plan with what is below it.
pub fn explained(node: &Explained) -> Value {
    let Explained { node: name, expr, invariant, tiers, series, points, samples, bytes, seconds, children } = node;
    json!({
        "node": name,
        "expr": expr,
        "once": invariant,
        "tier": tiers.join("+"),
        "series": series,
        "points": points,
        "samples": samples,
        "bytes": bytes,
        "timeSeconds": seconds,
        "children": children.iter().map(explained).collect::<Vec<_>>(),
    })
}
