//! Finds variables that a template uses and nobody declares, which Go refuses when it parses.

/// Declared for every template of a rule.
const KNOWN: [&str; 5] = ["", "labels", "value", "externalLabels", "externalURL"];

/// The first variable that is neither known nor declared anywhere in the text. Blocks are not looked at: a variable
/// that is used outside the block of its declaration is found when the template runs.
pub(super) fn undeclared(text: &str) -> Option<String> {
    let mut declared: Vec<String> = Vec::new();
    let mut used = Vec::new();
    for action in text.split("{{").skip(1) {
        let code = without_strings(action.split("}}").next().unwrap_or(""));
        for name in variables(code.split_once(":=").map_or("", |(before, _)| before)) {
            declared.push(name);
        }
        used.extend(variables(&code));
    }
    used.into_iter().find(|name| !KNOWN.contains(&name.as_str()) && !declared.contains(name))
}

/// The names behind dollars.
fn variables(code: &str) -> Vec<String> {
    code.split('$')
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| *c == '_' || c.is_alphanumeric()).collect())
        .collect()
}

/// The code of an action without literals and comments, in which a dollar means nothing.
fn without_strings(code: &str) -> String {
    if code.trim_start_matches(['-', ' ']).starts_with("/*") {
        return String::new();
    }
    let mut out = String::new();
    let mut quote = None;
    let mut chars = code.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if matches!(c, '"' | '`' | '\'') => quote = Some(c),
            None => out.push(c),
            Some('"') if c == '\\' => _ = chars.next(),
            Some(open) if open == c => quote = None,
            Some(_) => {}
        }
    }
    out
}
