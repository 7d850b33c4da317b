//! Functions over strings that Prometheus and Alertmanager share.

use std::sync::Arc;

use super::{Function, Functions, Value};
use crate::model::re2::Search;

/// `toUpper`, `toLower`, `title`, `trimSpace`, `join`, `match`, `reReplaceAll`, `safeHtml`, `stringSlice`.
pub fn functions() -> Functions {
    let mut functions = Functions::new();
    let mut add = |name, function: Function| functions.insert(name, function);
    add("toUpper", Arc::new(|args| one(args).map(|text| Value::from(text.to_uppercase()))));
    add("toLower", Arc::new(|args| one(args).map(|text| Value::from(text.to_lowercase()))));
    add("title", Arc::new(|args| one(args).map(|text| Value::from(title(&text)))));
    add("trimSpace", Arc::new(|args| one(args).map(|text| Value::from(text.trim()))));
    add("safeHtml", Arc::new(|args| one(args).map(|text| Value::Safe(Arc::from(text)))));
    add(
        "join",
        Arc::new(|args| match args {
            [separator, list] => {
                let items: Vec<_> = list.items()?.iter().map(|(_, item)| item.text()).collect();
                Ok(Value::from(items.join(&separator.text())))
            }
            _ => Err(count(2, args)),
        }),
    );
    add(
        "match",
        Arc::new(|args| match args {
            [pattern, text] => Ok(Value::Bool(search(&pattern.text())?.is_match(&text.text()))),
            _ => Err(count(2, args)),
        }),
    );
    add(
        "reReplaceAll",
        Arc::new(|args| match args {
            [pattern, replacement, text] => {
                Ok(Value::from(search(&pattern.text())?.replace_all(&text.text(), &replacement.text())))
            }
            _ => Err(count(3, args)),
        }),
    );
    add("stringSlice", Arc::new(|args| Ok(args.iter().cloned().collect())));
    functions
}

/// The only argument, as text.
pub fn one(args: &[Value]) -> Result<String, String> {
    match args {
        [value] => Ok(value.text()),
        _ => Err(count(1, args)),
    }
}

/// The error for a call with too many or too few arguments.
pub fn count(want: usize, args: &[Value]) -> String {
    format!("wrong number of args: want {want} got {}", args.len())
}

fn search(pattern: &str) -> Result<Search, String> {
    Search::new(pattern).map_err(|error| error.to_string())
}

/// Capitalises the first letter of each word and leaves the others as they are.
fn title(text: &str) -> String {
    let mut at_start = true;
    text.chars()
        .flat_map(|c| {
            let upper = at_start && c.is_lowercase();
            at_start = !(c.is_alphanumeric() || matches!(c, '\'' | '_'));
            let (upper, same) = if upper { (Some(c.to_uppercase()), None) } else { (None, Some(c)) };
            upper.into_iter().flatten().chain(same)
        })
        .collect()
}
