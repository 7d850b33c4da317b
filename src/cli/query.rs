//! `novascope query …`: ask a server that speaks Prometheus' API. Output as promtool's.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use http::{HeaderMap, Uri};
use serde_json::Value;

use crate::base::clock::Clock;
use crate::base::tasks::Tasks;
use crate::cli::{complain, say};
use crate::model::labels::Labels;
use crate::server::client::HttpClient;
use crate::server::client::config::ClientConfig;

/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: usize = 1 << 30;

#[derive(Debug, Subcommand)]
pub(super) enum Query {
    /// Evaluate at one time.
    Instant {
        #[command(flatten)]
        server: Server,
        /// A server, such as http://127.0.0.1:9090, unless --url names it; and the query.
        #[arg(value_names = ["SERVER", "QUERY"], num_args = 1..=2, required = true)]
        words: Vec<String>,
        /// Seconds since 1970 or RFC 3339; now if absent.
        #[arg(long, value_name = "TIME")]
        time: Option<String>,
    },
    /// Evaluate at each step of a range.
    Range {
        #[command(flatten)]
        server: Server,
        /// A server, such as http://127.0.0.1:9090, unless --url names it; and the query.
        #[arg(value_names = ["SERVER", "QUERY"], num_args = 1..=2, required = true)]
        words: Vec<String>,
        /// The last hour if absent.
        #[arg(long, value_name = "TIME")]
        start: Option<String>,
        #[arg(long, value_name = "TIME")]
        end: Option<String>,
        /// Such as 15s; a 250th of the range if absent.
        #[arg(long, value_name = "DURATION")]
        step: Option<String>,
    },
    /// List series.
    Series {
        #[command(flatten)]
        server: Server,
        /// A server, such as http://127.0.0.1:9090, unless --url names it.
        #[arg(value_name = "SERVER", required_unless_present = "url")]
        words: Vec<String>,
        #[command(flatten)]
        chosen: Chosen,
    },
    /// List the values of a label.
    Labels {
        #[command(flatten)]
        server: Server,
        /// A server, such as http://127.0.0.1:9090, unless --url names it; and the label's name.
        #[arg(value_names = ["SERVER", "LABEL"], num_args = 1..=2, required = true)]
        words: Vec<String>,
        #[command(flatten)]
        chosen: Chosen,
    },
}

#[derive(Debug, Args)]
pub(super) struct Server {
    /// The server, instead of the first argument.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[arg(long, short = 'o', default_value = "promql")]
    format: Format,
}

#[derive(Debug, Args)]
pub(super) struct Chosen {
    /// A selector; several are joined by "or".
    #[arg(long = "match", value_name = "SELECTOR")]
    matches: Vec<String>,
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Series and values, one a line.
    Promql,
    /// The result alone, as the server wrote it.
    Json,
}

