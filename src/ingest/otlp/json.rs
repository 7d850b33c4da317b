//! OTLP/JSON to OTLP protobuf, driven by a table of the messages.
//!
//! There is one translator from OTLP to series, and it walks protobuf; JSON bodies become protobuf first. Reading is as
//! tolerant as proto3's JSON mapping asks: 64-bit integers as numbers or strings, doubles as numbers, numeric strings,
//! `"NaN"` and `"Infinity"`, `null` for any absent field, enums by number or name, field names in camel or snake case,
//! base64 of both alphabets with or without padding, unknown fields skipped. Trace and span IDs are hex, as OTLP says.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::schema::{Field, Kind, REQUEST, Schema};
use crate::proto::wire::{put_bytes, put_varint};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The protobuf form of a JSON `ExportMetricsServiceRequest`.
///
/// # Errors
/// Where the text is no such message, or its protobuf form has more than `limit` bytes.
pub fn to_protobuf(json: &[u8], limit: usize) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(json.len() / 2);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    Message { schema: &REQUEST, out: &mut out, limit }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(out)
}

/// Reads an object as a message and appends its fields to `out`.
struct Message<'o> {
    schema: &'static Schema,
    out: &'o mut Vec<u8>,
    limit: usize,
}

impl<'de> DeserializeSeed<'de> for Message<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object ({})", self.schema.name)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match self.schema.fields.iter().find(|field| names(field.name, &key)) {
                Some(field) => map.next_value_seed(Content { field, out: &mut *self.out, limit: self.limit })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            if self.out.len() > self.limit {
                return Err(A::Error::custom(format_args!("the message has more than {} bytes", self.limit)));
            }
        }
        Ok(())
    }
}

/// Whether a JSON key names a field: as it is, or in camel case.
fn names(field: &str, key: &str) -> bool {
    if field == key {
        return true;
    }
    let mut key = key.bytes();
    let mut raise = false;
    for byte in field.bytes() {
        if byte == b'_' {
            raise = true;
            continue;
        }
        let expect = if raise { byte.to_ascii_uppercase() } else { byte };
        raise = false;
        if key.next() != Some(expect) {
            return false;
        }
    }
    key.next().is_none()
}

/// Reads the value of one field and appends it with its tag.
struct Content<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
    limit: usize,
}

impl<'de> DeserializeSeed<'de> for Content<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match (self.field.repeated, self.field.kind) {
            (true, _) => deserializer.deserialize_any(self),
            (false, Kind::Message(schema)) => {
                let mut inner = Vec::new();
                // An empty object is a message that is there; `null` is one that is not.
                let there = deserializer.deserialize_option(Present { schema, out: &mut inner, limit: self.limit })?;
                if there {
                    put_bytes(self.out, self.field.number, &inner);
                }
                Ok(())
            }
            (false, kind) => Scalar { kind, number: Some(self.field.number), out: self.out }.deserialize(deserializer),
        }
    }
}

impl<'de> Visitor<'de> for Content<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array ({})", self.field.name)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut inner = Vec::new();
        let Kind::Message(schema) = self.field.kind else {
            // Repeated numbers are packed; there are no repeated strings in OTLP metrics.
            while seq.next_element_seed(Scalar { kind: self.field.kind, number: None, out: &mut inner })?.is_some() {
                if inner.len() > self.limit {
                    return Err(A::Error::custom(format_args!("the message has more than {} bytes", self.limit)));
                }
            }
            put_bytes(self.out, self.field.number, &inner);
            return Ok(());
        };
        while seq.next_element_seed(Message { schema, out: &mut inner, limit: self.limit })?.is_some() {
            put_bytes(self.out, self.field.number, &inner);
            inner.clear();
            if self.out.len() > self.limit {
                return Err(A::Error::custom(format_args!("the message has more than {} bytes", self.limit)));
            }
        }
        Ok(())
    }
}

/// Tells `null` from an object.
struct Present<'o> {
    schema: &'static Schema,
    out: &'o mut Vec<u8>,
    limit: usize,
}

impl<'de> Visitor<'de> for Present<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object ({})", self.schema.name)
    }

    fn visit_none<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        Message { schema: self.schema, out: self.out, limit: self.limit }.deserialize(deserializer)?;
        Ok(true)
    }
}

/// Reads one scalar; without a `number` it is an element of a packed field.
struct Scalar<'o> {
    kind: Kind,
    number: Option<u32>,
    out: &'o mut Vec<u8>,
}

