//! A configuration as it may be shown: secrets hidden.
//!
//! Works on lines of text, so that comments and order stay. What `${VAR}` stands for never shows, because the text is
//! the one before expansion.

/// Keys whose values are secret wherever they stand.
const SECRET_KEYS: [&str; 14] = [
    "password",
    "bearer_token",
    "credentials",
    "client_secret",
    "secret_key",
    "access_key",
    "secret",
    "token",
    "api_key",
    "application_credential_secret",
    "key",
    "slack_api_url",
    "service_key",
    "routing_key",
];

/// Replaces the value of every secret key by `<secret>`, as Prometheus shows it.
pub fn secrets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Lines below a hidden key that stand deeper belong to its value: a block scalar such as a private key.
    let mut hidden_below: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let content = line.trim_start_matches([' ', '-']);
        let depth = line.len() - content.len();
        if let Some(above) = hidden_below {
            if content.trim().is_empty() || depth > above {
                continue;
            }
            hidden_below = None;
        }
        let key = content.split_once(':').map(|(key, _)| key.trim_matches(['"', '\'']));
        if let Some(key) = key.filter(|key| SECRET_KEYS.contains(key)) {
            let indent = &line[..depth];
            out.push_str(&format!("{indent}{key}: <secret>\n"));
            hidden_below = Some(depth);
            continue;
        }
        out.push_str(&hide_in_flow(&hide_in_url(line)));
    }
    out
}

/// `{username: a, password: b}` on one line.
fn hide_in_flow(line: &str) -> String {
    if !line.contains('{') {
        return line.to_owned();
    }
    let mut out = line.to_owned();
    for key in SECRET_KEYS {
        let needle = format!("{key}:");
        let mut from = 0;
        while let Some(found) = out[from..].find(&needle).map(|at| at + from) {
            let value = found + needle.len();
            let whole_key = out[..found].ends_with(['{', ' ', ',', '"', '\'']);
            let end = out[value..].find([',', '}', '\n']).map_or(out.len(), |at| at + value);
            if whole_key {
                out.replace_range(value..end, " <secret>");
            }
            from = value;
        }
    }
    out
}

/// `http://user:password@host/`.
fn hide_in_url(line: &str) -> String {
    let Some(scheme) = line.find("://") else { return line.to_owned() };
    let rest = &line[scheme + 3..];
    let end = rest.find(['/', ' ', '"', '\'', '\n']).unwrap_or(rest.len());
    match rest[..end].rfind('@').and_then(|at| rest[..at].find(':').map(|colon| (colon, at))) {
        Some((colon, at)) => format!("{}{}:<secret>{}", &line[..scheme + 3], &rest[..colon], &rest[at..]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_in_every_form() {
        let text = "basic_auth: {username: a, password: 'b'}\n  password: c\n  key: |\n    line one\n    line two\n  next: d # kept\n\
                    url: http://u:p@host/path\npassword_file: f\n";
        let expect = "basic_auth: {username: a, password: <secret>}\n  password: <secret>\n  key: <secret>\n  next: d # kept\n\
                      url: http://u:<secret>@host/path\npassword_file: f\n";
        assert_eq!(secrets(text), expect);
    }
}
