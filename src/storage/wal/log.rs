//! The log itself: a queue of frames, a writer that empties it, and the state that both share.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::base::disk::Disk;
use crate::base::scratch;

use super::aside::{self, Damaged};
use super::frame::{PAYLOAD_MAX, push_frame};
use super::reader::{Damage, FrameReader};
use super::snapshot;
use super::ticket::{Ticket, WalError};
use super::writer::{Writer, segment_path};

/// When a ticket resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// When its frames are synced.
    Sync,
    /// When its frames are written; `Wal::tick` syncs.
    Fast,
}

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct WalConfig {
    pub folder: PathBuf,
    pub mode: Mode,
    pub segment_bytes_max: u64,
    /// A segment that was begun so long ago is ended.
    pub segment_age_max: Duration,
    /// Whether somebody runs `Wal::run` on a thread. Without, whoever waits does the work: for simulations.
    pub threaded: bool,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    pub frames: u64,
    pub bytes: u64,
    pub batches: u64,
    /// Failures that a fresh segment healed.
    pub healed: u64,
    /// Batches that could not be made durable at all.
    pub refused: u64,
    /// Bytes in segments that no snapshot covers.
    pub live_bytes: u64,
}

/// A write-ahead log in a folder.
#[derive(Debug)]
pub struct Wal {
    config: WalConfig,
    disk: Disk,
    queue: Mutex<Queue>,
    work: Condvar,
    writer: Mutex<Writer>,
    read_only: Mutex<Option<String>>,
    /// Segments below it were found at the start; this run writes those from it on.
    first_own: u64,
    damaged: Damaged,
    /// Kept beside the reason for a look without a lock.
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    frames: AtomicU64,
    bytes: AtomicU64,
    batches: AtomicU64,
    refused: AtomicU64,
    live_bytes: AtomicU64,
    is_read_only: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    /// Payloads that must be durable before the frames that were handed in after them.
    preludes: Vec<(u8, Vec<u8>)>,
    frames: Vec<(u8, Vec<u8>)>,
    tickets: Vec<Ticket>,
    cut: bool,
    closed: bool,
}

impl Wal {
    /// Opens a log behind what its folder holds already, which `replay` reads.
    pub fn open(disk: &Disk, config: WalConfig) -> io::Result<Self> {
        let mut writer = Writer::new(disk.clone(), config.folder.clone(), config.segment_bytes_max);
        let segments = list_segments(disk, &config.folder)?;
        // Above snapshots too: a segment below one would be taken for covered by it.
        let covered = snapshot::list(disk, &config.folder)?.last().map_or(1, |(number, _)| *number);
        writer.next_number = segments.last().map_or(1, |(number, _)| number + 1).max(covered);
        writer.sequence = last_sequence(disk, &config.folder, &segments).map_or(1, |last| last + 1);
        let first_own = writer.next_number;
        let counters = Counters::default();
        counters.live_bytes.store(segments.iter().map(|(_, len)| len).sum(), Ordering::Relaxed);
        Ok(Self {
            config,
            disk: disk.clone(),
            queue: Mutex::default(),
            work: Condvar::new(),
            writer: Mutex::new(writer),
            read_only: Mutex::default(),
            first_own,
            damaged: Damaged::default(),
            counters,
        })
    }

    /// Number of the first segment that this run may write; higher than every one that an earlier run wrote.
    pub fn first_own(&self) -> u64 {
        self.first_own
    }

    /// Numbers and lengths of the segments from `from` on that were found at the start, ascending.
    pub fn found(&self, from: u64) -> io::Result<Vec<(u64, u64)>> {
        let mut segments = list_segments(&self.disk, &self.config.folder)?;
        segments.retain(|(number, _)| (from..self.first_own).contains(number));
        Ok(segments)
    }

