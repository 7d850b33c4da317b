//! Which format a body has, by its Content-Type.

use serde::Deserialize;

/// A format that a target can answer in, by the names of `scrape_protocols`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Format {
    #[serde(rename = "PrometheusText0.0.4")]
    Text,
    /// The same grammar; names are not escaped.
    #[serde(rename = "PrometheusText1.0.0")]
    Text1,
    #[serde(rename = "OpenMetricsText0.0.1")]
    OpenMetrics0,
    #[serde(rename = "OpenMetricsText1.0.0")]
    OpenMetrics1,
    #[serde(rename = "PrometheusProto")]
    Protobuf,
}

/// A Content-Type that says no format, with no fallback configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentTypeError {
    #[error("target sends no Content-Type and no fallback_scrape_protocol is set")]
    Missing,
    #[error("Content-Type {0:?} is not an exposition format and no fallback_scrape_protocol is set")]
    Unsupported(String),
}

impl Format {
    /// The name in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "PrometheusText0.0.4",
            Self::Text1 => "PrometheusText1.0.0",
            Self::OpenMetrics0 => "OpenMetricsText0.0.1",
            Self::OpenMetrics1 => "OpenMetricsText1.0.0",
            Self::Protobuf => "PrometheusProto",
        }
    }

    /// The media type in an Accept header, without quality.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain;version=0.0.4",
            Self::Text1 => "text/plain;version=1.0.0",
            Self::OpenMetrics0 => "application/openmetrics-text;version=0.0.1",
            Self::OpenMetrics1 => "application/openmetrics-text;version=1.0.0",
            Self::Protobuf => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
        }
    }

    /// Whether a body without a Content-Type, or with one that is no exposition format, is read as `fallback`.
    /// `text/plain` needs no version: hand-written endpoints leave it out.
    pub fn from_content_type(content_type: Option<&str>, fallback: Option<Self>) -> Result<Self, ContentTypeError> {
        let Some(content_type) = content_type.filter(|text| !text.trim().is_empty()) else {
            return fallback.ok_or(ContentTypeError::Missing);
        };
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case("text/plain") {
            Ok(Self::Text)
        } else if media.eq_ignore_ascii_case("application/openmetrics-text") {
            Ok(Self::OpenMetrics1)
        } else if media.eq_ignore_ascii_case("application/vnd.google.protobuf") {
            Ok(Self::Protobuf)
        } else {
            fallback.ok_or_else(|| ContentTypeError::Unsupported(content_type.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_decides_and_the_fallback_helps_the_rest() {
        let format = |text, fallback| Format::from_content_type(text, fallback);
        assert_eq!(format(Some("text/plain; charset=utf-8"), None), Ok(Format::Text));
        assert_eq!(format(Some("Application/OpenMetrics-Text"), None), Ok(Format::OpenMetrics1));
        assert_eq!(format(Some(Format::Protobuf.media_type()), None), Ok(Format::Protobuf));
        assert_eq!(format(Some("text/html"), Some(Format::Text)), Ok(Format::Text));
        assert_eq!(format(Some("text/html"), None), Err(ContentTypeError::Unsupported("text/html".to_owned())));
        assert_eq!(format(None, None), Err(ContentTypeError::Missing));
    }
}
