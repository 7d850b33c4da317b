//! What surrounds a data point: resource, scope and metric, translated once and remembered.

use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::config::Config;
use super::names::{NameError, NameKind, label_name, metric_name, unit_name};
use super::value::{append_text, attribute};
use crate::ingest::labels::LABELS_MAX;
use crate::ingest::recent::Recent;
use crate::metrics::{Appender, SeriesRef};
use crate::model::labels::{Labels, LabelsBuilder, METRIC_NAME};
use crate::model::metadata::{Metadata, MetricType};
use crate::proto::wire::{Reader, WireError};

/// The attributes of a point, resource or scope take no more bytes than this: as JSON they may grow sixfold.
const ATTRIBUTE_BYTES_MAX: usize = 1 << 20;

/// Why labels cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LabelsError {
    /// The request is broken.
    #[error(transparent)]
    Wire(WireError),
    /// This point is.
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("an attribute key or value is not valid UTF-8")]
    NotUtf8,
    #[error("more than {LABELS_MAX} attributes")]
    TooMany,
    #[error("attributes have more than {ATTRIBUTE_BYTES_MAX} bytes")]
    TooLong,
}

impl From<WireError> for LabelsError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::NotUtf8(_) => Self::NotUtf8,
            error => Self::Wire(error),
        }
    }
}

/// What requests on all cores share, as one request holds it: that counts its own uses, for one counter of all would
/// travel between the cores with every metric.
#[allow(clippy::redundant_allocation, reason = "the inner counter is shared, the outer one is not")]
pub(super) type Held<T> = Rc<Arc<T>>;

/// What requests learn for each other.
#[derive(Debug)]
pub(super) struct Caches {
    pub series: Recent<SeriesRef>,
    /// The series of one histogram or summary point, in the order in which they are appended.
    pub groups: Recent<Arc<[SeriesRef]>>,
    pub resources: Recent<Arc<Resource>>,
    pub scopes: Recent<Arc<Scope>>,
    pub families: Recent<Arc<Family>>,
}

impl Default for Caches {
    /// A million series in use at once; each costs about 40 bytes.
    fn default() -> Self {
        Self {
            series: Recent::new(1 << 20),
            groups: Recent::new(1 << 18),
            resources: Recent::new(1 << 14),
            scopes: Recent::new(1 << 12),
            families: Recent::new(1 << 16),
        }
    }
}

/// Labels that every series of a resource has.
#[derive(Debug)]
pub(super) struct Resource {
    pub id: u64,
    job: String,
    instance: String,
    promoted: Vec<(String, String)>,
    /// The labels of `target_info`; `None` where the resource gets none.
    pub target_info: Option<Labels>,
}

/// Labels that every series of a scope has.
#[derive(Debug)]
pub(super) struct Scope {
    pub id: u64,
    labels: Vec<(String, String)>,
}

/// A metric without its points.
#[derive(Debug)]
pub(super) struct Family {
    pub id: u64,
    pub name: Result<String, NameError>,
}

/// The kinds of OTLP metrics, by the number of their field in `Metric`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge = 5,
    Sum = 7,
    Histogram = 9,
    ExponentialHistogram = 10,
    Summary = 11,
}

/// A metric's own fields as they lie in the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heading<'a> {
    pub name: &'a [u8],
    pub description: &'a [u8],
    pub unit: &'a [u8],
    pub kind: Kind,
    pub is_monotonic: bool,
}

/// Attributes as they lie in a message: `KeyValue`s under one field number, the others skipped.
fn each_attribute(
    message: &[u8],
    number: u32,
    mut visit: impl FnMut(&str, &[u8]) -> Result<(), LabelsError>,
) -> Result<(), LabelsError> {
    if message.len() > ATTRIBUTE_BYTES_MAX {
        return Err(LabelsError::TooLong);
    }
    let mut count = 0;
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        if field.number == number {
            count += 1;
            if count > LABELS_MAX {
                return Err(LabelsError::TooMany);
            }
            let attribute = attribute(field.bytes()?)?;
            visit(attribute.key, attribute.value)?;
        }
    }
    Ok(())
}

