//! Prometheus' JSON of samples, written by hand: a matrix of a dashboard has millions of numbers.
//!
//! Values are quoted and formatted as Go's `strconv` does with the shortest digits; times are seconds with at most
//! three decimals.

use crate::model::histogram::Histogram;
use crate::model::json_text::push_labels;
use crate::model::labels::Labels;
use crate::model::sample::Value;

/// Appends milliseconds as seconds.
pub fn push_time(out: &mut Vec<u8>, ms: i64) {
    if ms < 0 {
        out.push(b'-');
    }
    let ms = ms.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(ms / 1000).as_bytes());
    let fraction = (ms % 1000) as u16;
    if fraction != 0 {
        let digit = |n: u16| b'0' + (n % 10) as u8;
        out.extend_from_slice(&[b'.', digit(fraction / 100), digit(fraction / 10), digit(fraction)]);
    }
}

/// Appends a value in quotes.
pub fn push_value(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    push_float(out, value);
    out.push(b'"');
}

/// Appends a float as Go writes it: plain digits from 1e-6 to below 1e21, else an exponent of two digits or more.
pub fn push_float(out: &mut Vec<u8>, value: f64) {
    // Counters and sizes are whole numbers: no search for the shortest digits is needed below 2^53.
    if value.abs() < 9e15 && value.fract() == 0.0 {
        if value == 0.0 && value.is_sign_negative() {
            out.push(b'-');
        }
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        let mut buffer = zmij::Buffer::new();
        push_shortest(out, buffer.format_finite(value), value.abs());
    }
}

/// Turns digits as Rust's libraries write them (`1.5`, `100.0`, `1.5e-7`, `1e21`) into Go's.
fn push_shortest(out: &mut Vec<u8>, text: &str, magnitude: f64) {
    let (mantissa, exponent) = match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().unwrap_or(0)),
        None => (text, 0),
    };
    let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
    if exponent == 0 && (1e-6..1e21).contains(&magnitude) {
        out.extend_from_slice(mantissa.as_bytes());
        return;
    }
    let digits_negative = mantissa.strip_prefix('-');
    if digits_negative.is_some() {
        out.push(b'-');
    }
    let (whole, fraction) =
        digits_negative.unwrap_or(mantissa).split_once('.').unwrap_or((digits_negative.unwrap_or(mantissa), ""));
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    // Where the point stands, counted from the first digit that is not zero.
    let mut point = i32::try_from(whole.len()).unwrap_or(0) + exponent;
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.drain(..zeros);
    point -= i32::try_from(zeros).unwrap_or(0);
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    if (1e-6..1e21).contains(&magnitude) {
        push_plain(out, &digits, point);
    } else {
        push_scientific(out, &digits, point - 1);
    }
}

fn push_plain(out: &mut Vec<u8>, digits: &[u8], point: i32) {
    let before = usize::try_from(point).unwrap_or(0);
    if before == 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', usize::try_from(-point).unwrap_or(0)));
        out.extend_from_slice(digits);
    } else if digits.len() <= before {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', before - digits.len()));
    } else {
        out.extend_from_slice(&digits[..before]);
        out.push(b'.');
        out.extend_from_slice(&digits[before..]);
    }
}

fn push_scientific(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    let (first, rest) = digits.split_at(1.min(digits.len()));
    out.extend_from_slice(first);
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    if exponent.abs() < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
}

/// Appends `[time,"value"]`.
pub fn push_point(out: &mut Vec<u8>, time: i64, value: f64) {
    out.push(b'[');
    push_time(out, time);
    out.push(b',');
    push_value(out, value);
    out.push(b']');
}

/// Appends `[time,{histogram}]`.
pub fn push_histogram_point(out: &mut Vec<u8>, time: i64, histogram: &Histogram) {
    out.push(b'[');
    push_time(out, time);
    out.push(b',');
    push_histogram(out, histogram);
    out.push(b']');
}

