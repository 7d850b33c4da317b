//! `rules`, `alerts`, `alertmanagers`.
//!
//! There are no rules yet: the lists are empty, their shapes and the checks of parameters are Prometheus'.

use axum::response::Response;
use serde_json::json;

use crate::api::prometheus::answer::{self, Notes};
use crate::api::prometheus::form::Form;
use crate::server::error::Failure;

/// Rule groups.
pub async fn rules(form: Form) -> Result<Response, Failure> {
    form.matchers().map_err(Failure::bad_data)?;
    let kind = form.get_of_url("type").to_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        return Err(Failure::parameter("type", format!("not supported value {kind:?}")));
    }
    check_exclude_alerts(form.get_of_url("exclude_alerts"))?;
    check_pages(form.get_of_url("group_limit"), form.get_of_url("group_next_token"))?;
    Ok(answer::success(&json!({"groups": []}), &Notes::default()))
}

fn check_exclude_alerts(text: &str) -> Result<(), Failure> {
    // Go's `strconv.ParseBool`, which takes lower case after `strings.ToLower`.
    match text.to_lowercase().as_str() {
        "" | "1" | "t" | "true" | "0" | "f" | "false" => Ok(()),
        other => Err(Failure::parameter(
            "exclude_alerts",
            format!("error converting exclude_alerts: strconv.ParseBool: parsing {other:?}: invalid syntax"),
        )),
    }
}

fn check_pages(limit: &str, token: &str) -> Result<(), Failure> {
    if limit.is_empty() {
        return if token.is_empty() {
            Ok(())
        } else {
            let why = "group_limit needs to be present in order to paginate over the groups";
            Err(Failure::parameter("group_next_token", why))
        };
    }
    match limit.parse::<i32>() {
        Err(_) => {
            let why =
                format!("group_limit needs to be a valid number: strconv.ParseInt: parsing {limit:?}: invalid syntax");
            Err(Failure::parameter("group_limit", why))
        }
        Ok(limit) if limit <= 0 => Err(Failure::parameter("group_limit", "group_limit needs to be greater than 0")),
        Ok(_) if !token.is_empty() => Err(Failure::parameter(
            "group_next_token",
            format!("invalid group_next_token '{token}'. were rule groups changed?"),
        )),
        Ok(_) => Ok(()),
    }
}

/// Alerts that are pending or firing.
pub async fn alerts() -> Response {
    answer::success(&json!({"alerts": []}), &Notes::default())
}

/// Alertmanagers that alerts are sent to.
pub async fn alertmanagers() -> Response {
    answer::success(&json!({"activeAlertmanagers": [], "droppedAlertmanagers": []}), &Notes::default())
}
