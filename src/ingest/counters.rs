//! What came in by each push protocol.

use crate::ingest::report::Report;
use crate::server::error::Kind;
use crate::server::rate;
use crate::telemetry::{Counter, Counters};

static SAMPLES: Counters<1> =
    Counters::new("novascope_ingest_samples_total", "Samples and native histograms taken.", ["protocol"]);
static REJECTED: Counters<2> = Counters::new(
    "novascope_ingest_rejected_samples_total",
    "Samples and native histograms refused.",
    ["protocol", "reason"],
);
static EXEMPLARS: Counters<1> = Counters::new("novascope_ingest_exemplars_total", "Exemplars taken.", ["protocol"]);
static BYTES: Counters<1> =
    Counters::new("novascope_ingest_bytes_total", "Bytes of request bodies as they were sent.", ["protocol"]);
static REQUESTS: Counters<2> =
    Counters::new("novascope_ingest_requests_total", "Requests by what became of them.", ["protocol", "result"]);

/// The counters of one protocol.
#[derive(Clone, Copy, Debug)]
pub struct ProtocolCounters {
    protocol: &'static str,
    samples: &'static Counter,
    exemplars: &'static Counter,
    bytes: &'static Counter,
    accepted: &'static Counter,
    partial: &'static Counter,
}

impl ProtocolCounters {
    pub fn new(protocol: &'static str) -> Self {
        Self {
            protocol,
            samples: SAMPLES.with([protocol]),
            exemplars: EXEMPLARS.with([protocol]),
            bytes: BYTES.with([protocol]),
            accepted: REQUESTS.with([protocol, "accepted"]),
            partial: REQUESTS.with([protocol, "partial"]),
        }
    }

    /// Counts a body that was read.
    pub fn received(&self, bytes: usize) {
        self.bytes.add(bytes as u64);
    }

    /// Counts a request that was taken, whole or in part.
    pub fn stored(&self, report: &Report) {
        self.samples.add(report.samples + report.histograms);
        rate::brought(report.samples + report.histograms + report.rejected());
        self.exemplars.add(report.exemplars);
        for (reason, count) in report.reasons() {
            REJECTED.with([self.protocol, reason]).add(*count);
        }
        if report.is_clean() { self.accepted.inc() } else { self.partial.inc() }
    }

    /// Counts a request that failed as a whole.
    pub fn failed(&self, kind: Kind) {
        REQUESTS.with([self.protocol, kind.error_type()]).inc();
    }
}
