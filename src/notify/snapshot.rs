//! What delivery remembers across a restart, as bytes: silences, the notification log, alerts, acknowledgements.
//!
//! Format (docs/format/notify.md): a line `novascope-notify <version> <crc32c of the rest, hex>`, then one JSON object.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::acknowledge::{Acknowledgement, Acknowledgements};
use super::alert::{Alert, Fingerprint};
use super::dispatch::Dispatcher;
use super::log::{Entry, Log};
use super::matchers;
use super::silence::Silence;
use crate::base::clock::Millis;
use crate::model::labels::Labels;

/// Raised when an older reader could not understand the file.
pub const VERSION: u32 = 1;
const MAGIC: &str = "novascope-notify";

/// Why a file is not a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("not a file of notification state")]
    Magic,
    #[error("version {0} is newer than this program knows")]
    Version(u32),
    #[error("checksum does not match")]
    Checksum,
    #[error("{0}")]
    Content(String),
}

#[derive(Default, Deserialize, Serialize)]
struct Content {
    silences: Vec<SilenceRow>,
    log: Vec<LogRow>,
    alerts: Vec<AlertRow>,
    acknowledgements: Vec<AcknowledgementRow>,
}

#[derive(Deserialize, Serialize)]
struct SilenceRow {
    id: String,
    matchers: Vec<String>,
    starts_at: Millis,
    ends_at: Millis,
    updated_at: Millis,
    created_by: String,
    comment: String,
}

#[derive(Deserialize, Serialize)]
struct LogRow {
    group: String,
    receiver: String,
    time: Millis,
    firing: Vec<u64>,
    resolved: Vec<u64>,
}

#[derive(Deserialize, Serialize)]
struct AlertRow {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    generator_url: String,
    starts_at: Millis,
    ends_at: Millis,
    updated_at: Millis,
    is_timeout: bool,
}

#[derive(Deserialize, Serialize)]
struct AcknowledgementRow {
    fingerprint: u64,
    by: String,
    comment: String,
    time: Millis,
    until: Millis,
}

/// The snapshot of a dispatcher and what was acknowledged.
pub fn write(dispatcher: &Dispatcher) -> Vec<u8> {
    let ids = |set: &std::collections::BTreeSet<Fingerprint>| set.iter().map(|fingerprint| fingerprint.0).collect();
    let content = Content {
        silences: dispatcher.silences.iter().map(SilenceRow::of).collect(),
        log: dispatcher
            .log
            .iter()
            .map(|(group, receiver, entry)| LogRow {
                group: group.to_owned(),
                receiver: receiver.to_owned(),
                time: entry.time,
                firing: ids(&entry.firing),
                resolved: ids(&entry.resolved),
            })
            .collect(),
        alerts: dispatcher.alerts().map(AlertRow::of).collect(),
        acknowledgements: dispatcher
            .acknowledgements
            .iter()
            .map(|(fingerprint, one)| AcknowledgementRow {
                fingerprint: fingerprint.0,
                by: one.by.clone(),
                comment: one.comment.clone(),
                time: one.time,
                until: one.until,
            })
            .collect(),
    };
    // Rows are strings and numbers, which always have a JSON form.
    let body = serde_json::to_vec(&content).unwrap_or_default();
    let mut bytes = format!("{MAGIC} {VERSION} {:08x}\n", crc32c::crc32c(&body)).into_bytes();
    bytes.extend(body);
    bytes
}

/// Puts a snapshot back into a dispatcher that has its routing already.
pub fn read(bytes: &[u8], dispatcher: &mut Dispatcher, now: Millis) -> Result<(), SnapshotError> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(SnapshotError::Magic)?;
    let (head, body) = (&bytes[..end], &bytes[end + 1..]);
    let head = std::str::from_utf8(head).map_err(|_| SnapshotError::Magic)?;
    let mut words = head.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(SnapshotError::Magic);
    }
    let version: u32 = words.next().and_then(|word| word.parse().ok()).ok_or(SnapshotError::Magic)?;
    if version > VERSION {
        return Err(SnapshotError::Version(version));
    }
    let checksum = words.next().and_then(|word| u32::from_str_radix(word, 16).ok()).ok_or(SnapshotError::Magic)?;
    if crc32c::crc32c(body) != checksum {
        return Err(SnapshotError::Checksum);
    }
    let content: Content = serde_json::from_slice(body).map_err(|error| SnapshotError::Content(error.to_string()))?;
    for row in content.silences {
        dispatcher.silences.restore(row.silence()?);
    }
    let set = |ids: Vec<u64>| ids.into_iter().map(Fingerprint).collect();
    let mut log = Log::default();
    for row in content.log {
        let entry = Entry { time: row.time, firing: set(row.firing), resolved: set(row.resolved) };
        log.restore(row.group, row.receiver, entry);
    }
    dispatcher.log = log;
    let mut acknowledgements = Acknowledgements::default();
    for row in content.acknowledgements {
        let one = Acknowledgement { by: row.by, comment: row.comment, time: row.time, until: row.until };
        acknowledgements.set(Fingerprint(row.fingerprint), one);
    }
    dispatcher.acknowledgements = acknowledgements;
    for row in content.alerts {
        dispatcher.put(row.alert(), now);
    }
    Ok(())
}

