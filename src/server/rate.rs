//! How fast each sender may send samples: a bucket for each address, in samples.
//!
//! A request is let in while its sender's bucket is not empty, and what it brought is taken out afterwards, since
//! nobody knows before it is decoded. So a sender may overdraw once by a request, and then waits until that is paid.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::Response;
use hashbrown::HashMap;
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;

use crate::base::clock::Clock;
use crate::telemetry::Counters;

use super::error::{Failure, Kind};

static LIMITED: Counters<0> =
    Counters::new("novascope_rate_limited_requests_total", "Requests refused because their sender was too fast.", []);

/// Senders that are remembered; when more come, those with full buckets are forgotten, which changes nothing for them.
const SENDERS_MAX: usize = 65_536;

tokio::task_local! {
    /// Samples that the request which this task serves has brought so far.
    static BROUGHT: Cell<u64>;
}

/// Counts samples of the request that the calling task serves, taken or refused.
pub fn brought(samples: u64) {
    // Outside of a request, or where no rate is set, nobody asks.
    let _ = BROUGHT.try_with(|total| total.set(total.get() + samples));
}

/// Buckets by address.
#[derive(Debug)]
pub struct SampleRate {
    clock: Clock,
    /// Samples a second; 0 for no limit.
    rate: u64,
    burst: u64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Below zero while overdrawn.
    samples: f64,
    at: Duration,
}

impl SampleRate {
    /// `rate` samples a second, 0 for no limit; `burst` at once, 0 for ten seconds' worth.
    pub fn new(clock: Clock, rate: u64, burst: u64) -> Self {
        let burst = if burst == 0 { rate.saturating_mul(10) } else { burst };
        Self { clock, rate, burst, buckets: Mutex::default() }
    }

    /// How long the sender has to wait, if it has to.
    fn check(&self, sender: IpAddr) -> Option<Duration> {
        let mut buckets = self.buckets.lock();
        let now = self.clock.monotonic();
        let bucket = buckets.get_mut(&sender)?;
        self.refill(bucket, now);
        (bucket.samples <= 0.0).then(|| Duration::from_secs_f64((1.0 - bucket.samples) / self.rate as f64))
    }

    fn take(&self, sender: IpAddr, samples: u64) {
        let mut buckets = self.buckets.lock();
        let now = self.clock.monotonic();
        if buckets.len() >= SENDERS_MAX && !buckets.contains_key(&sender) {
            buckets.retain(|_, bucket| {
                self.refill(bucket, now);
                bucket.samples < self.burst as f64
            });
            if buckets.len() >= SENDERS_MAX {
                return;
            }
        }
        let bucket = buckets.entry(sender).or_insert(Bucket { samples: self.burst as f64, at: now });
        self.refill(bucket, now);
        bucket.samples -= samples as f64;
    }

    fn refill(&self, bucket: &mut Bucket, now: Duration) {
        let gained = now.saturating_sub(bucket.at).as_secs_f64() * self.rate as f64;
        bucket.samples = (bucket.samples + gained).min(self.burst as f64);
        bucket.at = now;
    }

    fn failure(&self, wait: Duration) -> Failure {
        let text =
            format!("more than {} samples a second from this sender; retry in {} ms", self.rate, wait.as_millis());
        Failure::new(Kind::RateLimited, text).with_retry_after(wait)
    }

    /// Stands before the paths that bring samples.
    pub async fn limit(self: Arc<Self>, request: Request, next: Next) -> Response {
        let sender = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
        let Some(sender) = sender.filter(|_| self.rate > 0) else { return next.run(request).await };
        if let Some(wait) = self.check(sender) {
            LIMITED.get().inc();
            let failure = self.failure(wait);
            let media = request.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
            let is_grpc = media.is_some_and(|media| media.starts_with(b"application/grpc"));
            return if is_grpc { failure.into_status().into_http::<Body>() } else { failure.into_text() };
        }
        let served = async {
            let response = next.run(request).await;
            (response, BROUGHT.with(Cell::get))
        };
        let (response, samples) = BROUGHT.scope(Cell::new(0), served).await;
        self.take(sender, samples);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_that_overdraws_waits_until_it_is_paid_and_others_do_not() {
        let (clock, hand) = Clock::simulated(0);
        let rate = SampleRate::new(clock, 100, 200);
        let (fast, slow) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        rate.take(fast, 150);
        assert_eq!(rate.check(fast), None);
        rate.take(fast, 150);
        let wait = rate.check(fast).unwrap();
        assert!((1.0..1.1).contains(&wait.as_secs_f64()), "{wait:?}");
        assert_eq!(rate.check(slow), None);
        hand.advance(wait);
        assert_eq!(rate.check(fast), None);
        hand.advance(Duration::from_secs(3_600));
        rate.take(fast, 201);
        assert!(rate.check(fast).is_some(), "an idle hour is worth one burst");
    }
}
