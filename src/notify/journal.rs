//! The file `notify.state`: records are appended as things happen, and the file is written anew when it has grown.
//!
//! Format (docs/format/notify.md): a line `novascope-notify <version>`, then a line for each record: its CRC32C in hex,
//! a space, JSON. A crash may tear the last line, which is then not there; everything before is.
//!
//! [`Journal::push`] only remembers; [`Journal::commit`] writes and syncs what was pushed by anybody, so that many who
//! wait share one sync.

use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::record::Record;
use crate::base::disk::{Disk, File, temporary_name};
use crate::telemetry::Counters;

/// Raised when an older reader could not understand the file.
pub const VERSION: u32 = 2;
const MAGIC: &str = "novascope-notify";
/// A larger file is no file of ours.
const BYTES_MAX: u64 = 4 << 30;
/// A file that is shorter is not written anew.
const REWRITE_BYTES_MIN: u64 = 16 << 20;

static FAILURES: Counters<0> = Counters::new(
    "novascope_notification_state_failures_total",
    "Writes of the notification state that failed; the next one writes everything again.",
    [],
);

/// The state on disk. Shared by everybody who changes something.
pub struct Journal {
    disk: Disk,
    path: PathBuf,
    pending: Mutex<Pending>,
    file: Mutex<Option<Open>>,
}

/// Lines that are not in the file yet.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// How many times something was pushed.
    pushed: u64,
}

struct Open {
    file: File,
    bytes: u64,
    /// The length when it was last written anew.
    bytes_first: u64,
    /// The number of pushes that are in the file.
    synced: u64,
}

/// What was found in a file.
#[derive(Debug, Default)]
pub struct Found {
    pub records: Vec<Record>,
    /// What could not be read: the first of it.
    pub damage: Option<String>,
}

impl Journal {
    pub fn new(disk: Disk, folder: &Path) -> Self {
        let path = folder.join("notify.state");
        Self { disk, path, pending: Mutex::default(), file: Mutex::new(None) }
    }

    /// Everything in the file, in order. A file of another kind is damage and gives nothing.
    pub fn read(&self) -> io::Result<Found> {
        match self.disk.read_salvaged(&self.path, BYTES_MAX) {
            Ok((bytes, _)) => Ok(parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::default()),
            Err(error) => Err(error),
        }
    }

    /// Keeps a file that is damaged under another name, for whoever wants to look.
    pub fn set_aside(&self) {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".damaged");
        if let (Ok((bytes, _)), path) = (self.disk.read_salvaged(&self.path, BYTES_MAX), PathBuf::from(name)) {
            let _ = self.disk.publish(&path, &bytes);
        }
    }

    /// Remembers records; gives the number to wait for.
    pub fn push(&self, records: &[Record]) -> u64 {
        let mut pending = self.pending.lock();
        for record in records {
            write_line(record, &mut pending.bytes);
        }
        pending.pushed += 1;
        pending.pushed
    }

    /// Whether something waits to be written.
    pub fn is_behind(&self) -> bool {
        !self.pending.lock().bytes.is_empty()
    }

    /// Whether the file has grown so much that it is to be written anew.
    pub fn is_long(&self) -> bool {
        let file = self.file.lock();
        file.as_ref().is_none_or(|open| open.bytes > REWRITE_BYTES_MIN.max(open.bytes_first * 3))
    }

    /// Writes and syncs at least everything up to this number. On a failure the file is closed, so that the next
    /// [`Self::rewrite`] makes a new one.
    pub fn commit(&self, number: u64) -> io::Result<()> {
        let mut file = self.file.lock();
        let Some(open) = file.as_mut() else {
            return Err(io::Error::other("the notification state is not open"));
        };
        if open.synced >= number {
            return Ok(());
        }
        let (bytes, pushed) = {
            let mut pending = self.pending.lock();
            (std::mem::take(&mut pending.bytes), pending.pushed)
        };
        let written = open.file.write_at(&bytes, open.bytes).and_then(|()| open.file.sync());
        match written {
            Ok(()) => {
                open.bytes += bytes.len() as u64;
                open.synced = pushed;
                Ok(())
            }
            Err(error) => {
                FAILURES.get().inc();
                *file = None;
                Err(error)
            }
        }
    }

    /// Writes the file anew with what `all` gives: the state as it is by then.
    pub fn rewrite(&self, all: impl FnOnce() -> Vec<Record>) -> io::Result<()> {
        let mut file = self.file.lock();
        // What was pushed by now is in `all`. What is pushed meanwhile may be in both, which does no harm.
        let (pushed, len_pending) = {
            let pending = self.pending.lock();
            (pending.pushed, pending.bytes.len())
        };
        let records = all();
        let mut bytes = format!("{MAGIC} {VERSION}\n").into_bytes();
        records.iter().for_each(|record| write_line(record, &mut bytes));
        match self.replace(&bytes) {
            Ok(fresh) => {
                self.pending.lock().bytes.drain(..len_pending);
                let len = bytes.len() as u64;
                *file = Some(Open { file: fresh, bytes: len, bytes_first: len, synced: pushed });
                Ok(())
            }
            Err(error) => {
                FAILURES.get().inc();
                *file = None;
                Err(error)
            }
        }
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<File> {
        let temporary = temporary_name(&self.path);
        match self.disk.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.disk.create_new(&temporary)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        self.disk.rename(&temporary, &self.path)?;
        if let Some(folder) = self.path.parent() {
            self.disk.sync_dir(folder)?;
        }
        Ok(file)
    }
}

