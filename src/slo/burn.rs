//! Burn-rate alerts: which windows, how fast, how bad.
//!
//! The burn rate is the share of bad events in units of the share that is allowed: at 1 the budget lasts exactly as long
//! as the window of the objective. An alert fires where the rate is above its factor over a long window (it matters) and
//! over a short one (it goes on).

use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::slo::objective::Pairs;
use crate::slo::terms::Comparison;
use crate::slo::window::days;

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;

/// Two windows and a factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// 0 where only the long window is looked at.
    pub short: Millis,
    pub long: Millis,
    pub factor: f64,
    pub op: Comparison,
}

/// An alert that fires where any of its pairs does.
#[derive(Clone, Debug, PartialEq)]
pub struct BurnAlert {
    pub name: String,
    /// How long it must hold.
    pub hold: Millis,
    pub pairs: Vec<Pair>,
    pub labels: Pairs,
    pub annotations: Pairs,
}

/// Short window, long window, factor, severity.
pub type Row = (Millis, Millis, f64, &'static str);

/// The table of Google's SRE workbook for 30 days: it spends 2, 5, 10 and 10 % of the budget in the long window.
pub const WORKBOOK: [Row; 4] = [
    (5 * MINUTE, HOUR, 14.4, "critical"),
    (30 * MINUTE, 6 * HOUR, 6.0, "critical"),
    (2 * HOUR, DAY, 3.0, "warning"),
    (6 * HOUR, 3 * DAY, 1.0, "warning"),
];

/// For services that may burn fast: 36x in an hour, which spends 5 % of 30 days, then more than 10x and more than 5x.
pub const STEEP: [Row; 3] =
    [(5 * MINUTE, HOUR, 36.0, "critical"), (30 * MINUTE, 6 * HOUR, 10.0, "critical"), (2 * HOUR, DAY, 5.0, "warning")];

/// Pyrra's table for a window: how long it must hold, short, long, factor, severity. Windows are those of 28 days, in
/// proportion, rounded to minutes.
pub fn pyrra(window: Millis) -> [(Millis, Row); 4] {
    let part = |divisor: Millis| {
        // Go rounds half away from zero.
        let length = window / divisor;
        (length + MINUTE / 2) / MINUTE * MINUTE
    };
    [
        (part(28 * 24 * 30), (part(28 * 24 * 12), part(28 * 24), 14.0, "critical")),
        (part(28 * 24 * 4), (part(28 * 24 * 2), part(28 * 4), 7.0, "critical")),
        (part(28 * 24), (part(28 * 12), part(28), 2.0, "warning")),
        (part(28 * 8), (part(28 * 4), part(7), 1.0, "warning")),
    ]
}

/// Sloth's factors: the same shares of the budget whatever the window. For 7 days it has a table of its own.
pub fn sloth(window: Millis) -> [Row; 4] {
    let shares = if window == 7 * DAY { [0.08, 0.125, 0.2, 0.42] } else { [0.02, 0.05, 0.1, 0.1] };
    let mut rows = WORKBOOK;
    for (row, share) in rows.iter_mut().zip(shares) {
        row.2 = share * window as f64 / row.1 as f64;
    }
    rows
}

/// One alert for each row that fits into the window.
pub fn alerts(name: &str, rows: &[Row], window: Millis) -> Vec<BurnAlert> {
    let fitting = rows.iter().filter(|row| row.1 <= window);
    fitting.map(|(short, long, factor, severity)| alert(name, (*short, *long), *factor, severity)).collect()
}

/// An alert in our own form.
pub fn alert(name: &str, (short, long): (Millis, Millis), factor: f64, severity: &str) -> BurnAlert {
    let text = |millis| days(Period::from_millis(millis));
    let labels = [("severity", severity.to_owned()), ("long", text(long)), ("short", text(short))];
    let annotations = [
        (
            "summary",
            "The error budget of {{ $labels.slo }} burns {{ $value | printf \"%.1f\" }} times too fast".to_owned(),
        ),
        (
            "description",
            format!(
                "Over {} and {} more than {factor} times as many events were bad as the objective allows.",
                text(long),
                text(short)
            ),
        ),
    ];
    let owned = |pairs: &[(&str, String)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect::<Pairs>();
    BurnAlert {
        name: name.to_owned(),
        hold: 0,
        pairs: vec![Pair { short, long, factor, op: Comparison::Greater }],
        labels: owned(&labels),
        annotations: owned(&annotations),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pyrra_scales_with_the_window() {
        let table = pyrra(28 * DAY);
        assert_eq!(table[0], (2 * MINUTE, (5 * MINUTE, HOUR, 14.0, "critical")));
        assert_eq!(table[3], (3 * HOUR, (6 * HOUR, 4 * DAY, 1.0, "warning")));
        assert_eq!(pyrra(14 * DAY)[0], (MINUTE, (3 * MINUTE, 30 * MINUTE, 14.0, "critical")));
    }

    #[test]
    fn sloth_scales_its_factors() {
        let factors = |days: Millis| sloth(days * DAY).map(|row| (row.2 * 1000.0).round() / 1000.0);
        assert_eq!(factors(30), [14.4, 6.0, 3.0, 1.0]);
        assert_eq!(factors(28), [13.44, 5.6, 2.8, 0.933]);
        assert_eq!(factors(7), [13.44, 3.5, 1.4, 0.98]);
    }

    #[test]
    fn long_rows_do_not_fit_short_windows() {
        assert_eq!(alerts("A", &WORKBOOK, DAY).len(), 3);
        assert_eq!(alerts("A", &STEEP, 30 * DAY)[0].labels["long"], "1h");
    }
}
