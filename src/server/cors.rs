//! Cross-origin calls, as Prometheus allows them: Grafana in the browser ("direct" access) and own pages may ask.

use http::HeaderMap;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue, ORIGIN, VARY,
};
use regex::Regex;

/// Which origins may read answers.
#[derive(Clone, Debug, Default)]
pub enum Cors {
    /// Every origin, answered with `*`; the default of Prometheus (`--web.cors.origin=".*"`).
    #[default]
    Any,
    /// Origins that match, as a whole.
    Matching(Regex),
    /// None.
    Off,
}

impl Cors {
    /// From the regex of `--web.cors.origin`; it is anchored at both ends. Empty turns cross-origin calls off.
    ///
    /// # Errors
    /// Says what is wrong with the regex.
    pub fn from_regex(regex: &str) -> Result<Self, regex::Error> {
        Ok(match regex {
            "" => Self::Off,
            ".*" => Self::Any,
            other => Self::Matching(Regex::new(&format!("^(?:{other})$"))?),
        })
    }

    /// Adds the headers of an answer to a request with these headers.
    pub fn apply(&self, request: Option<&HeaderValue>, answer: &mut HeaderMap) {
        if matches!(self, Self::Off) {
            return;
        }
        answer.append(VARY, HeaderValue::from_name(ORIGIN));
        let Some(origin) = request else { return };
        let allowed = match self {
            Self::Off => None,
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Matching(regex) => origin.to_str().ok().filter(|text| regex.is_match(text)).map(|_| origin.clone()),
        };
        let Some(allowed) = allowed else { return };
        answer.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("Accept, Authorization, Content-Type, Origin"),
        );
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Date"));
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(cors: &str, origin: &'static str) -> Option<String> {
        let mut answer = HeaderMap::new();
        Cors::from_regex(cors).unwrap().apply(Some(&HeaderValue::from_static(origin)), &mut answer);
        answer.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn origins_are_matched_as_a_whole() {
        assert_eq!(allowed(".*", "http://a").as_deref(), Some("*"));
        assert_eq!(allowed("http://a", "http://a").as_deref(), Some("http://a"));
        assert_eq!(allowed("http://a", "http://a.evil"), None);
        assert_eq!(allowed("", "http://a"), None);
    }
}
