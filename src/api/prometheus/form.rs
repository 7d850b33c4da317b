//! Parameters of a request: those of a posted form first, then those of the URL, as Go's `Request.Form` has them.

use axum::extract::{FromRequest, Request};
use http::header::CONTENT_TYPE;

use crate::api::prometheus::time;
use crate::model::matcher::Matcher;
use crate::promql::parse;
use crate::server::body::{self, BodyLimits};
use crate::server::error::Failure;

/// The parameters, in order. A name may occur several times.
#[derive(Clone, Debug, Default)]
pub struct Form {
    pairs: Vec<(String, String)>,
    /// How many pairs at the front came with a body.
    posted: usize,
}

impl Form {
    /// From the encoded text of a body (may be empty) and of a URL's query.
    pub fn parse(posted: &[u8], url: Option<&str>) -> Self {
        let mut pairs: Vec<_> = form_urlencoded::parse(posted).into_owned().collect();
        let posted = pairs.len();
        pairs.extend(form_urlencoded::parse(url.unwrap_or("").as_bytes()).into_owned());
        Self { pairs, posted }
    }

    /// The first value of a parameter; empty where it is absent.
    pub fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(candidate, _)| candidate == name).map_or("", |(_, value)| value)
    }

    /// The first value of a parameter of the URL, whatever was posted; empty where it is absent.
    pub fn get_of_url(&self, name: &str) -> &str {
        let url = self.pairs.get(self.posted..).unwrap_or(&[]);
        url.iter().find(|(candidate, _)| candidate == name).map_or("", |(_, value)| value)
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(candidate, _)| candidate == name).map(|(_, value)| value.as_str())
    }

    /// A time in milliseconds that may be absent.
    pub fn time_or(&self, name: &str, default: i64) -> Result<i64, Failure> {
        match self.get(name) {
            "" => Ok(default),
            text => time::parse_time(text)
                .map_err(|error| Failure::parameter(name, format!("invalid time value for '{name}': {error}"))),
        }
    }

    /// A time in milliseconds that must be there.
    pub fn time(&self, name: &str) -> Result<i64, Failure> {
        time::parse_time(self.get(name)).map_err(|error| Failure::parameter(name, error))
    }

    /// `start` and `end`, both optional, without a check of their order.
    pub fn window(&self) -> Result<(i64, i64), Failure> {
        Ok((self.time_or("start", time::TIME_MIN)?, self.time_or("end", time::TIME_MAX)?))
    }

    /// `limit`: the most results that are wanted; `None` for no limit.
    pub fn limit(&self) -> Result<Option<usize>, Failure> {
        let text = self.get("limit");
        if text.is_empty() {
            return Ok(None);
        }
        let limit = parse_int(text).map_err(|error| Failure::parameter("limit", error))?;
        match usize::try_from(limit) {
            Err(_) => Err(Failure::parameter("limit", "limit must be non-negative")),
            Ok(0) => Ok(None),
            Ok(limit) => Ok(Some(limit)),
        }
    }

    /// The selectors of `match[]`. Each must name something: one that matches the empty label set reads everything.
    pub fn matchers(&self) -> Result<Vec<Vec<Matcher>>, String> {
        let mut sets = Vec::new();
        for text in self.all("match[]") {
            sets.push(parse::parse_selector(text).map_err(|error| error.to_string())?);
        }
        if sets.iter().any(|set: &Vec<Matcher>| set.iter().all(|matcher| matcher.matches(""))) {
            return Err("match[] must contain at least one non-empty matcher".to_owned());
        }
        Ok(sets)
    }
}

/// An integer, with the words of Go's `strconv.Atoi` where it is not one.
pub fn parse_int(text: &str) -> Result<i64, String> {
    text.parse::<i64>().map_err(|error| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
            format!("strconv.Atoi: parsing {text:?}: value out of range")
        }
        _ => format!("strconv.Atoi: parsing {text:?}: invalid syntax"),
    })
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let is_form = parts
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.trim_start().starts_with("application/x-www-form-urlencoded"));
        let posted =
            if is_form { body::read(&parts.headers, body, &BodyLimits::FORM).await? } else { bytes::Bytes::new() };
        Ok(Self::parse(&posted, parts.uri.query()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_comes_before_the_url() {
        let form = Form::parse(b"query=a%2Bb+c&match%5B%5D=x", Some("query=url&match[]=y&state=z"));
        assert_eq!(form.get("query"), "a+b c");
        assert_eq!(form.get_of_url("query"), "url");
        assert_eq!(form.all("match[]").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(form.get("absent"), "");
    }

    #[test]
    fn limits_are_refused_in_the_words_of_prometheus() {
        let limit = |text: &str| Form::parse(b"", Some(&format!("limit={text}"))).limit();
        assert_eq!(limit("0").unwrap(), None);
        assert_eq!(limit("7").unwrap(), Some(7));
        assert_eq!(
            limit("x").unwrap_err().message,
            "invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax"
        );
        assert_eq!(limit("-1").unwrap_err().message, "invalid parameter \"limit\": limit must be non-negative");
    }
}
