//! `${VAR}` and `${VAR:-default}` in configuration files.
//!
//! Only `${` followed by a name and `}` or `:-` is a variable; `$1`, `${1}` and a lone `$` stay, because relabelling
//! uses them, and the values of `replacement` and `regex` stay whole, because `${name}` names a group there. `$${`
//! gives a literal `${`. Comments are left alone. A variable that is not set and has no default is a fault.
//!
//! The value is put in so that it stays one scalar: inside quotes it is escaped; where it is a plain scalar by itself
//! and would not read as plain text, it is quoted. A value with a line break is refused.

/// A variable that cannot be put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpandError {
    /// Line and column from 1.
    pub at: (u64, u64),
    pub message: String,
}

/// Keys whose values have their own `${name}`.
const OWN_DOLLARS: [&str; 2] = ["replacement", "regex"];

/// Where in a line the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    Plain,
    Single,
    Double,
}

/// Replaces the variables in a text, line by line.
pub fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, ExpandError> {
    if !text.contains("${") {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    let mut quote = Quote::Plain;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let fault = |column: usize, message: String| ExpandError {
            at: (number as u64 + 1, line[..column].chars().count() as u64 + 1),
            message,
        };
        expand_line(line, &mut quote, &variable, &mut out).map_err(|(column, message)| fault(column, message))?;
    }
    Ok(out)
}

/// Expands one line; a fault is the byte it stands at and what is wrong.
fn expand_line(
    line: &str,
    quote: &mut Quote,
    variable: &impl Fn(&str) -> Option<String>,
    out: &mut String,
) -> Result<(), (usize, String)> {
    let mut at = 0;
    let mut before = ' ';
    while let Some(c) = line[at..].chars().next() {
        let rest = &line[at..];
        match (*quote, c) {
            (Quote::Plain, '#') if before.is_whitespace() => {
                out.push_str(rest);
                return Ok(());
            }
            // A quote opens only where a scalar can start: "it's" is plain text.
            (Quote::Plain, '"') if starts_scalar(before) => *quote = Quote::Double,
            (Quote::Plain, '\'') if starts_scalar(before) => *quote = Quote::Single,
            (Quote::Double, '"') if before != '\\' => *quote = Quote::Plain,
            (Quote::Single, '\'') => *quote = Quote::Plain,
            _ => {}
        }
        if rest.starts_with("$${") && !has_own_dollars(&line[..at]) {
            out.push_str("${");
            at += 3;
            before = '{';
            continue;
        }
        if let Some(reference) = Reference::parse(rest).filter(|_| !has_own_dollars(&line[..at])) {
            let value = variable(reference.name).or_else(|| reference.default.map(str::to_owned)).ok_or_else(|| {
                let name = reference.name;
                (at, format!("environment variable {name} is not set; set it or write ${{{name}:-default}}"))
            })?;
            if value.contains(['\n', '\r']) {
                return Err((at, format!("environment variable {} holds a line break", reference.name)));
            }
            let whole = starts_scalar(before) && ends_scalar(&rest[reference.length..]);
            put(&value, *quote, whole, out);
            at += reference.length;
            before = '}';
            continue;
        }
        out.push(c);
        at += c.len_utf8();
        // A backslash that is escaped itself escapes nothing.
        before = if c == '\\' && before == '\\' { ' ' } else { c };
    }
    Ok(())
}

fn starts_scalar(before: char) -> bool {
    before.is_whitespace() || matches!(before, '[' | '{' | ',')
}

fn ends_scalar(rest: &str) -> bool {
    let rest = rest.trim_end();
    rest.is_empty() || rest.starts_with([',', ']', '}']) || rest.starts_with(" #")
}

/// Whether the value at the end of `before` belongs to a key of [`OWN_DOLLARS`].
fn has_own_dollars(before: &str) -> bool {
    OWN_DOLLARS.iter().any(|key| {
        before.rfind(&format!("{key}:")).is_some_and(|at| {
            let starts = before[..at].chars().next_back().is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_');
            // No other key follows on the line, as in `{regex: a, target_label: ${X}}`.
            starts && !before[at + key.len() + 1..].contains(": ")
        })
    })
}

/// `${name}` or `${name:-default}` at the start of a text.
struct Reference<'a> {
    name: &'a str,
    default: Option<&'a str>,
    length: usize,
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let inside = text.strip_prefix("${")?;
        let end = inside.find(['}', '\n'])?;
        let (inside, length) = (inside.get(..end)?, end + 3);
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        named.then_some(Self { name, default, length })
    }
}

fn put(value: &str, quote: Quote, whole: bool, out: &mut String) {
    match quote {
        Quote::Single => out.push_str(&value.replace('\'', "''")),
        Quote::Double => out.push_str(&value.replace('\\', "\\\\").replace('"', "\\\"")),
        Quote::Plain if whole && !reads_as_plain(value) => {
            out.push('\'');
            out.push_str(&value.replace('\'', "''"));
            out.push('\'');
        }
        Quote::Plain => out.push_str(value),
    }
}

/// Whether YAML reads the text, standing by itself, as the same text (or as the number or boolean that it is).
fn reads_as_plain(value: &str) -> bool {
    !value.is_empty()
        && !value.starts_with(|c: char| "-?:,[]{}#&*!|>'\"%@` \t".contains(c))
        && !value.ends_with([' ', ':', '\t'])
        && !value.contains(": ")
        && !value.contains(" #")
        && !value.contains(['[', ']', '{', '}', ','])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let variable = |name: &str| match name {
            "HOST" => Some("db-1".to_owned()),
            "PASSWORD" => Some("a'b\"c\\: #d".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let got = expand(text, variable).unwrap_or_else(|fault| format!("{:?} {}", fault.at, fault.message));
        assert_eq!(got, expect);
    }

    #[test]
    fn variables_and_defaults_are_put_in() {
        check("a: ${HOST}:9100", "a: db-1:9100");
        check("a: [${HOST}, ${PORT:-80}]", "a: [db-1, 80]");
        check("a: ${EMPTY}", "a: ''");
        check("a: ${PASSWORD}", "a: 'a''b\"c\\: #d'");
        check("a: '${PASSWORD}'", "a: 'a''b\"c\\: #d'");
        check("a: \"${PASSWORD}\"", "a: \"a'b\\\"c\\\\: #d\"");
        check("a: $${HOST} $$ $HOST ${1} it's", "a: ${HOST} $$ $HOST ${1} it's");
    }

    #[test]
    fn groups_of_relabelling_and_comments_stay() {
        check("- replacement: ${NAME}-$1", "- replacement: ${NAME}-$1");
        check("{regex: '(?P<NAME>.*)${HOST}', a: ${HOST}}", "{regex: '(?P<NAME>.*)${HOST}', a: db-1}");
        check("a: b # ${NAME}\n", "a: b # ${NAME}\n");
    }

    #[test]
    fn an_unset_variable_is_named_with_its_place() {
        check(
            "a: ${HOST}\nb: ${NAME}",
            "(2, 4) environment variable NAME is not set; set it or write ${NAME:-default}",
        );
    }
}
