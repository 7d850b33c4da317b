//! The log: readable lines on a terminal, JSON where something collects them. Always on standard error, because
//! standard output belongs to commands.

use std::io::IsTerminal as _;
use std::str::FromStr;

use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::traces;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Human where standard error is a terminal, else JSON.
    #[default]
    Auto,
    Human,
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "human" | "logfmt" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(format!("unknown log format {other:?}: use auto, human or json")),
        }
    }
}

/// A filter that cannot be used, or a second set-up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "log level {0:?} is not valid: use error, warn, info, debug, trace, or filters such as info,novascope::ingest=debug"
    )]
    Level(String),
    #[error("the log is set up already")]
    Twice,
}

/// Sets up the log of the process, and the spans that [`traces`] turns on and off. `level` is a level or a list of
/// `target=level`.
pub fn set_up(level: &str, format: LogFormat) -> Result<(), LogError> {
    let filter = EnvFilter::builder().parse(level).map_err(|_| LogError::Level(level.to_owned()))?;
    let human = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_timer(Utc);
    let lines = if human {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        lines.with_ansi(colours).with_target(false).boxed()
    } else {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    };
    // Spans about our own work are no lines of the log: without an exporter they must cost nothing.
    let filter = filter.and(filter_fn(|meta| meta.target() != traces::TARGET));
    let done = tracing_subscriber::registry().with(lines.with_filter(filter)).with(traces::layer()).try_init();
    done.map_err(|_| LogError::Twice)
}

/// Wall time in UTC with milliseconds.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        let now = crate::base::clock::Clock::real().now();
        match jiff::Timestamp::from_millisecond(now) {
            Ok(time) => write!(w, "{time:.3}"),
            Err(_) => write!(w, "{now}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_level_says_what_is_good() {
        let error = set_up("loud=very", LogFormat::Json).unwrap_err().to_string();
        assert!(error.contains("\"loud=very\"") && error.contains("error, warn, info"), "{error}");
    }
}
