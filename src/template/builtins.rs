//! The functions that every Go template has.

use super::format::sprintf;
use super::value::{Kind, Value};

/// The names of Go's own functions.
pub(super) const NAMES: [&str; 19] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print", "printf",
    "println", "slice", "urlquery",
];

/// Calls one of Go's own functions; `None` where there is none of that name. `and` and `or` come with all arguments
/// evaluated here; the evaluator stops early before it gets this far.
pub(super) fn call(name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    Some(match name {
        "and" => last_or(args, |value| !value.is_true()),
        "or" => last_or(args, Value::is_true),
        "not" => one(args, "not").map(|value| Value::Bool(!value.is_true())),
        "len" => one(args, "len").and_then(|value| {
            let length = value.length().ok_or_else(|| format!("len of type {}", value.type_name()))?;
            Ok(Value::Int(length as i64))
        }),
        "index" => index(args),
        "slice" => slice(args),
        "print" => Ok(Value::from(print(args))),
        "println" => Ok(Value::from(args.iter().map(Value::text).collect::<Vec<_>>().join(" ") + "\n")),
        "printf" => sprintf(args).map(Value::from),
        "html" => Ok(Value::from(gotmpl::html_escape(&print(args)))),
        "js" => Ok(Value::from(gotmpl::js_escape(&print(args)))),
        "urlquery" => Ok(Value::from(gotmpl::url_encode(&print(args)))),
        "eq" => compare_any(args),
        "ne" => two(args, "ne").and_then(|(a, b)| Ok(Value::Bool(!equal(a, b)?))),
        "lt" => two(args, "lt").and_then(|(a, b)| Ok(Value::Bool(less(a, b)?))),
        "le" => two(args, "le").and_then(|(a, b)| Ok(Value::Bool(less(a, b)? || equal(a, b)?))),
        "gt" => two(args, "gt").and_then(|(a, b)| Ok(Value::Bool(!less(a, b)? && !equal(a, b)?))),
        "ge" => two(args, "ge").and_then(|(a, b)| Ok(Value::Bool(!less(a, b)?))),
        _ => return None,
    })
}

/// The first argument for which `ends` holds, else the last.
fn last_or(args: &[Value], ends: impl Fn(&Value) -> bool) -> Result<Value, String> {
    args.iter()
        .find(|value| ends(value))
        .or(args.last())
        .cloned()
        .ok_or_else(|| "wrong number of args: want at least 1 got 0".to_owned())
}

fn one<'a>(args: &'a [Value], name: &str) -> Result<&'a Value, String> {
    match args {
        [value] => Ok(value),
        _ => Err(format!("wrong number of args for {name}: want 1 got {}", args.len())),
    }
}

fn two<'a>(args: &'a [Value], name: &str) -> Result<(&'a Value, &'a Value), String> {
    match args {
        [first, second] => Ok((first, second)),
        _ => Err(format!("wrong number of args for {name}: want 2 got {}", args.len())),
    }
}

/// `fmt.Sprint`: a blank between neighbours of which neither is a string.
fn print(args: &[Value]) -> String {
    let mut text = String::new();
    for (at, value) in args.iter().enumerate() {
        if at > 0 && value.kind() != Kind::Str && args[at - 1].kind() != Kind::Str {
            text.push(' ');
        }
        text.push_str(&value.text());
    }
    text
}

fn index(args: &[Value]) -> Result<Value, String> {
    let (first, keys) = args.split_first().ok_or("wrong number of args for index: want at least 1 got 0")?;
    keys.iter().try_fold(first.clone(), |value, key| match (&value, key) {
        (Value::Map(map), key) => Ok(map.get(key.text().as_str()).cloned().unwrap_or_else(|| Value::from(""))),
        (Value::Object(object), Value::Str(key)) => {
            object.items().ok_or_else(|| format!("can't index item of type {}", object.type_name())).map(|items| {
                items.into_iter().find(|(name, _)| name.as_str() == Some(key)).map_or(Value::from(""), |(_, v)| v)
            })
        }
        (Value::List(_) | Value::Object(_), Value::Int(at)) => {
            let items = value.items()?;
            let at = usize::try_from(*at).ok().filter(|at| *at < items.len());
            at.and_then(|at| items.into_iter().nth(at))
                .map(|(_, item)| item)
                .ok_or_else(|| format!("index out of range: {}", key.text()))
        }
        (Value::Str(text), Value::Int(at)) => usize::try_from(*at)
            .ok()
            .and_then(|at| text.as_bytes().get(at).map(|byte| Value::Int(i64::from(*byte))))
            .ok_or_else(|| format!("index out of range: {at}")),
        _ => Err(format!("can't index item of type {}", value.type_name())),
    })
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let (first, bounds) = args.split_first().ok_or("wrong number of args for slice: want at least 1 got 0")?;
    let length = first.length().ok_or_else(|| format!("can't slice item of type {}", first.type_name()))?;
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(Value::Int(bound)) => usize::try_from(*bound)
            .ok()
            .filter(|bound| *bound <= length)
            .ok_or_else(|| format!("index out of range: {bound}")),
        Some(other) => Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    match first {
        Value::Str(text) => {
            text.get(from..to).map(Value::from).ok_or_else(|| "slice ends inside a character".to_owned())
        }
        Value::List(list) => Ok(list[from..to].iter().cloned().collect()),
        other => Err(format!("can't slice item of type {}", other.type_name())),
    }
}

fn compare_any(args: &[Value]) -> Result<Value, String> {
    let (first, others) = args.split_first().ok_or("missing argument for comparison")?;
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    others.iter().try_fold(false, |found, other| Ok(found || equal(first, other)?)).map(Value::Bool)
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, _) | (_, Value::Nil) => Ok(false),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Int(a), Value::Int(b)) => Ok(a == b),
        _ => match (numeric(a), numeric(b), a.as_str(), b.as_str()) {
            (Some(a), Some(b), ..) => Ok(a == b),
            (.., Some(a), Some(b)) => Ok(a == b),
            _ => Err("incompatible types for comparison".to_owned()),
        },
    }
}

fn less(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a < b),
        _ => match (numeric(a), numeric(b), a.as_str(), b.as_str()) {
            (Some(a), Some(b), ..) => Ok(a < b),
            (.., Some(a), Some(b)) => Ok(a < b),
            _ => Err("incompatible types for comparison".to_owned()),
        },
    }
}

/// Numbers compare across their kinds here. Go refuses to compare an int with a float; rule authors write
/// `{{ if gt $value 5 }}` all the same, and this reads it as they meant it.
fn numeric(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        Value::Object(object) => object.number(),
        _ => None,
    }
}
