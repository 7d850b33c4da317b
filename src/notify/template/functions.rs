//! The functions of notification templates beyond those shared with rules.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

use super::time::{Elapsed, Time};
use crate::base::clock::Clock;
use crate::template::strings::{count, one};
use crate::template::{Function, Functions, Value, humanize, strings};

/// Every function by name.
pub(super) fn all(clock: &Clock) -> Functions {
    let mut functions = strings::functions();
    functions.extend(humanize::functions());
    functions.extend(times(clock));
    functions.extend(texts());
    functions.extend(collections());
    functions
}

fn times(clock: &Clock) -> Functions {
    let mut functions = Functions::new();
    let mut add = |name, function: Function| functions.insert(name, function);
    let now = clock.clone();
    add("now", Arc::new(move |_| Ok(Value::Object(Arc::new(Time::utc(now.now()))))));
    let now = clock.clone();
    add(
        "since",
        Arc::new(move |args| match args {
            [time] => Elapsed::since(time, now.now()).map(|elapsed| Value::Object(Arc::new(elapsed))),
            _ => Err(count(1, args)),
        }),
    );
    add(
        "date",
        Arc::new(|args| match args {
            [layout, time] => time.get("Format", std::slice::from_ref(layout)),
            _ => Err(count(2, args)),
        }),
    );
    add(
        "tz",
        Arc::new(|args| match args {
            [zone, time] => {
                let Value::Int(millis) = time.get("UnixMilli", &[])? else {
                    return Err("expected time.Time".to_owned());
                };
                Ok(Value::Object(Arc::new(Time::utc(millis).in_zone(&zone.text())?)))
            }
            _ => Err(count(2, args)),
        }),
    );
    functions
}

fn texts() -> Functions {
    let mut functions = Functions::new();
    let mut add = |name, function: Function| functions.insert(name, function);
    add("safeUrl", Arc::new(|args| one(args).map(|text| Value::Safe(Arc::from(text)))));
    add("urlUnescape", Arc::new(|args| one(args).and_then(|text| unescape(&text)).map(Value::from)));
    add("base64encode", Arc::new(|args| one(args).map(|text| Value::from(URL_SAFE.encode(text)))));
    add(
        "base64decode",
        Arc::new(|args| {
            let bytes = URL_SAFE.decode(one(args)?).map_err(|error| error.to_string())?;
            String::from_utf8(bytes).map(Value::from).map_err(|error| error.to_string())
        }),
    );
    add(
        "toJson",
        Arc::new(|args| match args {
            [value] => Ok(Value::from(to_json(value)?.to_string())),
            _ => Err(count(1, args)),
        }),
    );
    // Bound to the data of a notification where a text calls it.
    add("routeLabels", Arc::new(|_| Ok(Value::from(""))));
    functions
}

fn collections() -> Functions {
    let mut functions = Functions::new();
    let mut add = |name, function: Function| functions.insert(name, function);
    add("list", Arc::new(|args| Ok(args.iter().cloned().collect())));
    add(
        "append",
        Arc::new(|args| match args {
            [list, more @ ..] => {
                let items = list.items()?.into_iter().map(|(_, item)| item);
                Ok(items.chain(more.iter().cloned()).collect())
            }
            [] => Err(count(1, args)),
        }),
    );
    add(
        "dict",
        Arc::new(|args| {
            if !args.len().is_multiple_of(2) {
                return Err("dict requires an even number of arguments".to_owned());
            }
            let pairs = args.chunks_exact(2).map(|pair| match &pair[0] {
                Value::Str(key) => Ok((Arc::clone(key), pair[1].clone())),
                _ => Err("dict keys must be strings".to_owned()),
            });
            Ok(Value::Map(Arc::new(pairs.collect::<Result<_, _>>()?)))
        }),
    );
    functions
}

/// `%41+b` as `Ab`: Go's `url.QueryUnescape`.
fn unescape(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
                let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
                bytes.push(byte.ok_or_else(|| format!("invalid URL escape in {text:?}"))?);
                rest = &after[2..];
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

fn to_json(value: &Value) -> Result<serde_json::Value, String> {
    use serde_json::Value as Json;
    Ok(match value {
        Value::Nil => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::Float(value) => Json::from(*value),
        Value::Str(text) | Value::Safe(text) => Json::from(text.as_ref()),
        Value::List(list) => Json::Array(list.iter().map(to_json).collect::<Result<_, _>>()?),
        Value::Map(map) => Json::Object(
            map.iter().map(|(key, item)| Ok((key.to_string(), to_json(item)?))).collect::<Result<_, String>>()?,
        ),
        Value::Object(object) if object.json().is_some() => object.json().unwrap_or_default(),
        Value::Object(object) => match object.items() {
            Some(items) if items.iter().all(|(key, _)| key.as_str().is_some()) && !items.is_empty() => Json::Object(
                items.iter().map(|(key, item)| Ok((key.text(), to_json(item)?))).collect::<Result<_, String>>()?,
            ),
            Some(items) => Json::Array(items.iter().map(|(_, item)| to_json(item)).collect::<Result<_, _>>()?),
            None => Json::from(object.text()),
        },
    })
}
