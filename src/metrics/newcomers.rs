//! How many series may become known in a minute.

use parking_lot::Mutex;

use super::refusal::Refusal;

/// Counts new series by minutes of the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Newcomers(Mutex<Minute>);

#[derive(Debug, Default)]
struct Minute {
    number: u32,
    count: usize,
}

impl Newcomers {
    /// Lets one more in, unless that is too many; `limit` 0 is no limit.
    pub(super) fn admit(&self, uptime_secs: u32, limit: usize) -> Result<(), Refusal> {
        if limit == 0 {
            return Ok(());
        }
        let mut minute = self.0.lock();
        if minute.number != uptime_secs / 60 {
            *minute = Minute { number: uptime_secs / 60, count: 0 };
        }
        if minute.count >= limit {
            return Err(Refusal::SeriesRateLimit { limit });
        }
        minute.count += 1;
        Ok(())
    }
}
