//! `novascope cardinality URL`: where the series of a running server come from, what comes and goes, what nobody asks for.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::cli::server::{Place, Remote, form};
use crate::cli::{complain, say};

#[derive(Debug, Args)]
pub(super) struct Cardinality {
    #[command(flatten)]
    at: Place,
    /// Only these series; several are joined by "or".
    #[arg(long = "match", value_name = "SELECTOR")]
    matches: Vec<String>,
    /// Series with samples on this day (UTC), also those that are in blocks only.
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<String>,
    /// Count the values of this label.
    #[arg(long, value_name = "LABEL")]
    focus: Option<String>,
    /// Entries of each list.
    #[arg(long, default_value_t = 10)]
    top: usize,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

impl Cardinality {
    pub(super) fn run(self) -> ExitCode {
        match self.ask() {
            Ok(data) if self.json => say(&data.to_string()),
            Ok(data) => lines(&data).iter().for_each(|line| say(line)),
            Err(error) => {
                complain(&error);
                return ExitCode::FAILURE;
            }
        }
        ExitCode::SUCCESS
    }

    fn ask(&self) -> Result<Value, String> {
        let top = self.top.to_string();
        let mut parameters = vec![("limit", top.as_str())];
        parameters.extend(self.matches.iter().map(|selector| ("match[]", selector.as_str())));
        parameters.extend(self.date.iter().map(|date| ("date", date.as_str())));
        parameters.extend(self.focus.iter().map(|label| ("focusLabel", label.as_str())));
        let mut body = Vec::new();
        Remote::new(self.at.url())?.post(form("/api/v1/status/cardinality", &parameters), &mut body)?;
        let answer: Value = serde_json::from_slice(&body).map_err(|error| format!("{}: {error}", self.at.url()))?;
        Ok(answer["data"].clone())
    }
}

/// The lists as tables.
fn lines(data: &Value) -> Vec<String> {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let mut lines = vec![format!(
        "{} series, {} pairs of label and value",
        number(&data["totalSeries"]),
        number(&data["totalLabelValuePairs"])
    )];
    for (time, name) in [("hour", "lastHour"), ("day", "lastDay")] {
        let flux = &data["churn"][name];
        let (created, removed) = (number(&flux["created"]), number(&flux["removed"]));
        lines.push(format!("last {time}: {created} series came into memory, {removed} left it"));
    }
    for (field, title) in [
        ("seriesCountByMetricName", "metric"),
        ("seriesCountBySender", "sender"),
        ("seriesCountByFocusLabelValue", "value"),
        ("seriesCountByLabelValuePair", "pair"),
        ("seriesCountByLabelName", "label"),
        ("labelValueCountByLabelName", "values of label"),
    ] {
        table(&mut lines, title, &data[field]);
    }
    table(&mut lines, "new series of metric", &data["churn"]["createdByMetricName"]);
    lines
}

fn table(lines: &mut Vec<String>, title: &str, list: &Value) {
    let entries = list.as_array().map_or(&[][..], Vec::as_slice);
    if entries.is_empty() {
        return;
    }
    let is_queried = entries.iter().any(|entry| entry["requestsCount"].is_u64());
    lines.push(format!("{:>12}  {title}{}", "series", if is_queried { " (queries, last query)" } else { "" }));
    for entry in entries {
        let value = entry["value"].as_u64().unwrap_or(0);
        let text = |field: &str| entry[field].as_str().unwrap_or("");
        let name = match entry["name"].as_str() {
            Some(name) => name.to_owned(),
            None => format!("job={:?} instance={:?}", text("job"), text("instance")),
        };
        let queried = match (entry["requestsCount"].as_u64(), entry["lastRequestTimestamp"].as_i64()) {
            (Some(0), _) => " (never)".to_owned(),
            (Some(count), Some(last)) => {
                let last =
                    jiff::Timestamp::from_second(last).map_or_else(|_| last.to_string(), |last| last.to_string());
                format!(" ({count}, {last})")
            }
            _ => String::new(),
        };
        lines.push(format!("{value:>12}  {name}{queried}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_tables() {
        let data = serde_json::json!({
            "totalSeries": 3,
            "totalLabelValuePairs": 4,
            "seriesCountByMetricName": [
                {"name": "up", "value": 2, "requestsCount": 5, "lastRequestTimestamp": 1_700_000_000},
                {"name": "idle", "value": 1, "requestsCount": 0, "lastRequestTimestamp": 0},
            ],
            "seriesCountBySender": [{"job": "a", "instance": "b:1", "value": 3}],
            "churn": {"lastHour": {"created": 3, "removed": 0}, "lastDay": {"created": 9, "removed": 6}},
        });
        let expect = expect_test::expect![[r#"
            3 series, 4 pairs of label and value
            last hour: 3 series came into memory, 0 left it
            last day: 9 series came into memory, 6 left it
                  series  metric (queries, last query)
                       2  up (5, 2023-11-14T22:13:20Z)
                       1  idle (never)
                  series  sender
                       3  job="a" instance="b:1"
        "#]];
        expect.assert_eq(&(lines(&data).join("\n") + "\n"));
    }
}
