//! The messages of OTLP metrics as a table, for reading JSON. `proto/opentelemetry` has the definitions.

/// How a field is written in JSON and on the wire.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Text,
    /// Bytes as base64.
    Base64,
    /// Bytes as hex: OTLP's exception for trace and span IDs.
    Hex,
    Bool,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Fixed64,
    Sfixed64,
    Double,
    /// Members by name.
    Enum(&'static [(&'static str, i32)]),
    Message(&'static Schema),
}

impl Kind {
    /// What was expected, for errors.
    pub fn what(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Base64 => "base64",
            Self::Hex => "hex digits",
            Self::Bool => "a boolean",
            Self::Int64 | Self::Uint32 | Self::Uint64 | Self::Sint32 | Self::Fixed64 | Self::Sfixed64 => "an integer",
            Self::Double => "a number",
            Self::Enum(_) => "an enum",
            Self::Message(_) => "an object",
        }
    }
}

/// A message.
#[derive(Debug)]
pub struct Schema {
    pub name: &'static str,
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    pub number: u32,
    /// In snake case.
    pub name: &'static str,
    pub kind: Kind,
    pub repeated: bool,
}

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: false }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: true }
}

const TEMPORALITY: Kind = Kind::Enum(&[
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
]);

/// `ExportMetricsServiceRequest`, and `MetricsData`, which has the same fields.
pub static REQUEST: Schema = Schema {
    name: "ExportMetricsServiceRequest",
    fields: &[many(1, "resource_metrics", Kind::Message(&RESOURCE_METRICS))],
};