/// What to ask of a server: a path under it, and the parameters to post there.
struct Asked {
    url: String,
    format: Format,
    path: String,
    parameters: Vec<(&'static str, String)>,
}

impl Server {
    /// The server's URL and the word behind it; what that word is, for who forgot it.
    fn split(&self, words: Vec<String>, what: &str) -> Result<(String, String), String> {
        let mut words = words.into_iter();
        match (self.url.clone(), words.next(), words.next()) {
            (Some(_), Some(_), Some(_)) => Err("--url and SERVER name the server twice".to_owned()),
            (Some(url), Some(word), None) => Ok((url, word)),
            (None, Some(url), Some(word)) => Ok((url, word)),
            _ => Err(format!("give a server and {what}, or --url URL and {what}")),
        }
    }
}

impl Query {
    pub(super) fn run(self) -> ExitCode {
        let asked = self.asked(&Clock::real());
        let outcome = asked.and_then(|asked| {
            let answer = fetch(&asked.url, &asked.path, &asked.parameters)?;
            Ok((asked.format, answer))
        });
        match outcome {
            Ok((format, answer)) => show(format, &answer),
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }

    /// The server, the path and its parameters.
    fn asked(self, clock: &Clock) -> Result<Asked, String> {
        let (url, format, path, parameters) = match self {
            Self::Instant { server, words, time } => {
                let (url, query) = server.split(words, "a query")?;
                let parameters = [Some(("query", query)), time.map(|time| ("time", time))];
                (url, server.format, "/api/v1/query".to_owned(), parameters.into_iter().flatten().collect())
            }
            Self::Range { server, words, start, end, step } => {
                let (url, query) = server.split(words, "a query")?;
                let now = clock.now() as f64 / 1000.0;
                let end = end.unwrap_or_else(|| now.to_string());
                let start = match start {
                    Some(start) => start,
                    None => (seconds(&end)? - 3600.0).to_string(),
                };
                let step = match step {
                    Some(step) => step,
                    None => ((seconds(&end)? - seconds(&start)?) / 250.0).ceil().max(1.0).to_string(),
                };
                let parameters = vec![("query", query), ("start", start), ("end", end), ("step", step)];
                (url, server.format, "/api/v1/query_range".to_owned(), parameters)
            }
            Self::Series { server, words, chosen } => {
                let more = std::iter::once(String::new());
                let (url, _) = server.split(words.into_iter().chain(more).collect(), "selectors")?;
                (url, server.format, "/api/v1/series".to_owned(), chosen.parameters())
            }
            Self::Labels { server, words, chosen } => {
                let (url, name) = server.split(words, "the name of a label")?;
                (url, server.format, format!("/api/v1/label/{}/values", escaped(&name)), chosen.parameters())
            }
        };
        Ok(Asked { url, format, path, parameters })
    }
}

impl Chosen {
    fn parameters(self) -> Vec<(&'static str, String)> {
        let times = [self.start.map(|time| ("start", time)), self.end.map(|time| ("end", time))];
        self.matches.into_iter().map(|selector| ("match[]", selector)).chain(times.into_iter().flatten()).collect()
    }
}

/// Seconds since 1970, from a number or RFC 3339.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok(seconds);
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| format!("cannot parse {text:?} to a valid timestamp"))?;
    Ok(time.as_millisecond() as f64 / 1000.0)
}

/// A label name as it stands in a path: names beyond the classic characters have an escaped form.
fn escaped(name: &str) -> String {
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return name.to_owned();
    }
    let mut text = "U__".to_owned();
    for character in name.chars() {
        match character {
            '_' => text.push_str("__"),
            plain if plain.is_ascii_alphanumeric() => text.push(plain),
            other => text.push_str(&format!("_{:x}_", u32::from(other))),
        }
    }
    text
}

/// Bytes of parameters beyond which they are posted: servers and what stands before them limit the length of a URL.
const URL_PARAMETERS_MAX: usize = 4_000;

