//! How objectives stand, as rows of JSON, as CSV, and as a page for people who audit.

use serde_json::{Map, Value, json};

use crate::base::clock::Millis;
use crate::base::units::Period;
use crate::model::labels::Labels;
use crate::slo::objective::Objective;
use crate::slo::status::Status;
use crate::slo::window::{days, rfc3339};
use crate::ui::html::{document, escape, section, table};

/// Columns of the CSV, which are fields of rows.
const COLUMNS: [&str; 17] = [
    "name",
    "service",
    "labels",
    "objective",
    "window",
    "window_start",
    "window_end",
    "sli",
    "good",
    "bad",
    "total",
    "error_budget_remaining",
    "error_budget_consumed",
    "error_budget_minutes",
    "excluded_minutes",
    "incidents",
    "status",
];

/// One window and group of an objective. Field names are those of the API; see docs/slo.md.
pub fn row(objective: &Objective, status: &Status, with_incidents: bool) -> Value {
    let map = |labels: &Labels| labels.iter().map(|(n, v)| (n.to_owned(), json!(v))).collect::<Map<_, _>>();
    let mut labels: Map<String, Value> = objective.labels.iter().map(|(n, v)| (n.clone(), json!(v))).collect();
    labels.extend(map(&status.group));
    let rates = status.burn_rates.iter().map(|(window, rate)| (days(Period::from_millis(*window)), json!(rate)));
    let remaining = status.remaining();
    let mut row = json!({
        "name": objective.name,
        "service": objective.service,
        "description": objective.description,
        "labels": labels,
        "objective": status.target,
        "window": status.window.to_string(),
        "sli": status.sli(),
        "error_budget_remaining": remaining,
        "good": status.tally.good,
        "total": status.tally.total,
        "burn_rates": rates.collect::<Map<_, _>>(),
        "excluded_minutes": minutes(status.excluded_millis),
        "bad": status.tally.bad(),
        "error_budget": 1.0 - status.target,
        "error_budget_consumed": 1.0 - remaining,
        "error_budget_minutes": status.budget_minutes(),
        "time_to_exhaustion_seconds": status.exhaustion_secs(),
        "status": status.word(),
        "type": objective.kind,
        "group": map(&status.group),
        "window_start": rfc3339(status.from),
        "window_end": rfc3339(status.to),
        "period_end": rfc3339(status.end),
        "excluded": excluded(status),
        "form": objective.dialect.name(),
        "file": objective.file,
        "notes": objective.notes,
    });
    if with_incidents {
        row["incidents"] = incidents(status);
    }
    row
}

/// A row for an objective that could not be counted.
pub fn failed(objective: &Objective, error: &str) -> Value {
    json!({
        "name": objective.name,
        "service": objective.service,
        "labels": objective.labels,
        "objective": objective.target,
        "window": objective.windows.first().map(ToString::to_string),
        "sli": null,
        "status": "error",
        "error": error,
        "file": objective.file,
    })
}

fn minutes(millis: Millis) -> f64 {
    millis as f64 / 60_000.0
}

fn excluded(status: &Status) -> Value {
    let one = |part: &crate::model::calendar::Excluded| json!({"name": part.name, "start": rfc3339(part.start), "end": rfc3339(part.end), "minutes": minutes(part.end - part.start)});
    Value::Array(status.excluded.iter().map(one).collect())
}

fn incidents(status: &Status) -> Value {
    let one = |incident: &crate::slo::status::Incident| {
        json!({
            "start": rfc3339(incident.start),
            "end": rfc3339(incident.end),
            "minutes": minutes(incident.end - incident.start),
            "bad": incident.bad,
            "error_budget_share": incident.share,
        })
    };
    Value::Array(status.incidents.iter().map(one).collect())
}

/// One line for each row, RFC 4180.
pub fn csv(rows: &[Value]) -> String {
    let mut out = COLUMNS.join(",") + "\r\n";
    for row in rows {
        let cells: Vec<String> = COLUMNS.iter().map(|column| quoted(&cell(row, column))).collect();
        out.push_str(&cells.join(","));
        out.push_str("\r\n");
    }
    out
}