/// Attributes by key, values as text.
fn texts(message: &[u8], number: u32) -> Result<Vec<(String, String)>, LabelsError> {
    let mut pairs = Vec::new();
    each_attribute(message, number, |key, value| {
        let mut text = String::new();
        append_text(value, &mut text)?;
        pairs.push((key.to_owned(), text));
        Ok(())
    })?;
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(pairs)
}

/// Adds attributes, which are in the order of their keys. Where escaping makes two keys equal, values are joined.
fn set_attributes(config: &Config, pairs: &[(String, String)], builder: &mut LabelsBuilder) -> Result<(), LabelsError> {
    for (key, value) in pairs {
        if key == METRIC_NAME {
            continue;
        }
        let name = label_name(config, key)?;
        match builder.get(&name) {
            Some(other) if config.translation_strategy.escapes() => {
                let joined = format!("{other};{value}");
                builder.set(&name, &joined);
            }
            _ => {
                builder.set(&name, value);
            }
        }
    }
    Ok(())
}

const SERVICE: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];

impl Resource {
    /// The resource of these bytes.
    pub(super) fn find(
        config: &Config,
        caches: &Caches,
        raw: &[u8],
        (seed, now_secs): (u64, u64),
    ) -> Result<Arc<Self>, LabelsError> {
        let key = xxh3_128_with_seed(raw, seed);
        if let Some(resource) = caches.resources.get(key, now_secs) {
            return Ok(resource);
        }
        let resource = Arc::new(Self::new(config, raw, key as u64)?);
        caches.resources.insert(key, Arc::clone(&resource), now_secs);
        Ok(resource)
    }

    fn new(config: &Config, raw: &[u8], id: u64) -> Result<Self, LabelsError> {
        let pairs = texts(raw, 1)?;
        let get = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let job = match (get("service.namespace"), get("service.name")) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (None, Some(name)) => name.to_owned(),
            _ => String::new(),
        };
        let instance = get("service.instance.id").unwrap_or_default().to_owned();
        let mut promoted = Vec::new();
        for (key, value) in pairs.iter().filter(|(key, _)| config.promotion.includes(key)) {
            promoted.push((label_name(config, key)?.into_owned(), value.clone()));
        }
        let mut resource = Self { id, job, instance, promoted, target_info: None };
        resource.target_info = resource.target_info(config, &pairs)?;
        Ok(resource)
    }

    fn target_info(&self, config: &Config, pairs: &[(String, String)]) -> Result<Option<Labels>, LabelsError> {
        let identifying = |key: &str| SERVICE.contains(&key);
        if pairs.iter().all(|(key, _)| identifying(key)) {
            return Ok(None);
        }
        let kept: Vec<(String, String)> = pairs
            .iter()
            .filter(|(key, _)| config.keep_identifying_resource_attributes || !identifying(key))
            .cloned()
            .collect();
        let mut builder = LabelsBuilder::default();
        set_attributes(config, &kept, &mut builder)?;
        self.set_identity(&mut builder);
        if builder.get("job").is_none() && builder.get("instance").is_none() {
            return Ok(None);
        }
        builder.set(METRIC_NAME, "target_info");
        Ok(Some(builder.build()))
    }

    fn set_identity(&self, builder: &mut LabelsBuilder) {
        for (name, value) in [("job", &self.job), ("instance", &self.instance)] {
            if !value.is_empty() {
                builder.set(name, value);
            }
        }
    }
}

impl Scope {
    /// The scope of these bytes, where scopes are promoted and this one has a name.
    pub(super) fn find(
        config: &Config,
        caches: &Caches,
        (raw, schema_url): (&[u8], &[u8]),
        (seed, now_secs): (u64, u64),
    ) -> Result<Option<Arc<Self>>, LabelsError> {
        if !config.promote_scope_metadata {
            return Ok(None);
        }
        let key = xxh3_128_with_seed(raw, xxh3_64_with_seed(schema_url, seed));
        if let Some(scope) = caches.scopes.get(key, now_secs) {
            return Ok((!scope.labels.is_empty()).then_some(scope));
        }
        let scope = Arc::new(Self { id: key as u64, labels: Self::labels(config, raw, schema_url)? });
        caches.scopes.insert(key, Arc::clone(&scope), now_secs);
        Ok((!scope.labels.is_empty()).then_some(scope))
    }

