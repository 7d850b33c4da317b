//! Jira: an issue for each group, found again by a label.

use serde_json::{Value, json};

use super::{Compose, ComposeError, Request, first, join};
use crate::base::units::Period;
use crate::notify::config::receivers::settings::Jira as Config;

/// What is done: search first, then create, update, reopen or resolve.
#[derive(Clone, Debug, PartialEq)]
pub struct Jira {
    /// Finds the issue of the group.
    pub search: Request,
    /// Makes a new issue.
    pub create: Request,
    /// Changes a found issue; `{issue}` in the URL stands for its key.
    pub update: Request,
    /// Lists the transitions of a found issue.
    pub transitions: Request,
    /// The name of the transition to apply to a found issue, if any.
    pub transition: Option<String>,
    pub is_firing: bool,
}

impl Compose<'_> {
    pub(super) fn jira(&self, config: &Config) -> Result<Jira, ComposeError> {
        let base = first(&config.api_url, &self.global.jira_api_url);
        let is_cloud = match config.api_type.as_str() {
            "cloud" => true,
            "auto" => base.contains("atlassian.net"),
            _ => false,
        };
        let label = format!("ALERT{{{}}}", self.key_hash());
        let project = self.text(&config.project)?;
        let is_firing = self.is_firing();
        let query = jql(config, &project, &label, is_firing);
        let search_path = if is_cloud { "search/jql" } else { "search" };
        let fields = self.jira_fields(config, &project, &label)?;
        let transition = if is_firing { &config.reopen_transition } else { &config.resolve_transition };
        let update = Request::json(join(base, "issue/{issue}"), &json!({"fields": fields}));
        let get = Request { method: "GET", ..Request::json(join(base, "issue/{issue}/transitions"), &Value::Null) };
        Ok(Jira {
            search: Request::json(
                join(base, search_path),
                &json!({"jql": query, "maxResults": 2, "fields": ["status"]}),
            ),
            create: Request::json(join(base, "issue"), &json!({"fields": fields})),
            update: Request { method: "PUT", ..update },
            transitions: Request { body: Vec::new(), ..get },
            transition: (!transition.is_empty()).then(|| transition.clone()),
            is_firing,
        })
    }

    fn jira_fields(&self, config: &Config, project: &str, label: &str) -> Result<Value, ComposeError> {
        let template = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other["template"].as_str().unwrap_or("").to_owned(),
        };
        let mut labels = vec![label.to_owned()];
        for template in &config.labels {
            labels.push(self.text(template)?);
        }
        labels.sort();
        let mut fields = json!({
            "project": {"key": project},
            "issuetype": {"name": self.text(&config.issue_type)?},
            "summary": self.text_within(&template(&config.summary), 255)?,
            "description": self.text_within(&template(&config.description), 32_767)?,
            "labels": labels,
        });
        let priority = self.text(&config.priority)?;
        if !priority.is_empty() {
            fields["priority"] = json!({"name": priority});
        }
        for (name, value) in &config.fields {
            fields[name] = self.set.expand_json(value, &self.data)?;
        }
        Ok(fields)
    }
}

/// Looks for the issue among those that may still be reopened, or that are still open.
fn jql(config: &Config, project: &str, label: &str, is_firing: bool) -> String {
    let mut query = String::new();
    if !config.wont_fix_resolution.is_empty() {
        query.push_str(&format!("(resolution is EMPTY or resolution != {:?}) and ", config.wont_fix_resolution));
    }
    // While it fires, an issue that was resolved a short while ago counts; else only open ones do.
    let minutes = config.reopen_duration.map_or(0, |period: Period| period.as_duration().as_secs() / 60);
    if is_firing && !config.reopen_transition.is_empty() {
        if minutes > 0 {
            query.push_str(&format!("(resolutiondate is EMPTY OR resolutiondate >= -{minutes}m) and "));
        }
    } else {
        query.push_str("statusCategory != Done and ");
    }
    query.push_str(&format!("project={project:?} and labels={label:?} order by status ASC,resolutiondate DESC"));
    query
}
