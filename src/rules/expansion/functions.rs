//! The functions of Prometheus' rule templates.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::clock::Millis;
use crate::notify::template::Time;
use crate::promql::ast::Expr;
use crate::promql::duration;
use crate::promql::parse::parse;
use crate::rules::expansion::{Surroundings, sample};
use crate::rules::seam::{Backend, RuleSample};
use crate::template::strings::{count, one};
use crate::template::{Function, Functions, Value, humanize, strings};

/// Stands where templates are only checked.
pub(super) struct NoBackend;

impl Backend for NoBackend {
    fn query(&self, _text: &str, _expr: &Expr, _time: Millis) -> Result<Vec<RuleSample>, String> {
        Ok(Vec::new())
    }

    fn append(&self, batches: &[Vec<RuleSample>]) -> Vec<Result<(), String>> {
        vec![Ok(()); batches.len()]
    }
}

/// Every function by name. `time` is that of the evaluation: `query` asks for it and `now` gives it.
pub(super) fn all(backend: &Arc<dyn Backend>, surroundings: &Surroundings, time: Millis) -> Functions {
    let mut functions = strings::functions();
    functions.extend(humanize::functions());
    functions.extend(results(backend, time));
    functions.extend(hosts(surroundings));
    functions.extend(times(time));
    functions
}

/// Queries, and what takes their results apart.
fn results(backend: &Arc<dyn Backend>, time: Millis) -> Functions {
    let mut functions = Functions::new();
    let mut add = |name, function: Function| functions.insert(name, function);
    let backend = Arc::clone(backend);
    add(
        "query",
        Arc::new(move |args| {
            let text = one(args)?;
            let expr = parse(&text).map_err(|error| error.to_string())?;
            Ok(sample::list(&backend.query(&text, &expr, time)?))
        }),
    );
    add(
        "first",
        Arc::new(|args| match args {
            [list] => {
                let first = list.items()?.into_iter().next();
                first.map(|(_, element)| element).ok_or_else(|| "first() called on vector with no elements".to_owned())
            }
            _ => Err(count(1, args)),
        }),
    );
    add(
        "label",
        Arc::new(|args| match args {
            [name, element] => sample::label(element, &name.text()),
            _ => Err(count(2, args)),
        }),
    );
    add(
        "value",
        Arc::new(|args| match args {
            [element] => element.get("Value", &[]),
            _ => Err(count(1, args)),
        }),
    );
    add(
        "strvalue",
        Arc::new(|args| match args {
            [element] => sample::label(element, "__value__"),
            _ => Err(count(1, args)),
        }),
    );
    add(
        "sortByLabel",
        Arc::new(|args| match args {
            [name, list] => sample::sorted(list, &name.text()),
            _ => Err(count(2, args)),
        }),
    );
    // The walk over the template does it, because only it knows the templates; this is for calls it does not take.
    add("tmpl", Arc::new(|args| Err(count(2, args))));
    add(
        "args",
        Arc::new(|args| {
            let named = args.iter().enumerate().map(|(at, arg)| (Arc::from(format!("arg{at}")), arg.clone()));
            Ok(Value::Map(Arc::new(named.collect::<BTreeMap<Arc<str>, Value>>())))
        }),
    );
    functions
}

/// Hosts, links and addresses.
fn hosts(surroundings: &Surroundings) -> Functions {
    let mut functions = Functions::new();
    let mut add = |name, function: Function| functions.insert(name, function);
    add("stripPort", Arc::new(|args| one(args).map(|text| Value::from(strip_port(&text)))));
    add("stripDomain", Arc::new(|args| one(args).map(|text| Value::from(strip_domain(&text)))));
    let link = |tab: u8| -> Function {
        Arc::new(move |args| {
            let expr = gotmpl::url_encode(&one(args)?);
            Ok(Value::from(format!("/graph?g0.expr={expr}&g0.tab={tab}")))
        })
    };
    add("graphLink", link(0));
    add("tableLink", link(1));
    add("urlQueryEscape", Arc::new(|args| one(args).map(|text| Value::from(gotmpl::url_encode(&text)))));
    let url = surroundings.external_url.clone();
    let behind_host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let path = behind_host.find('/').and_then(|at| behind_host.get(at..)).unwrap_or("").to_owned();
    add("pathPrefix", Arc::new(move |_| Ok(Value::from(path.as_str()))));
    add("externalURL", Arc::new(move |_| Ok(Value::from(url.as_str()))));
    functions
}

fn times(time: Millis) -> Functions {
    let mut functions = Functions::new();
    let mut add = |name, function: Function| functions.insert(name, function);
    #[expect(clippy::cast_precision_loss, reason = "templates have seconds as floats")]
    add("now", Arc::new(move |_| Ok(Value::Float(time as f64 / 1000.0))));
    add(
        "humanizeTimestamp",
        Arc::new(|args| match args {
            [value] => {
                let secs = value.to_number()?;
                if secs.is_finite() { to_time(secs).map(|time| Value::from(time.text())) } else { Ok(value.clone()) }
            }
            _ => Err(count(1, args)),
        }),
    );
    add(
        "toTime",
        Arc::new(|args| match args {
            [value] => to_time(value.to_number()?),
            _ => Err(count(1, args)),
        }),
    );
    add(
        "toDuration",
        Arc::new(|args| match args {
            [value] => Ok(Value::Object(Arc::new(sample::Duration(value.to_number()?)))),
            _ => Err(count(1, args)),
        }),
    );
    add(
        "parseDuration",
        Arc::new(|args| {
            let text = one(args)?;
            let (sign, positive) = text.strip_prefix('-').map_or((1.0, text.as_str()), |rest| (-1.0, rest));
            #[expect(clippy::cast_precision_loss, reason = "templates have seconds as floats")]
            duration::parse(positive).map(|millis| Value::Float(sign * millis as f64 / 1000.0))
        }),
    );
    functions
}

fn to_time(secs: f64) -> Result<Value, String> {
    if !secs.is_finite() {
        return Err("value is NaN or Inf".to_owned());
    }
    let nanos = secs * 1e9;
    /// 2^63.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if nanos.abs() > LIMIT {
        let secs = Value::Float(secs).text();
        return Err(format!("{secs} cannot be represented as a nanoseconds timestamp since it overflows int64"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    Ok(Value::Object(Arc::new(Time::utc((nanos as i64).div_euclid(1_000_000)))))
}

/// Host and port of `host:port` or `[::1]:port`; `None` where there is no port.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match inner {
        Some(host) => Some((host, port)),
        None if host.contains([':', '[', ']']) => None,
        None => Some((host, port)),
    }
}

fn strip_port(text: &str) -> String {
    split_port(text).map_or(text, |(host, _)| host).to_owned()
}

fn strip_domain(text: &str) -> String {
    let (host, port) = split_port(text).unwrap_or((text, ""));
    if host.parse::<IpAddr>().is_ok() {
        return text.to_owned();
    }
    let short = host.split('.').next().unwrap_or(host);
    if port.is_empty() { short.to_owned() } else { format!("{short}:{port}") }
}
