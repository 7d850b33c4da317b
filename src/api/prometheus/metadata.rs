//! `series`, `labels`, `label/<name>/values`, `metadata`: what there is.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use serde::ser::SerializeMap as _;

use crate::api::prometheus::Prometheus;
use crate::api::prometheus::answer::{self, Notes};
use crate::api::prometheus::asked::Asked;
use crate::api::prometheus::form::{Form, parse_int};
use crate::metrics::{MetadataRow, Store};
use crate::model::json_text::push_labels;
use crate::model::matcher::Matcher;
use crate::model::metadata::Metadata;
use crate::query::active::{Asker, Question};
use crate::query::{Job, Lane, QueryKind, quick};
use crate::server::error::{Failure, Kind};

/// What the three listings share.
#[derive(Clone, Debug)]
struct Listed {
    sets: Vec<Vec<Matcher>>,
    start: i64,
    end: i64,
    /// 0: no limit.
    limit: usize,
}

impl Prometheus {
    /// Runs a look-up of the store in turn with other queries.
    async fn look_up<T, W>(
        &self,
        (kind, lane): (QueryKind, Lane),
        asked: (&Form, Asker),
        (start, end): (i64, i64),
        work: W,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: FnOnce(&Store) -> T + Send + 'static,
    {
        let (form, asker) = asked;
        let query = form.all("match[]").collect::<Vec<_>>().join(" or ");
        let question = Question { query, start, end, step: 0 };
        let job = Job { kind, question, asker, timeout: None, lane };
        let store = Arc::clone(&self.store);
        Ok(self.queries.run(job, move |_| Ok(work(&store))).await?)
    }
}

/// Label sets that match.
pub async fn series(State(api): State<Arc<Prometheus>>, asked: Asked) -> Result<Response, Failure> {
    let Asked { form, asker } = asked;
    if form.all("match[]").next().is_none() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let limit = form.limit()?.unwrap_or(0);
    let (start, end) = form.window()?;
    let sets = form.matchers().map_err(|error| Failure::parameter("match[]", error))?;
    let lane = quick::lane_of_series(&api.store, &sets, (start, end));
    let listing = api
        .look_up((QueryKind::Series, lane), (&form, asker), (start, end), move |store| {
            store.series(&sets, start, end, limit)
        })
        .await?;
    let mut data = Vec::with_capacity(listing.items.len() * 128);
    data.push(b'[');
    for (at, labels) in listing.items.iter().enumerate() {
        if at > 0 {
            data.push(b',');
        }
        push_labels(&mut data, labels);
    }
    data.push(b']');
    Ok(answer::raw(&data, &Notes::truncated(listing.truncated)))
}

/// Label names.
pub async fn label_names(State(api): State<Arc<Prometheus>>, asked: Asked) -> Result<Response, Failure> {
    let Asked { form, asker } = asked;
    let Listed { sets, start, end, limit } = listed(&form)?;
    let lane = quick::lane_of_labels(&api.store, None, &sets, (start, end));
    let listing = api
        .look_up((QueryKind::Labels, lane), (&form, asker), (start, end), move |store| {
            store.label_names(&sets, start, end, limit)
        })
        .await?;
    Ok(answer::success(&listing.items, &Notes::truncated(listing.truncated)))
}

/// Values of one label. Names beyond the classic characters come escaped, as `U__service_2e_name`.
pub async fn label_values(
    State(api): State<Arc<Prometheus>>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Response, Failure> {
    let Asked { form, asker } = asked;
    let name = unescape(&name);
    if name.is_empty() {
        return Err(Failure::new(Kind::NotFound, "there is no label without a name"));
    }
    let Listed { sets, start, end, limit } = listed(&form)?;
    let lane = quick::lane_of_labels(&api.store, Some(&name), &sets, (start, end));
    let listing = api
        .look_up((QueryKind::Labels, lane), (&form, asker), (start, end), move |store| {
            store.label_values(&name, &sets, (start, end), limit)
        })
        .await?;
    Ok(answer::success(&listing.items, &Notes::truncated(listing.truncated)))
}

fn listed(form: &Form) -> Result<Listed, Failure> {
    let limit = form.limit()?.unwrap_or(0);
    let (start, end) = form.window()?;
    let sets = form.matchers().map_err(Failure::bad_data)?;
    Ok(Listed { sets, start, end, limit })
}

/// Undoes the escaping of names: `_XX_` is a code point in hexadecimal, `__` an underscore. A name that is not
/// escaped, or wrongly, stays as it is.
fn unescape(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut text = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        let (plain, after) = rest.split_at(at);
        text.push_str(plain);
        let after = &after[1..];
        if let Some(after) = after.strip_prefix('_') {
            text.push('_');
            rest = after;
            continue;
        }
        let code = after.split_once('_').filter(|(digits, _)| (1..=6).contains(&digits.len()));
        let decoded =
            code.and_then(|(digits, after)| Some((char::from_u32(u32::from_str_radix(digits, 16).ok()?)?, after)));
        let Some((character, after)) = decoded else { return name.to_owned() };
        text.push(character);
        rest = after;
    }
    text.push_str(rest);
    text
}

/// Type, unit and help of metric families.
pub async fn metadata(State(api): State<Arc<Prometheus>>, asked: Asked) -> Result<Response, Failure> {
    let Asked { form, .. } = asked;
    let limit = count(&form, "limit")?;
    let per_metric = count(&form, "limit_per_metric")?;
    if limit == Some(0) {
        return Ok(answer::raw(b"{}", &Notes::default()));
    }
    let family = Some(form.get("metric")).filter(|family| !family.is_empty());
    let rows = api.store.metadata(family, limit.unwrap_or(0), per_metric.unwrap_or(0));
    Ok(answer::success(&Families(&rows), &Notes::default()))
}

/// A count; negative means no limit, as absence does.
fn count(form: &Form, name: &str) -> Result<Option<usize>, Failure> {
    match form.get(name) {
        "" => Ok(None),
        text => parse_int(text)
            .map(|count| usize::try_from(count).ok())
            .map_err(|_| Failure::bad_data(format!("{name} must be a number"))),
    }
}

struct Families<'a>(&'a [MetadataRow]);

impl Serialize for Families<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Entry<'a> {
            r#type: &'static str,
            unit: &'a str,
            help: &'a str,
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for row in self.0 {
            let entry = |metadata: &Metadata| (metadata.kind.name(), metadata.unit.clone(), metadata.help.clone());
            let texts: Vec<_> = row.metadata.iter().map(entry).collect();
            let entries: Vec<_> = texts.iter().map(|(kind, unit, help)| Entry { r#type: kind, unit, help }).collect();
            map.serialize_entry(&row.family, &entries)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read_and_wrong_ones_left_alone() {
        assert_eq!(unescape("U__service_2e_name"), "service.name");
        assert_eq!(unescape("U__a__b_1f600_"), "a_b😀");
        assert_eq!(unescape("service_name"), "service_name");
        assert_eq!(unescape("U__bad_zz_"), "U__bad_zz_");
        assert_eq!(unescape("U__open_2e"), "U__open_2e");
        assert_eq!(unescape("U__surrogate_d800_"), "U__surrogate_d800_");
    }
}
