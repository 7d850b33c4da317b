//! What Go's reader of URLs refuses, for the mistakes that people make: it takes nearly everything.

/// Why it would refuse a text.
pub fn fault(url: &str) -> Option<&'static str> {
    if url.chars().any(|c| c.is_ascii_control()) {
        return Some("invalid control character in URL");
    }
    if url.starts_with(':') {
        return Some("missing protocol scheme");
    }
    let is_scheme = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    let (scheme, rest) = url.split_once(':').filter(|(scheme, _)| is_scheme(scheme)).unwrap_or(("", url));
    if scheme.is_empty() && rest.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':')) {
        return Some("first path segment in URL cannot contain colon");
    }
    let escapes = rest.split('?').next().unwrap_or("").split('%').skip(1);
    let is_escape = |text: &str| text.get(..2).is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if !escapes.clone().all(is_escape) {
        return Some("invalid URL escape");
    }
    let authority = rest.strip_prefix("//").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or(""))?;
    let host = authority.rsplit('@').next().unwrap_or("");
    if host.starts_with('[') && !host.contains(']') {
        return Some("missing ']' in host");
    }
    if host.contains(' ') {
        return Some("invalid character \" \" in host name");
    }
    let port = host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or("", |(_, port)| port);
    port.chars().any(|c| !c.is_ascii_digit()).then_some("invalid port after host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_of_people_are_refused_and_nothing_else() {
        for (url, why) in [
            ("127.0.0.1:9090/x", "cannot contain colon"),
            (":foo", "missing protocol scheme"),
            ("http://h:port/", "invalid port"),
            ("http://h h/", "in host name"),
            ("http://[::1", "missing ']'"),
            ("http://h/%zz", "invalid URL escape"),
            ("http://h/\n", "control character"),
        ] {
            assert!(fault(url).is_some_and(|said| said.contains(why)), "{url}");
        }
        for url in [
            "",
            "foo",
            "localhost:9090",
            "http://[::1]:9/",
            "http://u:p@h/a%20b?c=%",
            "//h/x",
            "unix:///x",
            "http://a_b",
        ] {
            assert_eq!(fault(url), None, "{url}");
        }
    }
}
