//! Reading request bodies: capped as sent, capped again while inflating, bounded in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::BodyExt as _;

use crate::telemetry::{Counters, Gauges};

use super::error::{Failure, Kind};
use super::inflate::{Encoding, inflate, too_large};

static IN_FLIGHT_BYTES: Gauges<0> =
    Gauges::new("novascope_request_body_bytes", "Bytes of request bodies that are held now.", []);
static NO_MEMORY: Counters<0> = Counters::new(
    "novascope_request_memory_refused_total",
    "Requests refused because the memory for requests was in use.",
    [],
);

/// Memory that the bodies of all requests share.
#[derive(Debug)]
pub struct InFlight {
    used: AtomicUsize,
    max: usize,
}

impl InFlight {
    pub fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }
}

/// A part of the shared memory, given back on drop.
#[derive(Debug)]
struct Part {
    shared: Option<Arc<InFlight>>,
    bytes: usize,
}

impl Part {
    fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let before = shared.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        IN_FLIGHT_BYTES.get().add(bytes as f64);
        if before.saturating_add(bytes) > shared.max {
            NO_MEMORY.get().inc();
            return Err(Failure::new(Kind::Unavailable, "the memory for requests is in use"));
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.used.fetch_sub(self.bytes, Ordering::Relaxed);
            IN_FLIGHT_BYTES.get().add(-(self.bytes as f64));
        }
    }
}

/// Bytes that hold their part of the shared memory as long as anybody has them.
struct Counted {
    bytes: Bytes,
    _part: Part,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What a body may cost.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// Bytes as sent, and again bytes after inflating.
    pub bytes_max: usize,
    /// The longest silence between two pieces of a body: a sender that stops must not hold the request for ever.
    pub silence_max: Duration,
    /// What all bodies may take together; where it is used up, requests are refused with 503.
    pub in_flight: Option<Arc<InFlight>>,
}

impl BodyLimits {
    /// 64 MiB, which is the default of the write protocols.
    pub const WRITE: Self = Self { bytes_max: 64 << 20, silence_max: Duration::from_secs(30), in_flight: None };
    /// 10 MiB, which is what Go reads of a form.
    pub const FORM: Self = Self { bytes_max: 10 << 20, silence_max: Duration::from_secs(30), in_flight: None };
}

/// The encoding of a body. Several encodings on top of each other are refused.
///
/// # Errors
/// `UnsupportedMedia` where we do not speak it.
pub fn encoding(headers: &HeaderMap) -> Result<Encoding, Failure> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
    value.to_str().ok().and_then(Encoding::from_name).ok_or_else(|| {
        Failure::new(
            Kind::UnsupportedMedia,
            format!("Content-Encoding {value:?} is not supported; send gzip, zstd, deflate, snappy or none"),
        )
    })
}

/// Reads a body as it was sent, without inflating it.
///
/// # Errors
/// `TooLarge` beyond the limit, at once where `Content-Length` already says so; `BadData` where the sender stops.
pub async fn read_raw(headers: &HeaderMap, body: Body, limits: &BodyLimits) -> Result<Bytes, Failure> {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok())
        .map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if declared > limits.bytes_max {
        return Err(too_large(limits.bytes_max));
    }
    let mut body = body;
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let mut part = Part { shared: limits.in_flight.clone(), bytes: 0 };
    loop {
        let frame = match tokio::time::timeout(limits.silence_max, body.frame()).await {
            Err(_) => return Err(Failure::bad_data("the request body stopped before its end")),
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(Failure::bad_data(format!("cannot read the request body: {error}"))),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        let so_far = first.len() + whole.len();
        if data.len() > limits.bytes_max.saturating_sub(so_far) {
            return Err(too_large(limits.bytes_max));
        }
        part.grow(data.len())?;
        // Most bodies come in one piece and are handed on without a copy.
        if so_far == 0 {
            first = data;
            continue;
        }
        if whole.is_empty() {
            // A declared length is a claim: no more than 1 MiB is reserved on its word.
            whole.reserve(declared.min(1 << 20).max(so_far + data.len()));
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    let bytes = if whole.is_empty() { first } else { whole.freeze() };
    Ok(if part.bytes == 0 { bytes } else { Bytes::from_owner(Counted { bytes, _part: part }) })
}

/// Reads a body and inflates it as `Content-Encoding` says.
///
/// # Errors
/// Those of [`encoding`], [`read_raw`] and [`inflate`].
pub async fn read(headers: &HeaderMap, body: Body, limits: &BodyLimits) -> Result<Bytes, Failure> {
    let encoding = encoding(headers)?;
    let raw = read_raw(headers, body, limits).await?;
    match encoding {
        Encoding::Identity => Ok(raw),
        _ => inflate(encoding, &raw, limits.bytes_max).map(Bytes::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: BodyLimits = BodyLimits { bytes_max: 8, silence_max: Duration::from_secs(5), in_flight: None };

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn pieces(pieces: &'static [&'static str]) -> Body {
        Body::from_stream(futures_util::stream::iter(pieces.iter().map(|piece| Ok::<_, std::io::Error>(*piece))))
    }

    #[tokio::test]
    async fn pieces_are_joined_up_to_the_limit() {
        let body = read(&HeaderMap::new(), pieces(&["abc", "", "def", "gh"]), &SMALL).await.unwrap();
        assert_eq!(body, "abcdefgh");
        let error = read(&HeaderMap::new(), pieces(&["abc", "def", "ghi"]), &SMALL).await.unwrap_err();
        assert_eq!(error.kind, Kind::TooLarge);
    }

    #[tokio::test]
    async fn a_declared_length_beyond_the_limit_is_refused_before_reading() {
        let error = read(&headers(&[("content-length", "9")]), Body::empty(), &SMALL).await.unwrap_err();
        assert_eq!(error.kind, Kind::TooLarge);
    }

    #[tokio::test]
    async fn bodies_share_a_memory_and_are_refused_for_a_while_beyond_it() {
        let limits = BodyLimits { in_flight: Some(Arc::new(InFlight::new(10))), ..SMALL };
        let first = read(&HeaderMap::new(), pieces(&["abc", "def"]), &limits).await.unwrap();
        let error = read(&HeaderMap::new(), pieces(&["ghi", "jk"]), &limits).await.unwrap_err();
        assert_eq!((error.kind, error.retry_after.is_some()), (Kind::Unavailable, true));
        drop(first);
        assert_eq!(read(&HeaderMap::new(), pieces(&["ghi", "jk"]), &limits).await.unwrap(), "ghijk");
    }

    #[tokio::test]
    async fn an_unknown_encoding_is_415() {
        let error = read(&headers(&[("content-encoding", "br")]), Body::from("x"), &SMALL).await.unwrap_err();
        assert_eq!(error.kind.status(), 415);
    }

    #[tokio::test]
    async fn a_sender_that_stops_is_let_go() {
        let silent = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let limits = BodyLimits { silence_max: Duration::from_millis(1), ..SMALL };
        let error = read(&HeaderMap::new(), silent, &limits).await.unwrap_err();
        assert_eq!(error.message, "the request body stopped before its end");
    }
}