    /// Reads the frames of every segment from number `from` on that was found at the start, in order, until `visit`
    /// breaks. Meanwhile new frames may be appended.
    pub fn replay(&self, from: u64, mut visit: impl FnMut(Step<'_>) -> ControlFlow<()>) -> io::Result<Replayed> {
        let mut replayed = Replayed::default();
        let mut last: Option<u64> = None;
        for (number, len) in self.found(from)? {
            let path = segment_path(&self.config.folder, number);
            let file = match self.disk.open(&path).and_then(|file| file.len().map(|_| file)) {
                Ok(file) => file,
                Err(error) => {
                    self.note_damaged(&path);
                    replayed.damaged.push((number, Damage::unopened(&error, len)));
                    continue;
                }
            };
            let mut reader = FrameReader::new(&file)?;
            loop {
                let place = reader.position();
                let Some((header, payload)) = reader.next_frame() else { break };
                // A segment that failed is written again: the same numbers come twice, and the same frames are
                // harmless. Only a step over numbers means a loss.
                replayed.frames += 1;
                if let Some(last) = last
                    && header.sequence > last + 1
                {
                    replayed.lost_frames += header.sequence - last - 1;
                }
                last = Some(last.map_or(header.sequence, |last| last.max(header.sequence)));
                if visit(Step { segment: number, offset: place, kind: header.kind, payload }).is_break() {
                    return Ok(replayed);
                }
            }
            replayed.segments += 1;
            let damage = reader.damage().clone();
            if damage.is_harm() {
                self.note_damaged(&path);
            }
            if damage != Damage::default() {
                replayed.damaged.push((number, damage));
            }
        }
        Ok(replayed)
    }

    /// Makes durable what was found at the start. A process that was killed may have left frames that are only in the
    /// cache of the kernel; new frames refer to them, so they must not vanish in a power cut while the new ones stay.
    /// Answers whether they are durable: where not, new frames must not refer to them.
    pub fn sync_found(&self) -> bool {
        let sync = || -> io::Result<()> {
            for (number, _) in self.found(0)? {
                self.disk.open(&segment_path(&self.config.folder, number))?.sync()?;
            }
            self.disk.sync_dir(&self.config.folder)
        };
        sync().inspect_err(|error| tracing::warn!(%error, "cannot sync the log that was found")).is_ok()
    }

    /// Hands in a payload that later frames refer to. It is written with the next batch, before its frames and once
    /// more behind them, so that no single damage takes it.
    pub fn prelude(&self, kind: u8, entry: &[u8]) {
        let mut queue = self.queue.lock();
        match queue.preludes.last_mut() {
            Some((last, payload)) if *last == kind && payload.len() + entry.len() < PAYLOAD_MAX / 2 => {
                payload.extend_from_slice(entry);
            }
            _ => queue.preludes.push((kind, entry.to_vec())),
        }
    }

    /// Hands in a frame; the ticket resolves when it is durable, as the mode has it. Preludes that were handed in
    /// before are then durable too. An empty payload stands for no frame.
    pub fn append(&self, kind: u8, payload: Vec<u8>) -> Ticket {
        self.enqueue(|queue| {
            if !payload.is_empty() {
                queue.frames.push((kind, payload));
            }
        })
    }

    /// The same, with the frame twice: no single damage takes it. For what may be repeated without harm.
    pub fn append_twice(&self, kind: u8, payload: &[u8]) -> Ticket {
        self.enqueue(|queue| queue.frames.extend([(kind, payload.to_vec()), (kind, payload.to_vec())]))
    }

    /// Ends the segment: the ticket resolves with the number of the next, and everything handed in before is in
    /// segments below it.
    pub fn cut(&self) -> Ticket {
        self.enqueue(|queue| queue.cut = true)
    }

    fn enqueue(&self, change: impl FnOnce(&mut Queue)) -> Ticket {
        let ticket = Ticket::default();
        if let Some(reason) = self.read_only() {
            ticket.resolve(Err(WalError::ReadOnly(reason)));
            return ticket;
        }
        let mut queue = self.queue.lock();
        if queue.closed {
            ticket.resolve(Err(WalError::Closed));
            return ticket;
        }
        change(&mut queue);
        queue.tickets.push(ticket.clone());
        drop(queue);
        self.work.notify_one();
        ticket
    }

    /// Whether somebody else empties the queue, so that waiting for a ticket ends.
    pub fn is_threaded(&self) -> bool {
        self.config.threaded
    }

    /// Empties the queue until `close`.
    pub fn run(&self) {
        loop {
            {
                let mut queue = self.queue.lock();
                while queue.tickets.is_empty() && !queue.closed {
                    self.work.wait(&mut queue);
                }
                if queue.tickets.is_empty() && queue.closed {
                    return;
                }
            }
            self.pump();
        }
    }

    /// Writes what is queued now as one batch, and resolves its tickets.
    pub fn pump(&self) {
        let mut writer = self.writer.lock();
        let mut queue = {
            let mut queue = self.queue.lock();
            let closed = queue.closed;
            std::mem::replace(&mut *queue, Queue { closed, ..Queue::default() })
        };
        let result = self.write_batch(&mut writer, &mut queue);
        let outcome = match &result {
            Ok(()) => {
                if queue.cut {
                    writer.cut();
                }
                Ok(writer.next_number)
            }
            Err(error) => Err(WalError::ReadOnly(self.go_read_only(error))),
        };
        drop(writer);
        if outcome.is_err() {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            // Preludes are not repeated by anybody: they wait for better times, ahead of newer ones.
            let mut newer = self.queue.lock();
            queue.preludes.append(&mut newer.preludes);
            newer.preludes = queue.preludes;
        }
        for ticket in queue.tickets {
            ticket.resolve(outcome.clone());
        }
    }

    fn write_batch(&self, writer: &mut Writer, queue: &mut Queue) -> io::Result<()> {
        if queue.preludes.is_empty() && queue.frames.is_empty() {
            return Ok(());
        }
        let preludes: Vec<(u8, Vec<u8>)> =
            queue.preludes.iter().map(|(kind, payload)| (*kind, compressed(payload))).collect();
        let mut sequence = writer.sequence;
        let size = |frames: &[(u8, Vec<u8>)]| frames.iter().map(|(_, payload)| payload.len() + 64).sum::<usize>();
        let len = scratch::with(|bytes| {
            bytes.clear();
            // A list that grows through megabytes of definitions would take twice their size.
            bytes.reserve(size(&queue.frames) + 2 * size(&preludes));
            for (kind, payload) in preludes.iter().chain(&queue.frames).chain(&preludes) {
                push_frame(bytes, *kind, sequence, payload);
                sequence += 1;
            }
            writer.write(bytes, self.config.mode == Mode::Sync).map(|()| bytes.len() as u64)
        })?;
        let frames = sequence - writer.sequence;
        writer.sequence = sequence;
        self.counters.frames.fetch_add(frames, Ordering::Relaxed);
        self.counters.bytes.fetch_add(len, Ordering::Relaxed);
        self.counters.live_bytes.fetch_add(len, Ordering::Relaxed);
        self.counters.batches.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// What is due by time: a sync in `fast` mode, the end of a segment, a probe while read-only. To be called about once
    /// a second, with the monotonic clock.
    pub fn tick(&self, now: Duration) {
        let mut writer = self.writer.lock();
        if self.read_only().is_some() {
            let mut probe = Vec::new();
            // A frame of kind 0 says nothing; it shows that bytes get to the disk again.
            push_frame(&mut probe, 0, writer.sequence, &[0; 4_096]);
            match writer.write(&probe, true) {
                Ok(()) => {
                    writer.sequence += 1;
                    *self.read_only.lock() = None;
                    self.counters.is_read_only.store(0, Ordering::Release);
                    tracing::info!("the log takes writes again");
                }
                Err(error) => {
                    self.go_read_only(&error);
                }
            }
        } else if let Err(error) = writer.sync() {
            self.go_read_only(&error);
        } else {
            writer.cut_aged(now, self.config.segment_age_max);
        }
    }

    fn go_read_only(&self, error: &io::Error) -> String {
        let reason = format!("cannot write the log: {error}");
        if self.read_only.lock().replace(reason.clone()).is_none() {
            tracing::error!(%error, "cannot write the log: the store is read-only until it can");
        }
        self.counters.is_read_only.store(1, Ordering::Release);
        reason
    }

    /// Why nothing can be appended now, if so.
    pub fn read_only(&self) -> Option<String> {
        if self.counters.is_read_only.load(Ordering::Acquire) == 0 { None } else { self.read_only.lock().clone() }
    }

    /// Says that a file of the log is damaged: it is set aside when it is not needed any more.
    pub fn note_damaged(&self, path: &Path) {
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            self.damaged.note(name.to_owned());
        }
    }

    /// Takes a file of the log away, which must not be needed any more.
    pub fn retire(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        self.damaged.retire(&self.disk, &self.config.folder, name)
    }

    /// Removes what was set aside: for when there is no room for it.
    pub fn forget_damaged(&self) -> io::Result<()> {
        aside::keep(&self.disk, &self.config.folder, 0)
    }

    /// Removes the segments below a number, which a snapshot covers.
    pub fn remove_below(&self, number: u64) -> io::Result<()> {
        let mut left = 0;
        for (segment, len) in list_segments(&self.disk, &self.config.folder)? {
            if segment < number {
                self.retire(&segment_path(&self.config.folder, segment))?;
            } else {
                left += len;
            }
        }
        self.counters.live_bytes.store(left, Ordering::Relaxed);
        Ok(())
    }

    /// Takes nothing more; what is queued is still written. `run` returns after that.
    pub fn close(&self) {
        self.queue.lock().closed = true;
        self.work.notify_all();
        self.pump();
        if let Err(error) = self.writer.lock().sync() {
            self.go_read_only(&error);
        }
    }

    /// Counts since the start.
    pub fn stats(&self) -> WalStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WalStats {
            frames: get(&self.counters.frames),
            bytes: get(&self.counters.bytes),
            batches: get(&self.counters.batches),
            healed: self.writer.lock().healed,
            refused: get(&self.counters.refused),
            live_bytes: get(&self.counters.live_bytes),
        }
    }

