//! Numbers and `printf` as Go writes them.

use std::fmt::Write as _;
use std::sync::Arc;

use super::Value;

/// From here on Go's `%v` writes an exponent: where the shortest digits stand for at least a seven-digit number.
const EXPONENT_FROM: f64 = 1e6;

/// A float as Go's `%v`: the shortest digits, exponents below 1e-4 and from a million.
pub(super) fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..EXPONENT_FROM).contains(&magnitude) {
        exponent_form(&format!("{value:e}"))
    } else {
        value.to_string()
    }
}

/// `%.Ng`: `digits` significant digits, without trailing zeros.
pub(super) fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return go_float(value);
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0".to_owned() } else { "0".to_owned() };
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= digits as i32 {
        return exponent_form(&format!("{}e{exponent}", trim_zeros(mantissa)));
    }
    let decimals = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
    trim_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn trim_zeros(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

/// Rust writes `1e-7`, Go `1e-07`.
fn exponent_form(scientific: &str) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    let mut text = String::with_capacity(scientific.len() + 2);
    let _ = write!(text, "{mantissa}e{sign}{digits:0>2}");
    text
}

/// `fmt.Sprintf`, done by the template crate, which has it complete but only behind a template.
pub(super) fn sprintf(args: &[Value]) -> Result<String, String> {
    let mut source = "{{printf".to_owned();
    for index in 0..args.len() {
        let _ = write!(source, " (index . {index})");
    }
    source.push_str("}}");
    let data: Arc<[gotmpl::Value]> = args.iter().map(convert).collect();
    gotmpl::Template::new("printf")
        .parse(&source)
        .and_then(|template| template.execute_to_string(&gotmpl::Value::List(data)))
        .map_err(|error| error.to_string())
}

fn convert(value: &Value) -> gotmpl::Value {
    match value {
        Value::Nil => gotmpl::Value::Nil,
        Value::Bool(value) => gotmpl::Value::Bool(*value),
        Value::Int(value) => gotmpl::Value::Int(*value),
        Value::Float(value) => gotmpl::Value::Float(*value),
        Value::Str(text) | Value::Safe(text) => gotmpl::Value::String(Arc::clone(text)),
        Value::List(list) => gotmpl::Value::List(list.iter().map(convert).collect()),
        Value::Map(map) => {
            gotmpl::Value::Map(Arc::new(map.iter().map(|(key, value)| (Arc::clone(key), convert(value))).collect()))
        }
        Value::Object(object) => gotmpl::Value::String(Arc::from(object.text())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_go_does() {
        let seen: Vec<_> = [0.25, 1e21, 1e-5, 123_456_789.0, f64::INFINITY, -0.0].map(go_float).into();
        assert_eq!(seen, ["0.25", "1e+21", "1e-05", "1.23456789e+08", "+Inf", "-0"]);
        let seen: Vec<_> = [1.23456, 0.000_012_345, 12_345.0, 100.0, 0.0].map(|value| significant(value, 4)).into();
        assert_eq!(seen, ["1.235", "1.234e-05", "1.234e+04", "100", "0"]);
    }
}
