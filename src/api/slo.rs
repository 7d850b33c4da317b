//! Objectives: `/api/v1/slos` lists how they stand, `/api/v1/slos/report` is the same for audit.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde_json::Value;

use crate::api::prometheus::answer::{self, Notes};
use crate::api::prometheus::asked::Asked;
use crate::base::clock::Millis;
use crate::model::matcher::Matcher;
use crate::query::active::Question as Asking;
use crate::query::error::QueryError;
use crate::query::{Job, Lane, Queries, QueryKind};
use crate::server::error::Failure;
use crate::slo::engine::Engine;
use crate::slo::objective::Objective;
use crate::slo::report;
use crate::slo::status::Question;

/// What the handlers answer from.
#[derive(Clone, Debug)]
pub struct Slo {
    pub engine: Engine,
    pub queries: Queries,
}

pub fn routes(api: Slo) -> Router {
    Router::new()
        .route("/api/v1/slos", get(list).post(list))
        .route("/api/v1/slos/report", get(report))
        .with_state(Arc::new(api))
}

/// Which objectives are asked for.
struct Filter {
    names: Vec<String>,
    services: Vec<String>,
    windows: Vec<String>,
    matchers: Vec<Vec<Matcher>>,
}

impl Filter {
    fn wants(&self, objective: &Objective) -> bool {
        let allows = |set: &[String], text: &str| set.is_empty() || set.iter().any(|one| one == text);
        let windows = &self.windows;
        let window = windows.is_empty() || objective.windows.iter().any(|window| allows(windows, &window.to_string()));
        allows(&self.names, &objective.name) && allows(&self.services, &objective.service) && window
    }

    /// Labels of a row, which may be those of a group.
    fn takes(&self, row: &Value) -> bool {
        let value = |name: &str| match name {
            "__name__" => "",
            "slo" => row["name"].as_str().unwrap_or_default(),
            "service" => row["service"].as_str().unwrap_or_default(),
            name => row["labels"][name].as_str().unwrap_or_default(),
        };
        let all = |set: &Vec<Matcher>| set.iter().all(|matcher| matcher.matches(value(&matcher.name)));
        let window = self.windows.is_empty() || self.windows.iter().any(|window| row["window"] == **window);
        window && (self.matchers.is_empty() || self.matchers.iter().any(all))
    }
}

/// The rows that a request asks for, and the time that they are of.
async fn rows(api: &Slo, asked: Asked, with_incidents: bool) -> Result<(Vec<Value>, Notes, Millis), Failure> {
    let form = &asked.form;
    let time = form.time_or("time", api.engine.now())?;
    let all = |name: &str| form.all(name).filter(|text| !text.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let filter = Filter {
        names: all("name"),
        services: all("service"),
        windows: all("window"),
        matchers: form.matchers().map_err(Failure::bad_data)?,
    };
    let job = Job {
        kind: QueryKind::Objectives,
        question: Asking { query: "objectives".to_owned(), start: time, end: time, step: 0 },
        asker: asked.asker,
        timeout: None,
        lane: Lane::Seat,
    };
    let engine = api.engine.clone();
    let (rows, notes) = api
        .queries
        .run(job, move |_| Ok::<_, QueryError>(evaluate(&engine, &filter, Question { time, with_incidents })))
        .await?;
    Ok((rows, notes, time))
}

fn evaluate(engine: &Engine, filter: &Filter, question: Question) -> (Vec<Value>, Notes) {
    let (mut rows, mut notes) = (Vec::new(), Notes::default());
    for (objective, found) in engine.statuses(question, |objective| filter.wants(objective)) {
        match found {
            Ok(statuses) => {
                rows.extend(statuses.iter().map(|status| report::row(&objective, status, question.with_incidents)));
            }
            Err(error) => {
                notes.warnings.push(format!("{}: {error}", objective.id()));
                rows.push(report::failed(&objective, &error));
            }
        }
    }
    rows.retain(|row| filter.takes(row));
    (rows, notes)
}

/// One row for each window and group of each objective.
async fn list(State(api): State<Arc<Slo>>, asked: Asked) -> Result<Response, Failure> {
    let with_incidents = matches!(asked.form.get("incidents"), "1" | "true");
    let (rows, notes, _) = rows(&api, asked, with_incidents).await?;
    Ok(answer::success(&rows, &notes))
}

/// The rows with incidents, as JSON, CSV or a page.
async fn report(State(api): State<Arc<Slo>>, asked: Asked) -> Result<Response, Failure> {
    let format = asked.form.get("format").to_owned();
    if !matches!(format.as_str(), "" | "html" | "csv" | "json") {
        return Err(Failure::parameter("format", format!("unknown format {format:?}: html, csv or json")));
    }
    let (rows, notes, time) = rows(&api, asked, true).await?;
    let policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
    Ok(match format.as_str() {
        "json" => answer::success(&rows, &notes),
        "csv" => ([(CONTENT_TYPE, "text/csv; charset=utf-8")], report::csv(&rows)).into_response(),
        _ => {
            let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, policy)];
            (headers, report::html(&rows, time)).into_response()
        }
    })
}
