//! Files of any length, in parts that each make a body of their own: for the command line.

use std::io::{self, Read};
use std::sync::Arc;

use super::{PROTOCOL, json, lines};
use crate::ingest::exposition::Format;
use crate::ingest::recent::Recent;
use crate::ingest::report::Report;
use crate::metrics::{CommitError, Origin, SeriesRef, Store};

/// Bytes of a part: one commit in a store, one request to a server.
const PART_BYTES: usize = 8 << 20;

/// A line longer than this is no line.
const LINE_BYTES_MAX: usize = 64 << 20;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    JsonLines,
    /// With times, and `# EOF` at the end.
    OpenMetrics,
}

/// Whole lines of a file, complete as a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub body: Vec<u8>,
    /// Lines of the file before the first line of the body.
    pub lines_before: usize,
}

/// Cuts a file into parts.
pub struct Parts<R> {
    input: R,
    kind: Kind,
    pending: Vec<u8>,
    lines: usize,
    /// The last `# TYPE` line: it holds for the samples of the next part too.
    type_line: Vec<u8>,
    is_done: bool,
}

impl<R: Read> Parts<R> {
    pub fn new(input: R, kind: Kind) -> Self {
        Self { input, kind, pending: Vec::new(), lines: 0, type_line: Vec::new(), is_done: false }
    }

    /// The next part; `None` at the end.
    pub fn next_part(&mut self) -> io::Result<Option<Part>> {
        if self.is_done {
            return Ok(None);
        }
        let mut wanted = PART_BYTES;
        loop {
            let missing = wanted.saturating_sub(self.pending.len());
            let read = self.input.by_ref().take(missing as u64).read_to_end(&mut self.pending)?;
            if read < missing {
                self.is_done = true;
                let rest = std::mem::take(&mut self.pending);
                return Ok((!rest.is_empty()).then(|| self.part(rest)));
            }
            if let Some(end) = memchr::memrchr(b'\n', &self.pending) {
                let rest = self.pending.split_off(end + 1);
                let whole = std::mem::replace(&mut self.pending, rest);
                return Ok(Some(self.part(whole)));
            }
            wanted *= 2;
            if wanted > LINE_BYTES_MAX {
                let message = format!("line {} exceeds {LINE_BYTES_MAX} bytes", self.lines + 1);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
    }

    fn part(&mut self, whole: Vec<u8>) -> Part {
        let lines = whole.iter().filter(|byte| **byte == b'\n').count();
        let lines_before = self.lines;
        self.lines += lines;
        if self.kind == Kind::JsonLines {
            return Part { body: whole, lines_before };
        }
        let mut part = Part { body: std::mem::take(&mut self.type_line), lines_before };
        // The line that was put before is not one of the file.
        part.lines_before = lines_before.saturating_sub(usize::from(!part.body.is_empty()));
        let before = part.body.clone();
        part.body.extend_from_slice(&whole);
        let last = memchr::memmem::rfind(&whole, b"# TYPE ").filter(|at| *at == 0 || whole[at - 1] == b'\n');
        self.type_line = match last {
            Some(at) => whole[at..].split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default().to_vec(),
            None => before,
        };
        if !self.is_done && !part.body.ends_with(b"# EOF\n") {
            part.body.extend_from_slice(b"# EOF\n");
        }
        part
    }
}

/// Puts parts into a store.
pub struct Importer<'a> {
    store: &'a Arc<Store>,
    kind: Kind,
    known: Recent<SeriesRef>,
    report: Report,
}

impl<'a> Importer<'a> {
    pub fn new(store: &'a Arc<Store>, kind: Kind) -> Self {
        Self { store, kind, known: Recent::new(1 << 18), report: Report::default() }
    }

    /// Stores a part and waits until it is as durable as the store's settings ask.
    pub fn take(&mut self, part: &Part) -> Result<(), CommitError> {
        let commit = match self.kind {
            Kind::JsonLines => {
                let mut taken = json::Taken { appender: self.store.appender(json::origin()), report: &mut self.report };
                for (number, line) in part.body.split(|byte| *byte == b'\n').enumerate() {
                    if !line.iter().all(u8::is_ascii_whitespace) {
                        json::take(line, (part.lines_before + number + 1) as u64, &[], &mut taken);
                    }
                }
                taken.appender.commit()
            }
            Kind::OpenMetrics => {
                let appender = self.store.appender(Origin::new(PROTOCOL).without_dedup());
                let defaults = lines::Defaults { time: None, extra: &[] };
                let mut taken = lines::Lines::new(appender, &self.known, 0, defaults);
                taken.take_part(&part.body, Format::OpenMetrics1, part.lines_before);
                let (report, appender) = taken.finish();
                self.report.merge(report);
                appender.commit()
            }
        };
        commit.wait()?;
        // Nobody else drives the store during an import.
        self.store.maintain();
        Ok(())
    }

    /// What became of everything.
    pub fn finish(self) -> Report {
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &[u8], kind: Kind) -> Vec<Part> {
        let mut parts = Parts::new(text, kind);
        std::iter::from_fn(|| parts.next_part().unwrap()).collect()
    }

    #[test]
    fn a_type_holds_for_the_next_part_and_lines_keep_their_numbers() {
        let mut text = b"# TYPE a counter\n".to_vec();
        while text.len() < PART_BYTES + 100 {
            text.extend_from_slice(b"a_total 1 1.5\n");
        }
        text.extend_from_slice(b"# EOF\n");
        let parts = parts(&text, Kind::OpenMetrics);
        assert_eq!(parts.len(), 2);
        assert!(parts[0].body.ends_with(b"a_total 1 1.5\n# EOF\n") && parts[0].lines_before == 0);
        assert!(parts[1].body.starts_with(b"# TYPE a counter\na_total 1 1.5\n") && parts[1].body.ends_with(b"# EOF\n"));
        // Minus the end that was put behind the first part, and with the type line before the second.
        let lines = |body: &[u8]| body.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(parts[1].lines_before, lines(&parts[0].body) - 1 - 1);
    }

    #[test]
    fn a_file_that_was_cut_is_not_completed() {
        let parts = parts(b"# TYPE a gauge\na 1 1\n", Kind::OpenMetrics);
        assert_eq!(parts[0].body, b"# TYPE a gauge\na 1 1\n");
        assert!(super::tests::parts(b"", Kind::JsonLines).is_empty());
    }
}
