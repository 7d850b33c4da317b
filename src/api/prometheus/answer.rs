//! The envelope of Prometheus' answers: `{"status":"success","data":…,"warnings":[…],"infos":[…]}`.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use crate::model::json_text::push_string;
use crate::server::error::{Failure, Kind};

/// Warnings and infos that an answer carries at most; the rest is counted in one more line.
const NOTES_MAX: usize = 10;

/// Pieces of a streamed answer have about this size: encoding one takes a fraction of a millisecond, and no more than a few
/// wait for a slow client beside the result itself.
pub const PIECE_BYTES: usize = 64 << 10;

/// What every result list that was cut says.
pub const TRUNCATED: &str = "results truncated due to limit";

/// Texts beside the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
}

impl Notes {
    /// With the one warning of a list that was cut to its limit, where it was.
    pub fn truncated(was: bool) -> Self {
        Self { warnings: was.then(|| TRUNCATED.to_owned()).into_iter().collect(), infos: Vec::new() }
    }

    /// Appends `,"warnings":[…],"infos":[…]`, each only where there are any.
    pub fn push(&self, out: &mut Vec<u8>) {
        push_notes(out, "warnings", "warning", &self.warnings);
        push_notes(out, "infos", "info", &self.infos);
    }
}

fn push_notes(out: &mut Vec<u8>, field: &str, one: &str, notes: &[String]) {
    if notes.is_empty() {
        return;
    }
    out.extend_from_slice(format!(",\"{field}\":[").as_bytes());
    for (at, note) in notes.iter().take(NOTES_MAX).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_string(out, note);
    }
    if notes.len() > NOTES_MAX {
        let more = format!("{} more {one} annotations omitted", notes.len() - NOTES_MAX);
        out.push(b',');
        push_string(out, &more);
    }
    out.push(b']');
}

/// An answer with data that serde can write.
pub fn success<T: Serialize>(data: &T, notes: &Notes) -> Response {
    match serde_json::to_vec(data) {
        Ok(data) => raw(&data, notes),
        Err(error) => Failure::new(Kind::Internal, format!("cannot encode the answer: {error}")).into_response(),
    }
}

/// An answer with data that is JSON already.
pub fn raw(data: &[u8], notes: &Notes) -> Response {
    let mut body = Vec::with_capacity(data.len() + 64);
    open(&mut body);
    body.extend_from_slice(data);
    close(&mut body, notes);
    json(StatusCode::OK, Body::from(body))
}

/// 204, for requests that ask for nothing.
pub fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// The envelope up to the data.
pub fn open(out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"status\":\"success\",\"data\":");
}

/// The envelope after the data.
pub fn close(out: &mut Vec<u8>, notes: &Notes) {
    notes.push(out);
    out.push(b'}');
}

/// An answer with its status and body.
pub fn json(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_beyond_ten_are_counted() {
        let notes = Notes { warnings: Vec::new(), infos: (0..12).map(|n| format!("i{n}")).collect() };
        let mut out = Vec::new();
        notes.push(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with(",\"infos\":[\"i0\",") && text.ends_with("\"i9\",\"2 more info annotations omitted\"]")
        );
    }
}