/// Appends one sample of a vector.
pub fn push_sample(out: &mut Vec<u8>, labels: &Labels, time: i64, value: &Value) {
    out.extend_from_slice(b"{\"metric\":");
    push_labels(out, labels);
    match value {
        Value::Float(value) => {
            out.extend_from_slice(b",\"value\":");
            push_point(out, time, *value);
        }
        Value::Histogram(histogram) => {
            out.extend_from_slice(b",\"histogram\":");
            push_histogram_point(out, time, histogram);
        }
    }
    out.push(b'}');
}

/// Appends a histogram with its buckets that are not empty: bounds kind, lower, upper, count.
pub fn push_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    out.extend_from_slice(b"{\"count\":");
    push_value(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    push_value(out, histogram.sum);
    let mut separator: &[u8] = b",\"buckets\":[";
    let custom = histogram.uses_custom_buckets();
    let buckets = histogram.all();
    for bucket in buckets.iter().filter(|bucket| bucket.count != 0.0) {
        out.extend_from_slice(separator);
        separator = b",";
        let lower_included = if custom { bucket.lower == f64::NEG_INFINITY } else { bucket.lower < 0.0 };
        let upper_included = custom || bucket.upper > 0.0;
        let is_zero_bucket = bucket.lower == -bucket.upper;
        out.extend_from_slice(match (lower_included, upper_included) {
            _ if is_zero_bucket && !custom => b"[3,",
            (false, true) => b"[0,",
            (true, false) => b"[1,",
            (false, false) => b"[2,",
            (true, true) => b"[3,",
        });
        push_value(out, bucket.lower);
        out.push(b',');
        push_value(out, bucket.upper);
        out.push(b',');
        push_value(out, bucket.count);
        out.push(b']');
    }
    if separator == b"," {
        out.push(b']');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        // Pairs of value and Go's `strconv.FormatFloat(v, 'f' or 'e', -1, 64)` with the cut-offs of Prometheus.
        for (value, expect) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.25, "-17.25"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e-6, "0.000001"),
            (1.5e-6, "0.0000015"),
            (9.5e-7, "9.5e-07"),
            (-1e-10, "-1e-10"),
            (5e-324, "5e-324"),
            (1e15, "1000000000000000"),
            (1e16, "10000000000000000"),
            (12_345_678_901_234_567_890.0, "12345678901234567000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.25e100, "1.25e+100"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(written(|out| push_float(out, value)), expect);
        }
    }

    #[test]
    fn every_float_reads_back_as_itself() {
        let rng = crate::base::rng::Rng::from_seed(1);
        for _ in 0..20_000 {
            let value = f64::from_bits(rng.next_u64());
            let text = written(|out| push_float(out, value));
            if !value.is_nan() {
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
            }
        }
    }

    #[test]
    fn times_have_at_most_three_decimals() {
        for (ms, expect) in [(0, "0"), (1_000, "1"), (1_050, "1.050"), (-1_500, "-1.500"), (7, "0.007")] {
            assert_eq!(written(|out| push_time(out, ms)), expect);
        }
    }

    #[test]
    fn buckets_say_which_bounds_they_include() {
        use crate::model::histogram::Span;
        let one = vec![Span { offset: 0, length: 1 }];
        let histogram = Histogram {
            count: 6.0,
            sum: 2.5,
            zero_threshold: 0.001,
            zero_count: 3.0,
            positive_spans: one.clone(),
            positive_buckets: vec![2.0],
            negative_spans: one,
            negative_buckets: vec![1.0],
            ..Histogram::default()
        };
        let expect =
            r#"{"count":"6","sum":"2.5","buckets":[[1,"-1","-0.5","1"],[3,"-0.001","0.001","3"],[0,"0.5","1","2"]]}"#;
        assert_eq!(written(|out| push_histogram(out, &histogram)), expect);
        assert_eq!(written(|out| push_histogram(out, &Histogram::default())), r#"{"count":"0","sum":"0"}"#);
    }
}