    fn labels(config: &Config, raw: &[u8], schema_url: &[u8]) -> Result<Vec<(String, String)>, LabelsError> {
        let (mut name, mut version) = ("", "");
        let mut reader = Reader::new(raw);
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => name = field.string()?,
                2 => version = field.string()?,
                _ => {}
            }
        }
        if name.is_empty() {
            return Ok(Vec::new());
        }
        let mut labels = Vec::new();
        for (key, value) in texts(raw, 3)? {
            labels.push((label_name(config, &format!("otel_scope_{key}"))?.into_owned(), value));
        }
        let schema_url = std::str::from_utf8(schema_url).map_err(|_| LabelsError::NotUtf8)?;
        for (label, value) in
            [("otel_scope_name", name), ("otel_scope_version", version), ("otel_scope_schema_url", schema_url)]
        {
            labels.push((label.to_owned(), value.to_owned()));
        }
        Ok(labels)
    }
}

impl Heading<'_> {
    /// What its family is known by.
    pub(super) fn key(&self, seed: u64) -> u128 {
        let seed = xxh3_64_with_seed(self.unit, seed ^ (self.kind as u64) << 1 ^ u64::from(self.is_monotonic));
        xxh3_128_with_seed(self.name, xxh3_64_with_seed(self.description, seed))
    }
}

/// A key is a hash already.
#[derive(Default)]
pub(super) struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = (key >> 64) as u64;
    }
}

/// The families that one request has named: its resources repeat them.
#[derive(Default)]
pub(super) struct Families(HashMap<u128, Held<Family>, BuildHasherDefault<Folded>>);

impl Families {
    /// Each costs about 50 bytes.
    const MAX: usize = 4_096;

    #[inline]
    pub(super) fn find(&mut self, key: u128, look_up: impl FnOnce() -> Arc<Family>) -> Held<Family> {
        if let Some(family) = self.0.get(&key) {
            return Rc::clone(family);
        }
        if self.0.len() >= Self::MAX {
            self.0.clear();
        }
        Rc::clone(self.0.entry(key).or_insert_with(|| Rc::new(look_up())))
    }
}

impl Family {
    /// The family of a metric. One that is new tells the store its type, unit and help.
    pub(super) fn find(
        config: &Config,
        caches: &Caches,
        (key, heading): (u128, &Heading<'_>),
        appender: &mut Appender<'_>,
        now_secs: u64,
    ) -> Arc<Self> {
        if let Some(family) = caches.families.get(key, now_secs) {
            return family;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (name, unit) = (text(heading.name), text(heading.unit));
        let name_kind = match heading.kind {
            Kind::Gauge => NameKind::Gauge,
            Kind::Sum if heading.is_monotonic => NameKind::MonotonicSum,
            _ => NameKind::Other,
        };
        let name = metric_name(config.translation_strategy, &name, &unit, name_kind);
        if let Ok(name) = &name {
            let kind = match heading.kind {
                Kind::Sum if heading.is_monotonic => MetricType::Counter,
                Kind::Gauge | Kind::Sum => MetricType::Gauge,
                Kind::Histogram | Kind::ExponentialHistogram => MetricType::Histogram,
                Kind::Summary => MetricType::Summary,
            };
            appender.metadata(name, &Metadata { kind, unit: unit_name(&unit), help: text(heading.description) });
        }
        let family = Arc::new(Self { id: key as u64, name });
        caches.families.insert(key, Arc::clone(&family), now_secs);
        family
    }
}

/// The labels of a point's series, without the metric name.
pub(super) fn point_labels(
    config: &Config,
    resource: &Resource,
    scope: Option<&Scope>,
    attributes: &[u8],
) -> Result<LabelsBuilder, LabelsError> {
    let mut builder = LabelsBuilder::default();
    // The number is that of the run's first tag; a run holds nothing else.
    let number = Reader::new(attributes).next_field()?.map_or(0, |field| field.number);
    set_attributes(config, &texts(attributes, number)?, &mut builder)?;
    for (name, value) in &resource.promoted {
        if builder.get(name).is_none() {
            builder.set(name, value);
        }
    }
    resource.set_identity(&mut builder);
    for (name, value) in scope.map_or(&[][..], |scope| &scope.labels) {
        builder.set(name, value);
    }
    Ok(builder)
}
