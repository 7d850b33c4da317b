//! Templates for replacements, as Go's `Regexp.Expand` reads them.

use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;

pub(super) fn expand(regex: &Regex, captures: &Captures, text: &str, template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let Some((name, tail)) = reference(after) else {
            // A dollar that refers to nothing stands for itself.
            out.push('$');
            rest = after;
            continue;
        };
        let group = match name.parse::<usize>() {
            Ok(number) => Some(number),
            Err(_) => regex.group_info().to_index(captures.pattern().unwrap_or_default(), name),
        };
        let span = group.and_then(|group| captures.get_group(group));
        out.push_str(span.and_then(|span| text.get(span.range())).unwrap_or_default());
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// The name behind a dollar, with or without braces, and what follows it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (inner, braced) = match text.strip_prefix('{') {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let end = inner.find(|c: char| !(c == '_' || c.is_alphanumeric())).unwrap_or(inner.len());
    let (name, tail) = inner.split_at_checked(end).filter(|(name, _)| !name.is_empty())?;
    if braced { tail.strip_prefix('}').map(|tail| (name, tail)) } else { Some((name, tail)) }
}