fn cell(row: &Value, column: &str) -> String {
    match &row[column] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(all) => all.len().to_string(),
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(n, v)| format!("{n}={}", v.as_str().unwrap_or_default())).collect();
            pairs.join(";")
        }
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    // What a spreadsheet would take for a formula is text.
    let is_number = text.parse::<f64>().is_ok();
    let text = if !is_number && text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// A page.
pub fn html(rows: &[Value], made_at: Millis) -> String {
    let number = |row: &Value, field: &str, scale: f64, digits: usize| {
        row[field].as_f64().map_or("–".to_owned(), |value| format!("{:.digits$}", value * scale))
    };
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let met = rows.iter().filter(|row| row["error_budget_remaining"].as_f64().is_some_and(|left| left >= 0.0)).count();
    let summary: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                title(row),
                text(row, "window"),
                number(row, "objective", 100.0, 3),
                number(row, "sli", 100.0, 5),
                number(row, "error_budget_remaining", 100.0, 2),
                number(row, "bad", 1.0, 0),
                number(row, "total", 1.0, 0),
                number(row, "error_budget_minutes", 1.0, 1),
                number(row, "excluded_minutes", 1.0, 1),
                row["incidents"].as_array().map_or(0, Vec::len).to_string(),
                text(row, "status"),
            ]
        })
        .collect();
    let columns = [
        "objective",
        "window",
        "promised %",
        "achieved %",
        "budget left %",
        "bad events",
        "all events",
        "budget, minutes",
        "excluded, minutes",
        "incidents",
        "status",
    ];
    let kept = format!("{met} of {} kept", rows.len());
    let mut body = section("Objectives", &table(&kept, &columns, &summary));
    let part = |row: &Value, one: &Value| {
        let minutes = one["minutes"].as_f64().unwrap_or(0.0);
        vec![title(row), text(one, "name"), text(one, "start"), text(one, "end"), format!("{minutes:.1}")]
    };
    let parts = |field: &'static str| {
        rows.iter().flat_map(move |row| row[field].as_array().into_iter().flatten().map(move |one| (row, one)))
    };
    let excluded: Vec<Vec<String>> = parts("excluded").map(|(row, one)| part(row, one)).collect();
    body.push_str(&section(
        "Excluded maintenance",
        &table("", &["objective", "name", "start", "end", "minutes"], &excluded),
    ));
    let incidents: Vec<Vec<String>> = parts("incidents")
        .map(|(row, one)| {
            let share = one["error_budget_share"].as_f64().unwrap_or(0.0) * 100.0;
            let bad = one["bad"].as_f64().unwrap_or(0.0);
            vec![title(row), text(one, "start"), text(one, "end"), format!("{bad:.0}"), format!("{share:.1}")]
        })
        .collect();
    let columns = ["objective", "start", "end", "bad events", "% of the budget"];
    body.push_str(&section("Incidents", &table("", &columns, &incidents)));
    document("Service levels", &format!("<p>{}</p>", escape(&rfc3339(made_at))), &body)
}

/// Service, name and group.
fn title(row: &Value) -> String {
    let name = row["name"].as_str().unwrap_or_default();
    let service = row["service"].as_str().filter(|service| !service.is_empty());
    let mut title = service.map_or(name.to_owned(), |service| format!("{service} / {name}"));
    let group = cell(row, "group");
    if !group.is_empty() {
        title.push_str(&format!(" ({group})"));
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_quotes_what_needs_it() {
        let row = json!({"name": "a,\"b\"", "labels": {"team": "x"}, "objective": 0.999, "sli": null, "service": "=1+1", "incidents": [1, 2]});
        let text = csv(&[row]);
        let line = text.lines().nth(1).unwrap();
        assert!(line.starts_with("\"a,\"\"b\"\"\",'=1+1,team=x,0.999,,,,,,,,,,,,2,"), "{line}");
    }

    #[test]
    fn a_page_lists_objectives_and_what_was_excluded() {
        let rows =
            [json!({"name": "<a>", "service": "s", "objective": 0.99, "sli": 0.995, "error_budget_remaining": 0.5,
            "excluded": [{"name": "disk", "start": "x", "end": "y", "minutes": 30.0}], "incidents": []})];
        let page = html(&rows, 0);
        assert!(page.contains("s / &lt;a&gt;") && page.contains("99.50000") && page.contains("disk"));
        assert!(page.contains("1 of 1 kept") && !page.contains("<a>"));
    }
}
