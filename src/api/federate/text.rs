//! The text exposition format, 0.0.4 or with quoted names.

use crate::api::federate::{Last, classic_buckets, lacks_instance};
use crate::model::float_text;
use crate::model::labels::{is_classic_label_name, is_classic_metric_name};
use crate::model::sample::Value;

/// Writes all families; native histograms are left out, because the format cannot hold them.
pub(super) fn encode(list: &[Last], utf8: bool) -> Vec<u8> {
    let mut writer = Writer { out: String::with_capacity(list.len() * 96), utf8 };
    let mut family: Option<(&str, bool)> = None;
    for last in list {
        let is_histogram = match &last.value {
            Value::Histogram(histogram) if !histogram.uses_custom_buckets() => continue,
            Value::Histogram(_) => true,
            Value::Float(_) => false,
        };
        if family != Some((&last.name, is_histogram)) {
            family = Some((&last.name, is_histogram));
            writer.family(&last.name, is_histogram);
        }
        writer.samples(last);
    }
    writer.out.into_bytes()
}

struct Writer {
    out: String,
    utf8: bool,
}

impl Writer {
    fn family(&mut self, name: &str, is_histogram: bool) {
        self.out.push_str("# TYPE ");
        if self.utf8 && !is_classic_metric_name(name) {
            self.quoted(name);
        } else {
            self.out.push_str(&underscored(name, is_classic_metric_name));
        }
        self.out.push_str(if is_histogram { " histogram\n" } else { " untyped\n" });
    }

    fn samples(&mut self, last: &Last) {
        match &last.value {
            Value::Float(value) => self.sample(last, "", None, *value),
            Value::Histogram(histogram) => {
                for (bound, count) in classic_buckets(histogram) {
                    self.sample(last, "_bucket", Some(&float_text::general(bound)), count);
                }
                self.sample(last, "_bucket", Some("+Inf"), histogram.count);
                self.sample(last, "_sum", None, histogram.sum);
                self.sample(last, "_count", None, histogram.count);
            }
        }
    }

    fn sample(&mut self, last: &Last, suffix: &str, le: Option<&str>, value: f64) {
        let name = format!("{}{suffix}", last.name);
        let quote_name = self.utf8 && !is_classic_metric_name(&name);
        let mut separator = "{";
        if quote_name {
            self.out.push('{');
            self.quoted(&name);
            separator = ",";
        } else {
            self.out.push_str(&underscored(&name, is_classic_metric_name));
        }
        let instance = lacks_instance(&last.labels).then_some(("instance", ""));
        for (label, text) in last.labels.iter().chain(instance).chain(le.map(|le| ("le", le))) {
            self.out.push_str(separator);
            separator = ",";
            if self.utf8 && !is_classic_label_name(label) {
                self.quoted(label);
            } else {
                self.out.push_str(&underscored(label, is_classic_label_name));
            }
            self.out.push('=');
            self.quoted(text);
        }
        if separator == "," {
            self.out.push('}');
        }
        self.out.push(' ');
        self.out.push_str(&float_text::general(value));
        self.out.push(' ');
        self.out.push_str(&last.time.to_string());
        self.out.push('\n');
    }

    fn quoted(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '\\' => self.out.push_str("\\\\"),
                '"' => self.out.push_str("\\\""),
                '\n' => self.out.push_str("\\n"),
                other => self.out.push(other),
            }
        }
        self.out.push('"');
    }
}

/// A name with everything that is not classic turned into underscores.
fn underscored(name: &str, is_classic: fn(&str) -> bool) -> String {
    if is_classic(name) {
        return name.to_owned();
    }
    name.chars()
        .enumerate()
        .map(|(at, character)| {
            // The check sees each character as a whole name, in which a digit may not come first.
            let mut buffer = [0; 4];
            let text = character.encode_utf8(&mut buffer);
            if is_classic(text) || at > 0 && character.is_ascii_digit() { character } else { '_' }
        })
        .collect()
}
