//! What templates compute with.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use super::format::go_float;

/// A value. Clones are cheap.
#[derive(Clone, Debug)]
pub enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    /// A string that HTML output takes as it is (`safeHtml`).
    Safe(Arc<str>),
    List(Arc<[Value]>),
    /// A map; a missing key gives the empty string, as `missingkey=zero` does for maps of strings.
    Map(Arc<BTreeMap<Arc<str>, Value>>),
    Object(Arc<dyn Object>),
}

/// A value with fields or methods of its own.
pub trait Object: Debug + Send + Sync {
    /// Its Go type, for error messages.
    fn type_name(&self) -> &'static str;

    /// A field, or a method with these arguments. `None` where there is neither.
    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>>;

    /// What `{{ . }}` prints.
    fn text(&self) -> String;

    /// The pairs that `range` walks and `len` counts; `None` where it cannot.
    fn items(&self) -> Option<Vec<(Value, Value)>> {
        None
    }

    /// What `toJson` writes; `None` where its items or its text do.
    fn json(&self) -> Option<serde_json::Value> {
        None
    }

    /// The number behind it, for arithmetic functions; `None` where there is none.
    fn number(&self) -> Option<f64> {
        None
    }
}

/// Comparable kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nil,
    Bool,
    Int,
    Float,
    Str,
    Other,
}

impl Value {
    /// Whether `if` takes it for true: not zero, not empty, not nil.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) | Self::Safe(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Object(object) => object.items().is_none_or(|items| !items.is_empty()),
        }
    }

    /// The text that an action prints.
    pub fn text(&self) -> String {
        match self {
            Self::Nil => "<no value>".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => go_float(*value),
            Self::Str(text) | Self::Safe(text) => text.to_string(),
            Self::List(list) => {
                format!("[{}]", list.iter().map(Self::text).collect::<Vec<_>>().join(" "))
            }
            Self::Map(map) => {
                let pairs: Vec<_> = map.iter().map(|(key, value)| format!("{key}:{}", value.text())).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Self::Object(object) => object.text(),
        }
    }

    /// The string in it, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) | Self::Safe(text) => Some(text),
            _ => None,
        }
    }

    /// A number, or a string that reads as one.
    pub fn to_number(&self) -> Result<f64, String> {
        match self {
            Self::Int(value) => Ok(*value as f64),
            Self::Float(value) => Ok(*value),
            Self::Str(text) => {
                text.parse().map_err(|_| format!("strconv.ParseFloat: parsing \"{text}\": invalid syntax"))
            }
            Self::Object(object) => {
                object.number().ok_or_else(|| format!("can't convert {} to float", object.type_name()))
            }
            other => Err(format!("can't convert {} to float", other.type_name())),
        }
    }

    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::Safe(_) => "template.HTML",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Object(object) => object.type_name(),
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Nil => Kind::Nil,
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) => Kind::Int,
            Self::Float(_) => Kind::Float,
            Self::Str(_) | Self::Safe(_) => Kind::Str,
            Self::List(_) | Self::Map(_) | Self::Object(_) => Kind::Other,
        }
    }

    /// How many elements `len` counts.
    pub fn length(&self) -> Option<usize> {
        match self {
            Self::Str(text) | Self::Safe(text) => Some(text.len()),
            Self::List(list) => Some(list.len()),
            Self::Map(map) => Some(map.len()),
            Self::Object(object) => object.items().map(|items| items.len()),
            _ => None,
        }
    }

    /// A field, key or method called `name`.
    pub fn get(&self, name: &str, args: &[Value]) -> Result<Value, String> {
        match self {
            Self::Map(map) if args.is_empty() => Ok(map.get(name).cloned().unwrap_or_else(|| Self::from(""))),
            Self::Object(object) => object
                .get(name, args)
                .unwrap_or_else(|| Err(format!("can't evaluate field {name} in type {}", object.type_name()))),
            Self::Nil => Err(format!("nil data; no entry for key \"{name}\"")),
            other => Err(format!("can't evaluate field {name} in type {}", other.type_name())),
        }
    }

    /// The pairs of key and element that `range` walks.
    pub fn items(&self) -> Result<Vec<(Value, Value)>, String> {
        match self {
            Self::Nil => Ok(Vec::new()),
            Self::List(list) => {
                Ok(list.iter().enumerate().map(|(index, value)| (Self::Int(index as i64), value.clone())).collect())
            }
            Self::Map(map) => Ok(map.iter().map(|(key, value)| (Self::Str(Arc::clone(key)), value.clone())).collect()),
            Self::Int(count) => Ok((0..*count).map(|index| (Self::Int(index), Self::Int(index))).collect()),
            Self::Str(text) if text.is_empty() => Ok(Vec::new()),
            Self::Object(object) => {
                object.items().ok_or_else(|| format!("range can't iterate over {}", object.type_name()))
            }
            other => Err(format!("range can't iterate over {}", other.text())),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(Arc::from(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(Arc::from(text))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        Self::List(values.into_iter().collect())
    }
}