impl Scalar<'_> {
    fn tag(&mut self, wire_type: u64) {
        if let Some(number) = self.number {
            put_varint(self.out, u64::from(number) << 3 | wire_type);
        }
    }

    fn integer<E: Error>(mut self, value: i128) -> Result<(), E> {
        let out_of_range = |_| E::custom(format_args!("{value} is out of range"));
        match self.kind {
            Kind::Double => return self.double(value as f64),
            Kind::Uint32 => {
                let value = u32::try_from(value).map_err(out_of_range)?;
                self.tag(0);
                put_varint(self.out, u64::from(value));
            }
            Kind::Uint64 => {
                let value = u64::try_from(value).map_err(out_of_range)?;
                self.tag(0);
                put_varint(self.out, value);
            }
            Kind::Fixed64 => {
                let value = u64::try_from(value).map_err(out_of_range)?;
                self.tag(1);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            Kind::Int64 | Kind::Enum(_) => {
                let value = i64::try_from(value).map_err(out_of_range)?;
                self.tag(0);
                put_varint(self.out, value.cast_unsigned());
            }
            Kind::Sfixed64 => {
                let value = i64::try_from(value).map_err(out_of_range)?;
                self.tag(1);
                self.out.extend_from_slice(&value.to_le_bytes());
            }
            Kind::Sint32 => {
                let value = i32::try_from(value).map_err(out_of_range)?;
                self.tag(0);
                put_varint(self.out, u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()));
            }
            Kind::Bool | Kind::Text | Kind::Base64 | Kind::Hex | Kind::Message(_) => {
                return Err(E::custom(format_args!("expected {}, found a number", self.kind.what())));
            }
        }
        Ok(())
    }

    fn double<E: Error>(mut self, value: f64) -> Result<(), E> {
        self.tag(1);
        self.out.extend_from_slice(&value.to_bits().to_le_bytes());
        Ok(())
    }

    fn bytes<E: Error>(mut self, bytes: &[u8]) -> Result<(), E> {
        self.tag(2);
        put_varint(self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Scalar<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Scalar<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.what())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<(), E> {
        if !matches!(self.kind, Kind::Bool) {
            return Err(E::custom(format_args!("expected {}, found a boolean", self.kind.what())));
        }
        self.tag(0);
        self.out.push(u8::from(value));
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        if matches!(self.kind, Kind::Double) {
            return self.double(value);
        }
        // 1.5e18 is an integer in JSON's eyes.
        if value.fract() == 0.0 && value.abs() < 1.9e19 {
            return self.integer(value as i128);
        }
        Err(E::custom(format_args!("expected {}, found {value}", self.kind.what())))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let wrong = || E::custom(format_args!("expected {}, found {text:?}", self.kind.what()));
        match self.kind {
            Kind::Text => self.bytes(text.as_bytes()),
            Kind::Base64 => {
                let engine = if text.contains(['-', '_']) { &BASE64_URL } else { &BASE64 };
                let bytes = engine.decode(text).map_err(|_| wrong())?;
                self.bytes(&bytes)
            }
            Kind::Hex => {
                let bytes = unhex(text).ok_or_else(wrong)?;
                self.bytes(&bytes)
            }
            Kind::Enum(members) => {
                let (_, value) = members.iter().find(|(name, _)| *name == text).ok_or_else(wrong)?;
                self.integer(i128::from(*value))
            }
            Kind::Double => {
                let value = match text {
                    "NaN" => f64::NAN,
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    _ => text.parse::<f64>().ok().filter(|number| number.is_finite()).ok_or_else(wrong)?,
                };
                self.double(value)
            }
            Kind::Bool | Kind::Message(_) => Err(wrong()),
            _ => match text.parse::<i128>() {
                Ok(value) => self.integer(value),
                Err(_) => {
                    let value = text.parse::<f64>().map_err(|_| wrong())?;
                    self.visit_f64(value)
                }
            },
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
    use crate::proto::opentelemetry::proto::metrics::v1::{exemplar, metric::Data, number_data_point};
    use prost::Message as _;

    fn read(json: &str) -> Result<ExportMetricsServiceRequest, String> {
        let bytes = to_protobuf(json.as_bytes(), 1 << 20).map_err(|error| error.to_string())?;
        Ok(ExportMetricsServiceRequest::decode(&*bytes).unwrap())
    }

    /// A sum with one data point of this text.
    fn point(text: &str) -> Result<number_data_point::Value, String> {
        let request = read(&format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","sum":{{"dataPoints":[{{{text}}}]}}}}]}}]}}]}}"#
        ))?;
        let metric = request.resource_metrics[0].scope_metrics[0].metrics[0].clone();
        let Some(Data::Sum(sum)) = metric.data else { panic!("no sum") };
        sum.data_points[0].value.ok_or_else(|| "no value".to_owned())
    }

    #[test]
    fn numbers_come_in_every_form_that_proto3_allows() {
        use number_data_point::Value::{AsDouble, AsInt};
        assert_eq!(point(r#""asInt":"-9223372036854775808""#), Ok(AsInt(i64::MIN)));
        assert_eq!(point(r#""asInt":15"#), Ok(AsInt(15)));
        assert_eq!(point(r#""as_int":1.5e3"#), Ok(AsInt(1500)));
        assert_eq!(point(r#""asInt":"1e2""#), Ok(AsInt(100)));
        assert_eq!(point(r#""asDouble":"5.5","timeUnixNano":1.5e18"#), Ok(AsDouble(5.5)));
        assert_eq!(point(r#""asDouble":7,"attributes":null"#), Ok(AsDouble(7.0)));
        assert_eq!(point(r#""asDouble":"-Infinity","unknown":{"a":[1,{}]}"#), Ok(AsDouble(f64::NEG_INFINITY)));
        assert!(matches!(point(r#""asDouble":"NaN""#), Ok(AsDouble(value)) if value.is_nan()));
        assert_eq!(point(r#""asDouble":null"#), Err("no value".to_owned()));
        assert!(point(r#""asInt":1.5"#).unwrap_err().contains("expected an integer, found 1.5"));
        assert!(point(r#""asInt":"9223372036854775808""#).unwrap_err().contains("out of range"));
        assert!(point(r#""asInt":true"#).is_err());
        assert!(point(r#""attributes":{}"#).unwrap_err().contains("an array (attributes)"));
    }

    #[test]
    fn every_metric_kind_is_carried_over() {
        let request = read(
            r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"b","value":{"bytesValue":"-_8"}},
            {"key":"e","value":{"arrayValue":{}}},{"key":"k","value":{"kvlistValue":{"values":[{"key":"x","value":{"doubleValue":"NaN"}}]}}}]},
            "scopeMetrics":[{"scope":{"name":"s","version":"1"},"metrics":[
            {"name":"h","unit":"ms","histogram":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA","dataPoints":[
              {"count":"3","sum":0,"bucketCounts":["1",2],"explicitBounds":[0.5],"exemplars":[{"asInt":"1","traceId":"5B8EFFF798038103D269B633813FC60C","spanId":""}]}]}},
            {"name":"e","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"scale":-3,"zeroCount":1,"positive":{"offset":-2,"bucketCounts":[4,"5"]}}]}},
            {"name":"s","summary":{"dataPoints":[{"quantileValues":[{"quantile":0.5,"value":1},{}],"flags":1}]}}]}]}]}"#,
        )
        .unwrap();
        let resource = request.resource_metrics[0].resource.as_ref().unwrap();
        assert_eq!(
            format!("{:?}", resource.attributes[0].value),
            "Some(AnyValue { value: Some(BytesValue([251, 255])) })"
        );
        assert!(format!("{:?}", resource.attributes[1].value).contains("ArrayValue { values: [] }"));
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let Some(Data::Histogram(histogram)) = &metrics[0].data else { panic!() };
        assert_eq!(histogram.aggregation_temporality, 1);
        let point = &histogram.data_points[0];
        assert_eq!(
            (point.count, point.sum, &point.bucket_counts[..], &point.explicit_bounds[..]),
            (3, Some(0.0), &[1, 2][..], &[0.5][..])
        );
        assert_eq!(point.exemplars[0].value, Some(exemplar::Value::AsInt(1)));
        assert_eq!(point.exemplars[0].trace_id[..3], [0x5b, 0x8e, 0xff]);
        let Some(Data::ExponentialHistogram(exponential)) = &metrics[1].data else { panic!() };
        let point = &exponential.data_points[0];
        assert_eq!((point.scale, point.zero_count, point.positive.clone().unwrap().bucket_counts), (-3, 1, vec![4, 5]));
        let Some(Data::Summary(summary)) = &metrics[2].data else { panic!() };
        assert_eq!((summary.data_points[0].quantile_values.len(), summary.data_points[0].flags), (2, 1));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert!(read("[]").unwrap_err().contains("an object"));
        assert!(read("{} x").is_err());
        assert!(read("{").is_err());
        assert!(read(&format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000))).is_err());
        let levels = r#"{"values":[{"arrayValue":"#.repeat(200);
        let deep = format!(r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"value":{{"arrayValue":{levels}"#);
        assert!(read(&deep).unwrap_err().contains("recursion limit"));
        assert!(
            to_protobuf(br#"{"resourceMetrics":[{},{},{},{}]}"#, 6)
                .unwrap_err()
                .to_string()
                .contains("more than 6 bytes")
        );
    }
}