    /// Bytes that were written since the start.
    pub fn logged(&self) -> u64 {
        self.counters.bytes.load(Ordering::Relaxed)
    }

    /// Bytes in segments that no snapshot covers.
    pub fn live_bytes(&self) -> u64 {
        self.counters.live_bytes.load(Ordering::Relaxed)
    }

    pub fn folder(&self) -> &Path {
        &self.config.folder
    }
}

/// A frame on its way out of the log.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    pub segment: u64,
    /// Where in the segment it was looked for.
    pub offset: u64,
    pub kind: u8,
    pub payload: &'a [u8],
}

/// What a replay found.
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    pub segments: u64,
    pub frames: u64,
    /// Numbers that no frame has.
    pub lost_frames: u64,
    /// Segments with bytes that are no frames.
    pub damaged: Vec<(u64, Damage)>,
}

/// Numbers and lengths of the segments in a folder, ascending.
fn list_segments(disk: &Disk, folder: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut segments: Vec<(u64, u64)> = disk
        .list(folder)?
        .into_iter()
        .filter_map(|entry| Some((entry.name.strip_suffix(".wal")?.parse().ok()?, entry.len)))
        .collect();
    segments.sort_unstable();
    Ok(segments)
}

/// The highest number of a frame that was written; it stands in the last segment that has any.
fn last_sequence(disk: &Disk, folder: &Path, segments: &[(u64, u64)]) -> Option<u64> {
    for (number, _) in segments.iter().rev() {
        // One that cannot be read is reported when the log is read. Its numbers given twice do no harm.
        let Ok(file) = disk.open(&segment_path(folder, *number)) else { continue };
        let Ok(mut reader) = FrameReader::new(&file) else { continue };
        let mut last = None;
        while let Some((header, _)) = reader.next_frame() {
            last = last.max(Some(header.sequence));
        }
        if last.is_some() {
            return last;
        }
    }
    None
}

/// Preludes are label sets, which repeat themselves: fast zstd takes them to a tenth.
pub fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    // zstd fails only without memory or on a wrong level; the frame is then refused when it is read.
    out.extend(zstd::bulk::compress(payload, 1).unwrap_or_default());
    out
}

/// Undoes `compressed`.
pub fn decompressed(payload: &[u8]) -> io::Result<Vec<u8>> {
    let Some((len, packed)) = payload.split_first_chunk::<4>() else { return Err(io::ErrorKind::InvalidData.into()) };
    let len = u32::from_le_bytes(*len) as usize;
    if len > PAYLOAD_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    zstd::bulk::decompress(packed, len)
}

impl Wal {
    /// A shared log.
    pub fn shared(disk: &Disk, config: WalConfig) -> io::Result<Arc<Self>> {
        Self::open(disk, config).map(Arc::new)
    }
}