fn write_line(record: &Record, bytes: &mut Vec<u8>) {
    // Records are strings and numbers, which always have a JSON form.
    let json = serde_json::to_vec(record).unwrap_or_default();
    bytes.extend(format!("{:08x} ", crc32c::crc32c(&json)).into_bytes());
    bytes.extend(json);
    bytes.push(b'\n');
}

fn parse(bytes: &[u8]) -> Found {
    let mut found = Found::default();
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    let head = lines.next().map(|(_, line)| String::from_utf8_lossy(line).trim_end().to_owned()).unwrap_or_default();
    let version = head.strip_prefix(MAGIC).map(str::trim);
    if version != Some(VERSION.to_string().as_str()) {
        found.damage = Some(format!("begins with {:?}, not with {MAGIC} {VERSION}", head.get(..40).unwrap_or(&head)));
        return found;
    }
    for (number, line) in lines {
        match parse_line(line) {
            Some(record) => found.records.push(record),
            // The end of a file that was being written when the process died.
            None if !line.ends_with(b"\n") => break,
            None => {
                found.damage.get_or_insert_with(|| format!("line {} is damaged", number + 1));
            }
        }
    }
    found
}

/// The lines that are whole, as a file of their own.
pub fn whole(bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("{MAGIC} {VERSION}\n").into_bytes();
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').skip(1);
    lines.filter(|line| parse_line(line).is_some()).for_each(|line| out.extend_from_slice(line));
    out
}

/// Checks the bytes of such a file; answers what it holds.
///
/// # Errors
/// Says what is damaged.
pub fn verify(bytes: &[u8]) -> Result<String, String> {
    let found = parse(bytes);
    match found.damage {
        Some(damage) => Err(format!("{damage}; {} records are whole", found.records.len())),
        None => Ok(format!("{} records", found.records.len())),
    }
}

fn parse_line(line: &[u8]) -> Option<Record> {
    let (checksum, rest) = line.split_at_checked(9)?;
    let json = rest.strip_suffix(b"\n")?;
    let checksum = u32::from_str_radix(std::str::from_utf8(checksum).ok()?.trim_end(), 16).ok()?;
    (crc32c::crc32c(json) == checksum).then(|| serde_json::from_slice(json).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::disk::Crash;
    use crate::base::rng::Rng;
    use crate::model::labels::Labels;
    use crate::notify::alert::Alert;

    fn alert(name: &str) -> Record {
        Record::alert(&Alert {
            labels: Labels::from_pairs([("alertname", name)]),
            annotations: Labels::empty(),
            generator_url: String::new(),
            starts_at: 1,
            ends_at: 2,
            updated_at: 1,
            is_timeout: false,
        })
    }

    fn count(journal: &Journal) -> (usize, bool) {
        let found = journal.read().unwrap();
        (found.records.len(), found.damage.is_some())
    }

    #[test]
    fn what_was_committed_is_there_after_a_crash_and_a_torn_line_is_not() {
        let (disk, sim) = Disk::simulated(Rng::from_seed(5));
        let folder = Path::new("/data");
        disk.create_dir_all(folder).unwrap();
        let journal = Journal::new(disk.clone(), folder);
        assert!(journal.commit(1).is_err(), "not open yet");
        journal.rewrite(|| vec![alert("a")]).unwrap();
        let number = journal.push(&[alert("b"), alert("c")]);
        journal.commit(number).unwrap();
        journal.push(&[alert("lost")]);
        sim.restart(Crash::Power);
        let again = Journal::new(disk.clone(), folder);
        assert_eq!(count(&again), (3, false));

        let bytes = disk.read(Path::new("/data/notify.state"), 1 << 20).unwrap();
        disk.publish(Path::new("/data/notify.state"), &bytes[..bytes.len() - 5]).unwrap();
        assert_eq!(count(&again), (2, false), "the last line is torn");
        let mut flipped = bytes;
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        disk.publish(Path::new("/data/notify.state"), &flipped).unwrap();
        assert_eq!(count(&again), (2, true), "damage in the middle is said, and costs a record");
        disk.publish(Path::new("/data/notify.state"), b"novascope-notify 9\n").unwrap();
        assert_eq!(count(&again), (0, true));
    }
}