static RESOURCE_METRICS: Schema = Schema {
    name: "ResourceMetrics",
    fields: &[
        one(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scope_metrics", Kind::Message(&SCOPE_METRICS)),
        one(3, "schema_url", Kind::Text),
    ],
};

static RESOURCE: Schema = Schema {
    name: "Resource",
    fields: &[many(1, "attributes", Kind::Message(&KEY_VALUE)), one(2, "dropped_attributes_count", Kind::Uint32)],
};

static SCOPE_METRICS: Schema = Schema {
    name: "ScopeMetrics",
    fields: &[
        one(1, "scope", Kind::Message(&SCOPE)),
        many(2, "metrics", Kind::Message(&METRIC)),
        one(3, "schema_url", Kind::Text),
    ],
};

static SCOPE: Schema = Schema {
    name: "InstrumentationScope",
    fields: &[
        one(1, "name", Kind::Text),
        one(2, "version", Kind::Text),
        many(3, "attributes", Kind::Message(&KEY_VALUE)),
        one(4, "dropped_attributes_count", Kind::Uint32),
    ],
};

static KEY_VALUE: Schema =
    Schema { name: "KeyValue", fields: &[one(1, "key", Kind::Text), one(2, "value", Kind::Message(&ANY_VALUE))] };

static ANY_VALUE: Schema = Schema {
    name: "AnyValue",
    fields: &[
        one(1, "string_value", Kind::Text),
        one(2, "bool_value", Kind::Bool),
        one(3, "int_value", Kind::Int64),
        one(4, "double_value", Kind::Double),
        one(5, "array_value", Kind::Message(&ARRAY_VALUE)),
        one(6, "kvlist_value", Kind::Message(&KEY_VALUE_LIST)),
        one(7, "bytes_value", Kind::Base64),
    ],
};

static ARRAY_VALUE: Schema = Schema { name: "ArrayValue", fields: &[many(1, "values", Kind::Message(&ANY_VALUE))] };

static KEY_VALUE_LIST: Schema =
    Schema { name: "KeyValueList", fields: &[many(1, "values", Kind::Message(&KEY_VALUE))] };

static METRIC: Schema = Schema {
    name: "Metric",
    fields: &[
        one(1, "name", Kind::Text),
        one(2, "description", Kind::Text),
        one(3, "unit", Kind::Text),
        one(5, "gauge", Kind::Message(&GAUGE)),
        one(7, "sum", Kind::Message(&SUM)),
        one(9, "histogram", Kind::Message(&HISTOGRAM)),
        one(10, "exponential_histogram", Kind::Message(&EXPONENTIAL_HISTOGRAM)),
        one(11, "summary", Kind::Message(&SUMMARY)),
    ],
};

static GAUGE: Schema = Schema { name: "Gauge", fields: &[many(1, "data_points", Kind::Message(&NUMBER_POINT))] };

static SUM: Schema = Schema {
    name: "Sum",
    fields: &[
        many(1, "data_points", Kind::Message(&NUMBER_POINT)),
        one(2, "aggregation_temporality", TEMPORALITY),
        one(3, "is_monotonic", Kind::Bool),
    ],
};

static HISTOGRAM: Schema = Schema {
    name: "Histogram",
    fields: &[many(1, "data_points", Kind::Message(&HISTOGRAM_POINT)), one(2, "aggregation_temporality", TEMPORALITY)],
};

static EXPONENTIAL_HISTOGRAM: Schema = Schema {
    name: "ExponentialHistogram",
    fields: &[
        many(1, "data_points", Kind::Message(&EXPONENTIAL_POINT)),
        one(2, "aggregation_temporality", TEMPORALITY),
    ],
};

static SUMMARY: Schema = Schema { name: "Summary", fields: &[many(1, "data_points", Kind::Message(&SUMMARY_POINT))] };

static NUMBER_POINT: Schema = Schema {
    name: "NumberDataPoint",
    fields: &[
        one(2, "start_time_unix_nano", Kind::Fixed64),
        one(3, "time_unix_nano", Kind::Fixed64),
        one(4, "as_double", Kind::Double),
        many(5, "exemplars", Kind::Message(&EXEMPLAR)),
        one(6, "as_int", Kind::Sfixed64),
        many(7, "attributes", Kind::Message(&KEY_VALUE)),
        one(8, "flags", Kind::Uint32),
    ],
};

static HISTOGRAM_POINT: Schema = Schema {
    name: "HistogramDataPoint",
    fields: &[
        one(2, "start_time_unix_nano", Kind::Fixed64),
        one(3, "time_unix_nano", Kind::Fixed64),
        one(4, "count", Kind::Fixed64),
        one(5, "sum", Kind::Double),
        many(6, "bucket_counts", Kind::Fixed64),
        many(7, "explicit_bounds", Kind::Double),
        many(8, "exemplars", Kind::Message(&EXEMPLAR)),
        many(9, "attributes", Kind::Message(&KEY_VALUE)),
        one(10, "flags", Kind::Uint32),
        one(11, "min", Kind::Double),
        one(12, "max", Kind::Double),
    ],
};

static EXPONENTIAL_POINT: Schema = Schema {
    name: "ExponentialHistogramDataPoint",
    fields: &[
        many(1, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "start_time_unix_nano", Kind::Fixed64),
        one(3, "time_unix_nano", Kind::Fixed64),
        one(4, "count", Kind::Fixed64),
        one(5, "sum", Kind::Double),
        one(6, "scale", Kind::Sint32),
        one(7, "zero_count", Kind::Fixed64),
        one(8, "positive", Kind::Message(&BUCKETS)),
        one(9, "negative", Kind::Message(&BUCKETS)),
        one(10, "flags", Kind::Uint32),
        many(11, "exemplars", Kind::Message(&EXEMPLAR)),
        one(12, "min", Kind::Double),
        one(13, "max", Kind::Double),
        one(14, "zero_threshold", Kind::Double),
    ],
};

static BUCKETS: Schema =
    Schema { name: "Buckets", fields: &[one(1, "offset", Kind::Sint32), many(2, "bucket_counts", Kind::Uint64)] };

static SUMMARY_POINT: Schema = Schema {
    name: "SummaryDataPoint",
    fields: &[
        one(2, "start_time_unix_nano", Kind::Fixed64),
        one(3, "time_unix_nano", Kind::Fixed64),
        one(4, "count", Kind::Fixed64),
        one(5, "sum", Kind::Double),
        many(6, "quantile_values", Kind::Message(&QUANTILE)),
        many(7, "attributes", Kind::Message(&KEY_VALUE)),
        one(8, "flags", Kind::Uint32),
    ],
};

static QUANTILE: Schema =
    Schema { name: "ValueAtQuantile", fields: &[one(1, "quantile", Kind::Double), one(2, "value", Kind::Double)] };

static EXEMPLAR: Schema = Schema {
    name: "Exemplar",
    fields: &[
        one(2, "time_unix_nano", Kind::Fixed64),
        one(3, "as_double", Kind::Double),
        one(4, "span_id", Kind::Hex),
        one(5, "trace_id", Kind::Hex),
        one(6, "as_int", Kind::Sfixed64),
        many(7, "filtered_attributes", Kind::Message(&KEY_VALUE)),
    ],
};
