//! Attribute values as label values: scalars as text, bytes as base64, arrays and maps as JSON.
//!
//! The forms are those of OpenTelemetry's Go library (`AsString`), so that a series has the same labels whether its
//! data came through a collector or straight here.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::proto::wire::{Field, Reader, WireError};

/// Arrays in arrays, maps in maps: deeper is an attack or a mistake.
pub const DEPTH_MAX: u32 = 32;

/// One attribute as it lies in the request.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    pub key: &'a str,
    /// The bytes of the `AnyValue`.
    pub value: &'a [u8],
}

/// Reads a `KeyValue`.
///
/// # Errors
/// Where the bytes are none.
pub fn attribute(message: &[u8]) -> Result<Attribute<'_>, WireError> {
    let mut reader = Reader::new(message);
    let mut attribute = Attribute { key: "", value: &[] };
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => attribute.key = field.string()?,
            2 => attribute.value = field.bytes()?,
            _ => {}
        }
    }
    Ok(attribute)
}

/// Appends the text of an `AnyValue`; nothing where it has no value.
///
/// # Errors
/// Where the bytes are none, or deeper than [`DEPTH_MAX`].
pub fn append_text(any: &[u8], into: &mut String) -> Result<(), WireError> {
    let Some(field) = last_value(any)? else { return Ok(()) };
    match field.number {
        1 => into.push_str(field.string()?),
        4 => append_double(field.double()?, into),
        7 => STANDARD.encode_string(field.bytes()?, into),
        _ => return append_json(field, into, 0),
    }
    Ok(())
}

/// The set member of the oneof: the last one wins.
fn last_value(any: &[u8]) -> Result<Option<Field<'_>>, WireError> {
    let mut reader = Reader::new(any);
    let mut last = None;
    while let Some(field) = reader.next_field()? {
        if (1..=7).contains(&field.number) {
            last = Some(field);
        }
    }
    Ok(last)
}

fn append_any_json(any: &[u8], into: &mut String, depth: u32) -> Result<(), WireError> {
    if depth > DEPTH_MAX {
        return Err(WireError::TooDeep(DEPTH_MAX));
    }
    match last_value(any)? {
        Some(field) => append_json(field, into, depth),
        None => {
            into.push_str("null");
            Ok(())
        }
    }
}

fn append_json(field: Field<'_>, into: &mut String, depth: u32) -> Result<(), WireError> {
    match field.number {
        1 => append_quoted(field.string()?, into),
        2 => into.push_str(if field.uint()? == 0 { "false" } else { "true" }),
        3 => {
            // Writing to a String cannot fail.
            let _ = write!(into, "{}", field.int()?);
        }
        4 => match field.double()? {
            number if number.is_finite() => append_double(number, into),
            _ => into.push_str("null"),
        },
        5 => append_array(field.bytes()?, into, depth)?,
        6 => append_map(field.bytes()?, into, depth)?,
        _ => append_quoted(&STANDARD.encode(field.bytes()?), into),
    }
    Ok(())
}

fn append_array(message: &[u8], into: &mut String, depth: u32) -> Result<(), WireError> {
    let mut reader = Reader::new(message);
    into.push('[');
    let mut separator = "";
    while let Some(field) = reader.next_field()? {
        if field.number == 1 {
            into.push_str(separator);
            separator = ",";
            append_any_json(field.bytes()?, into, depth + 1)?;
        }
    }
    into.push(']');
    Ok(())
}

fn append_map(message: &[u8], into: &mut String, depth: u32) -> Result<(), WireError> {
    let mut reader = Reader::new(message);
    let mut entries = Vec::new();
    while let Some(field) = reader.next_field()? {
        if field.number == 1 {
            entries.push(attribute(field.bytes()?)?);
        }
    }
    // Go writes the keys of a map in order; so equal maps have equal labels.
    entries.sort_by(|a, b| a.key.cmp(b.key));
    into.push('{');
    let mut separator = "";
    for entry in entries {
        into.push_str(separator);
        separator = ",";
        append_quoted(entry.key, into);
        into.push(':');
        append_any_json(entry.value, into, depth + 1)?;
    }
    into.push('}');
    Ok(())
}

/// A JSON string as Go's encoder writes it, which also escapes what is special in HTML.
fn append_quoted(text: &str, into: &mut String) {
    into.push('"');
    for c in text.chars() {
        match c {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            '\u{8}' => into.push_str("\\b"),
            '\u{c}' => into.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(into, "\\u{:04x}", u32::from(c));
            }
            c => into.push(c),
        }
    }
    into.push('"');
}

/// A number as JavaScript writes it: plain digits, an exponent below 1e-6 and from 1e21 on.
fn append_double(number: f64, into: &mut String) {
    let size = number.abs();
    // Writing to a String cannot fail.
    let _ = if number.is_nan() {
        write!(into, "NaN")
    } else if number.is_infinite() {
        write!(into, "{}Inf", if number > 0.0 { '+' } else { '-' })
    } else if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        // Rust writes 1e21 where JavaScript writes 1e+21.
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => write!(into, "{digits}e+{exponent}"),
            _ => write!(into, "{text}"),
        }
    } else {
        write!(into, "{number}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::opentelemetry::proto::common::v1::any_value::Value;
    use crate::proto::opentelemetry::proto::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
    use crate::proto::wire::put_bytes;
    use prost::Message as _;

    fn text(value: Value) -> String {
        let mut text = String::new();
        append_text(&AnyValue { value: Some(value) }.encode_to_vec(), &mut text).unwrap();
        text
    }

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    #[test]
    fn scalars_are_plain_text() {
        assert_eq!(text(Value::StringValue("a<b".to_owned())), "a<b");
        assert_eq!(text(Value::BoolValue(true)), "true");
        assert_eq!(text(Value::IntValue(-7)), "-7");
        assert_eq!(text(Value::DoubleValue(0.1)), "0.1");
        assert_eq!(text(Value::DoubleValue(3.0)), "3");
        assert_eq!(text(Value::DoubleValue(1e21)), "1e+21");
        assert_eq!(text(Value::DoubleValue(5e-9)), "5e-9");
        assert_eq!(text(Value::BytesValue(vec![1, 2, 255])), "AQL/");
        let mut nothing = String::new();
        append_text(&[], &mut nothing).unwrap();
        assert_eq!(nothing, "");
    }

    #[test]
    fn arrays_and_maps_are_json_with_sorted_keys() {
        let entry = |key: &str, value| KeyValue { key: key.to_owned(), value: Some(value) };
        let list = ArrayValue { values: vec![any(Value::StringValue("x\"<".to_owned())), AnyValue::default()] };
        let map = KeyValueList {
            values: vec![entry("z", any(Value::IntValue(1))), entry("a", any(Value::ArrayValue(list)))],
        };
        assert_eq!(text(Value::KvlistValue(map)), r#"{"a":["x\"\u003c",null],"z":1}"#);
    }

    #[test]
    fn ten_thousand_levels_are_refused() {
        let mut value = Vec::new();
        for _ in 0..10_000 {
            let (mut array, mut any) = (Vec::new(), Vec::new());
            put_bytes(&mut array, 1, &value);
            put_bytes(&mut any, 5, &array);
            value = any;
        }
        assert_eq!(append_text(&value, &mut String::new()), Err(WireError::TooDeep(DEPTH_MAX)));
    }
}
