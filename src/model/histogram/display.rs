//! Histograms as text, as Prometheus prints them in label values and messages.

use std::fmt;

use super::Histogram;
use super::buckets::Bucket;
use crate::model::float_text::general;

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", general(self.count), general(self.sum))?;
        let populated = |bucket: &Bucket| bucket.count != 0.0;
        let mut negative: Vec<Bucket> = self.negative().filter(populated).collect();
        negative.reverse();
        for bucket in negative {
            write!(f, ", [{},{}):{}", general(bucket.lower), general(bucket.upper), general(bucket.count))?;
        }
        if self.zero_count != 0.0 {
            let zero = self.zero();
            write!(f, ", [{},{}]:{}", general(zero.lower), general(zero.upper), general(zero.count))?;
        }
        for bucket in self.positive().filter(populated) {
            let open = if self.uses_custom_buckets() && bucket.lower == f64::NEG_INFINITY { '[' } else { '(' };
            write!(f, ", {open}{},{}]:{}", general(bucket.lower), general(bucket.upper), general(bucket.count))?;
        }
        f.write_str("}")
    }
}
