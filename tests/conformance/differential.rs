//! The same random queries over the same random samples, asked of a real Prometheus and of the built novascope.
//!
//! Runs where `NOVASCOPE_PROMETHEUS` names a Prometheus, 2.42 or newer; `.ci/run` does that. Both get the samples by
//! remote write and answer over HTTP. From 3.14 on everything is asked and compared: native histograms, start timestamps
//! (by OTLP), annotations, texts of errors, metric names.
//!
//! Windows of version 2 include their start, those of version 3 do not, and the extrapolation near 0 differs: for
//! version 2 samples lie between the times that queries look at, and counters are far from 0, so that neither shows.
//!
//! `NOVASCOPE_SEED` chooses other samples and queries, `NOVASCOPE_QUERIES` how many; `NOVASCOPE_ASK` has queries of one's
//! own, with `;` between, to see both answers.

use crate::answer::{Asked, Verdict, compare};
use crate::generate::{Dice, Kinds, samples};
use crate::load::load;
use crate::servers::{Novascope, Prometheus, Window};
use crate::writer::Writer;

const TICK: i64 = 15_000;
const TICKS: i64 = 400;

/// Queries of version 2 look at times that are no multiples of a tick, and samples lie elsewhere again.
const QUERY_PHASE: i64 = 4_334;
const SAMPLE_PHASE: i64 = 125;

/// Disagreements that are shown.
const SHOWN_MAX: usize = 25;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A query with a part of it left out or doubled, as typing errors are.
fn garbled(dice: &mut Dice, query: &str) -> String {
    let letters: Vec<char> = query.chars().collect();
    let from = dice.below(letters.len() as u64) as usize;
    let to = (from + 1 + dice.below(4) as usize).min(letters.len());
    let part = if dice.once_in(3) { &letters[from..to] } else { &[] };
    letters[..from].iter().chain(part).chain(part).chain(&letters[to..]).collect()
}

/// Both answers, side by side, to be looked at.
fn both(query: &str, theirs: &Prometheus, ours: &Novascope) -> String {
    let mut text = String::new();
    for step in [0, 2 * TICK] {
        let window = Window { start: 60 * TICK, end: 66 * TICK, step };
        for (name, answer) in [("theirs", theirs.ask(query, window)), ("ours", ours.ask(query, window))] {
            let (result, samples) = (&answer["data"]["result"], &answer["data"]["stats"]["samples"]);
            let read = &samples["samplesReadPerStep"];
            text.push_str(&format!("{query} by {step}, {name}: {} {result} read {read}\n", answer["error"]));
        }
    }
    text
}

#[test]
fn a_real_prometheus_gives_the_same() {
    let Some(program) = std::env::var_os("NOVASCOPE_PROMETHEUS") else {
        println!("NOVASCOPE_PROMETHEUS is not set: nothing is compared");
        return;
    };
    let seed = number("NOVASCOPE_SEED", 4_242);
    println!("NOVASCOPE_SEED={seed}");
    let mut dice = Dice::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let theirs = Prometheus::start(program.as_ref(), folder.path());
    let ours = Novascope::start(folder.path());
    let newest = theirs.is_newest;
    let (sample_phase, phase) = if newest { (0, 0) } else { (SAMPLE_PHASE, QUERY_PHASE) };
    let store = samples(&mut dice, TICKS, TICK, Kinds { exotic: newest }).shifted(sample_phase);
    for request in &load(&store, 40 * TICK, newest) {
        theirs.write(request);
        ours.write(request);
    }
    if let Ok(texts) = std::env::var("NOVASCOPE_ASK") {
        texts.split(';').for_each(|query| print!("{}", both(query, &theirs, &ours)));
        return;
    }
    let queries = number("NOVASCOPE_QUERIES", 600);
    let (mut same, mut skipped, mut wrong) = (0, 0, Vec::new());
    for _ in 0..queries {
        let mut query = Writer { dice: &mut dice, tick: TICK, newest, window: newest, phase }.vector(3);
        if newest && dice.once_in(25) {
            query = garbled(&mut dice, &query);
        }
        let step = TICK * (1 + dice.below(4) as i64);
        let start = 60 * TICK + phase;
        let window = Window { start, end: start + 40 * step, step: if dice.once_in(4) { 0 } else { step } };
        let asked = Asked { query: &query, newest };
        match compare(asked, &theirs.ask(&query, window), &ours.ask(&query, window)) {
            Verdict::Same => same += 1,
            Verdict::Undetermined => skipped += 1,
            Verdict::Differs(how) => wrong.push(format!("{query}\n    {window:?}: {how}")),
        }
    }
    println!("{same} queries agree, {skipped} could not be compared, {} differ", wrong.len());
    let shown = wrong.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "seed {seed}: {} of {queries} queries differ\n{shown}", wrong.len());
    let skipped_max = if newest { queries / 50 } else { queries / 5 };
    assert!(skipped <= skipped_max, "only {same} queries could be compared");
}
