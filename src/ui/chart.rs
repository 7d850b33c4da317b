//! Small line charts as SVG.

use std::fmt::Write as _;

/// Size of the drawing; the style sheet stretches it to its box.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 48.0;

/// A filled line from left to right over equally spaced values, from zero to a little above the largest. `NaN` breaks
/// the line. It is decoration: the number beside it says the same, so readers of the page are not told of it.
pub fn sparkline(values: &[f64]) -> String {
    let top = values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f64::max) * 1.1;
    let step = WIDTH / (values.len().max(2) - 1) as f64;
    let mut lines = String::new();
    for run in runs(values) {
        let mut points = String::new();
        for (at, value) in &run {
            let height = if top > 0.0 { value.max(0.0) / top * (HEIGHT - 2.0) } else { 0.0 };
            let _ = write!(points, "{:.1},{:.1} ", *at as f64 * step, HEIGHT - 1.0 - height);
        }
        let (first, last) = (run.first().map_or(0, |run| run.0), run.last().map_or(0, |run| run.0));
        let (left, right) = (first as f64 * step, last as f64 * step);
        let _ = write!(
            lines,
            "<polygon points=\"{left:.1},{HEIGHT} {points}{right:.1},{HEIGHT}\"/><polyline points=\"{}\"/>",
            points.trim_end()
        );
    }
    format!(
        "<svg class=\"spark\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">{lines}</svg>"
    )
}

/// Runs of finite values with their places.
fn runs(values: &[f64]) -> Vec<Vec<(usize, f64)>> {
    let mut runs: Vec<Vec<(usize, f64)>> = Vec::new();
    let mut joined = false;
    for (at, value) in values.iter().enumerate() {
        if !value.is_finite() {
            joined = false;
            continue;
        }
        match runs.last_mut() {
            Some(run) if joined => run.push((at, *value)),
            _ => runs.push(vec![(at, *value)]),
        }
        joined = true;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_breaks_the_line() {
        let svg = sparkline(&[1.0, 2.0, f64::NAN, 3.0]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(sparkline(&[]).contains("<svg") && !sparkline(&[0.0, 0.0]).contains("NaN"));
    }
}