impl SilenceRow {
    fn of(silence: &Silence) -> Self {
        Self {
            id: silence.id.clone(),
            matchers: silence.matchers.iter().map(matchers::print).collect(),
            starts_at: silence.starts_at,
            ends_at: silence.ends_at,
            updated_at: silence.updated_at,
            created_by: silence.created_by.clone(),
            comment: silence.comment.clone(),
        }
    }

    fn silence(self) -> Result<Silence, SnapshotError> {
        let mut all = Vec::new();
        for text in &self.matchers {
            all.extend(matchers::parse(text).map_err(|error| SnapshotError::Content(error.to_string()))?);
        }
        Ok(Silence {
            id: self.id,
            matchers: all,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            updated_at: self.updated_at,
            created_by: self.created_by,
            comment: self.comment,
        })
    }
}

impl AlertRow {
    fn of(alert: &Alert) -> Self {
        let map = |labels: &Labels| labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self {
            labels: map(&alert.labels),
            annotations: map(&alert.annotations),
            generator_url: alert.generator_url.clone(),
            starts_at: alert.starts_at,
            ends_at: alert.ends_at,
            updated_at: alert.updated_at,
            is_timeout: alert.is_timeout,
        }
    }

    fn alert(self) -> Alert {
        Alert {
            labels: Labels::from_pairs(self.labels),
            annotations: Labels::from_pairs(self.annotations),
            generator_url: self.generator_url,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            updated_at: self.updated_at,
            is_timeout: self.is_timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::base::yaml;
    use crate::notify::dispatch::Routing;

    fn dispatcher() -> Dispatcher {
        let text = "{route: {receiver: a, group_wait: 0s}, receivers: [{name: a, webhook_configs: [{url: u}]}]}";
        Dispatcher::new(Routing::build(yaml::read_plain("t", text).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn state_survives_and_nobody_is_told_twice() {
        let mut before = dispatcher();
        let silence = Silence {
            id: String::new(),
            matchers: matchers::parse("job=~\"a|b\"").unwrap(),
            starts_at: 5,
            ends_at: 5_000,
            updated_at: 0,
            created_by: "me".to_owned(),
            comment: "why".to_owned(),
        };
        before.silences.set(silence, 10, &Rng::from_seed(1)).unwrap();
        let alert = Alert {
            labels: Labels::from_pairs([("alertname", "Down")]),
            annotations: Labels::from_pairs([("summary", "s")]),
            generator_url: "g".to_owned(),
            starts_at: 1,
            ends_at: 1_000_000,
            updated_at: 2,
            is_timeout: true,
        };
        before.put(alert.clone(), 10);
        let due = before.due(20);
        before.delivered(&due[0], true, 20);
        let acknowledged = Acknowledgement { by: "x".to_owned(), comment: String::new(), time: 1, until: 99 };
        before.acknowledgements.set(alert.fingerprint(), acknowledged);
        let bytes = write(&before);

        let mut after = dispatcher();
        read(&bytes, &mut after, 30).unwrap();
        assert_eq!(after.silences.iter().collect::<Vec<_>>(), before.silences.iter().collect::<Vec<_>>());
        assert_eq!(after.alerts().collect::<Vec<_>>(), [&alert]);
        assert!(after.acknowledgements.get(alert.fingerprint(), 50).is_some());
        assert!(after.due(30).is_empty(), "the log says that the receiver knows");
    }

    #[test]
    fn damage_is_found() {
        let bytes = write(&dispatcher());
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert_eq!(read(&flipped, &mut dispatcher(), 0), Err(SnapshotError::Checksum));
        assert_eq!(read(b"x\n", &mut dispatcher(), 0), Err(SnapshotError::Magic));
        let newer = String::from_utf8(bytes).unwrap().replacen(" 1 ", " 9 ", 1);
        assert_eq!(read(newer.as_bytes(), &mut dispatcher(), 0), Err(SnapshotError::Version(9)));
    }
}