/// The answer of a server's API, where it is a success.
pub(super) fn fetch(server: &str, path: &str, parameters: &[(&'static str, String)]) -> Result<Value, String> {
    let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let base = server.trim_end_matches('/');
    let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
    let posts = encoded.len() > URL_PARAMETERS_MAX;
    let url = if posts { format!("{base}{path}") } else { format!("{base}{path}?{encoded}") };
    let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let response = runtime.block_on(async {
        let client = HttpClient::new(&ClientConfig::default(), &Tasks::default(), &Clock::real())?;
        if posts {
            client.post_form(&uri, encoded, ANSWER_BYTES_MAX).await
        } else {
            client.get(&uri, HeaderMap::new(), ANSWER_BYTES_MAX).await
        }
    });
    let response = response.map_err(|error| format!("{base}: {error}"))?;
    let status = response.status();
    let answer: Value = serde_json::from_slice(response.body())
        .map_err(|_| format!("{base} answered {status}, and not in JSON: is it a Prometheus API?"))?;
    if answer["status"] == "success" {
        return Ok(answer);
    }
    let text = |field: &str| answer[field].as_str().unwrap_or("unknown").to_owned();
    Err(format!("{}: {}", text("errorType"), text("error")))
}

fn show(format: Format, answer: &Value) -> ExitCode {
    for (field, word) in [("warnings", "warning"), ("infos", "info")] {
        for note in answer[field].as_array().into_iter().flatten().filter_map(Value::as_str) {
            complain(&format!("{word}: {note}"));
        }
    }
    let data = &answer["data"];
    match format {
        Format::Json => say(&data.get("result").unwrap_or(data).to_string()),
        Format::Promql => lines(data).iter().for_each(|line| say(line)),
    }
    ExitCode::SUCCESS
}

/// One line for each sample, series or value.
fn lines(data: &Value) -> Vec<String> {
    let Some(kind) = data["resultType"].as_str() else {
        let items = data.as_array().map_or(&[][..], Vec::as_slice);
        return items.iter().map(|item| item.as_str().map_or_else(|| labels(item), str::to_owned)).collect();
    };
    let result = &data["result"];
    match kind {
        "vector" => result.as_array().into_iter().flatten().map(sample).collect(),
        "matrix" => result.as_array().into_iter().flatten().flat_map(series).collect(),
        "scalar" => vec![format!("scalar: {}", point(result))],
        _ => vec![format!("string: {}", point(result))],
    }
}

fn labels(metric: &Value) -> String {
    let pairs = metric.as_object().into_iter().flatten();
    Labels::from_pairs(pairs.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))).to_string()
}

fn sample(sample: &Value) -> String {
    let value = sample.get("value").or_else(|| sample.get("histogram")).unwrap_or(&Value::Null);
    format!("{} => {}", labels(&sample["metric"]), point(value))
}

fn series(series: &Value) -> Vec<String> {
    let points = ["values", "histograms"].into_iter().filter_map(|field| series[field].as_array()).flatten();
    std::iter::once(format!("{} =>", labels(&series["metric"]))).chain(points.map(point)).collect()
}

/// `value @[time]`.
fn point(point: &Value) -> String {
    let value = match &point[1] {
        Value::String(value) => value.clone(),
        other => other.to_string(),
    };
    format!("{value} @[{}]", point[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_written_as_promtool_writes_them() {
        let data = serde_json::json!({"resultType": "matrix", "result": [
            {"metric": {"__name__": "up", "job": "a"}, "values": [[1.5, "1"], [2, "0"]]},
        ]});
        assert_eq!(lines(&data), ["up{job=\"a\"} =>", "1 @[1.5]", "0 @[2]"]);
        let data = serde_json::json!({"resultType": "vector", "result": [{"metric": {}, "value": [3, "NaN"]}]});
        assert_eq!(lines(&data), ["{} => NaN @[3]"]);
        assert_eq!(lines(&serde_json::json!(["a", "b"])), ["a", "b"]);
        assert_eq!(lines(&serde_json::json!([{"__name__": "up"}])), ["up"]);
    }

    #[test]
    fn odd_label_names_are_escaped_for_the_path() {
        assert_eq!(escaped("service.name_x"), "U__service_2e_name__x");
        assert_eq!(escaped("__name__"), "__name__");
    }

    #[test]
    fn a_range_without_times_is_the_last_hour() {
        let (clock, _) = Clock::simulated(10_000_000);
        let query = |url: Option<&str>, words: &[&str]| {
            let server = Server { url: url.map(str::to_owned), format: Format::Promql };
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            Query::Range { server, words, start: None, end: None, step: None }.asked(&clock)
        };
        let asked = query(None, &["h", "up"]).unwrap();
        let texts: Vec<_> = asked.parameters.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["up", "6400", "10000", "15"]);
        let by_flag = query(Some("h"), &["up"]).unwrap();
        assert_eq!((by_flag.url.as_str(), &by_flag.parameters), ("h", &asked.parameters));
        assert!(query(Some("h"), &["h", "up"]).is_err() && query(None, &["up"]).is_err());
    }
}
