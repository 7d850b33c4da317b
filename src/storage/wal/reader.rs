//! Reads a file of frames from begin to end, over damage.

use std::io;
use std::path::Path;

use crc32c::crc32c;

use crate::base::disk::{Disk, File};

use super::frame::{HEADER_LEN, Header, MAGIC};

/// Bytes that are read at once.
const WINDOW: usize = 1 << 18;

/// What a file held besides good frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Runs of bytes that are no frames, with a good frame behind them: something was lost here.
    pub holes: Vec<Hole>,
    /// Bytes at the end that are no frames: a write that a crash cut short, or damage to the last frame.
    pub tail: Option<Hole>,
    /// Bytes that the disk cannot read.
    pub unreadable: u64,
    /// Why the file cannot be read at all, if so.
    pub error: Option<String>,
}

impl Damage {
    /// Of a file that cannot even be opened.
    pub fn unopened(error: &io::Error, len: u64) -> Self {
        Self { unreadable: len, error: Some(error.to_string()), ..Self::default() }
    }

    /// Whether there is more than what a crash may leave at the end of a segment.
    pub fn is_harm(&self) -> bool {
        !self.holes.is_empty() || self.unreadable > 0 || self.error.is_some()
    }
}

/// A run of bytes that are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    pub offset: u64,
    pub len: u64,
}

/// Streams frames; holds one window, or one frame where that is longer.
#[derive(Debug)]
pub struct FrameReader<'a> {
    file: &'a File,
    len: u64,
    /// File offset of `buffer[0]`.
    base: u64,
    buffer: Vec<u8>,
    /// Place in the buffer of the next byte to look at.
    at: usize,
    damage: Damage,
    /// Where the present run of bytes that are no frames began.
    hole: Option<u64>,
}

impl<'a> FrameReader<'a> {
    pub fn new(file: &'a File) -> io::Result<Self> {
        Ok(Self { len: file.len()?, file, base: 0, buffer: Vec::new(), at: 0, damage: Damage::default(), hole: None })
    }

    /// The next good frame; `None` at the end of the file. Damage on the way is noted and stepped over.
    pub fn next_frame(&mut self) -> Option<(Header, &[u8])> {
        loop {
            self.fill(HEADER_LEN);
            let Some(header) = self.peek_header() else {
                if !self.step_to_magic() {
                    return None;
                }
                continue;
            };
            let whole = HEADER_LEN + header.len as usize;
            self.fill(whole);
            let payload = self.buffer.get(self.at + HEADER_LEN..self.at + whole);
            if payload.is_some_and(|payload| crc32c(payload) == header.payload_crc) {
                self.end_hole();
                let begin = self.at + HEADER_LEN;
                self.at += whole;
                return self.buffer.get(begin..self.at).map(|payload| (header, payload));
            }
            // The header is right, so the damage is in the payload. A torn write may have left the begin of other
            // frames inside the announced length: go on byte by byte rather than by that length.
            self.begin_hole();
            self.at += 1;
        }
    }

    /// Offset in the file of the next byte to look at.
    pub fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    /// What was found besides frames, up to here.
    pub fn damage(&self) -> &Damage {
        &self.damage
    }

    fn peek_header(&self) -> Option<Header> {
        Header::parse(self.buffer.get(self.at..self.at + HEADER_LEN)?.try_into().ok()?)
    }

    /// Moves to the next place that begins like a frame; false at the end of the file.
    fn step_to_magic(&mut self) -> bool {
        if self.base + self.at as u64 >= self.len {
            self.end_file();
            return false;
        }
        self.begin_hole();
        let mut from = self.at + 1;
        loop {
            let rest = self.buffer.get(from..).unwrap_or(&[]);
            if let Some(found) = rest.windows(MAGIC.len()).position(|window| window == MAGIC) {
                self.at = from + found;
                return true;
            }
            // The magic may begin in the last bytes of the window.
            self.at = from.max(self.buffer.len().saturating_sub(MAGIC.len() - 1)).min(self.buffer.len());
            if self.base + self.buffer.len() as u64 >= self.len {
                self.at = self.buffer.len();
                self.end_file();
                return false;
            }
            self.fill(WINDOW);
            from = self.at;
        }
    }

    /// Has `want` bytes from `at` in the buffer, or all that the file still has.
    fn fill(&mut self, want: usize) {
        if self.buffer.len() - self.at >= want || self.base + self.buffer.len() as u64 >= self.len {
            return;
        }
        self.buffer.drain(..self.at);
        self.base += self.at as u64;
        self.at = 0;
        let held = self.buffer.len();
        let left = usize::try_from(self.len - self.base).unwrap_or(usize::MAX);
        self.buffer.resize(want.max(WINDOW).min(left).max(held), 0);
        // Where the disk cannot read there are zeros, which are no frames.
        let rest = self.buffer.get_mut(held..).unwrap_or(&mut []);
        let (read, unreadable) = self.file.read_over(rest, self.base + held as u64);
        self.damage.unreadable += unreadable;
        if held + read < self.buffer.len() {
            // The file is shorter than it said.
            self.buffer.truncate(held + read);
            self.len = self.base + self.buffer.len() as u64;
        }
    }

    fn begin_hole(&mut self) {
        self.hole.get_or_insert(self.base + self.at as u64);
    }

    fn end_hole(&mut self) {
        if let Some(offset) = self.hole.take() {
            self.damage.holes.push(Hole { offset, len: self.base + self.at as u64 - offset });
        }
    }

    fn end_file(&mut self) {
        if let Some(offset) = self.hole.take() {
            self.damage.tail = Some(Hole { offset, len: self.len - offset });
        }
    }
}

/// Calls `visit` with the payload of every good frame of one kind in a file, whatever else is in it.
pub fn payloads(disk: &Disk, path: &Path, kind: u8, mut visit: impl FnMut(&[u8])) -> io::Result<()> {
    let file = disk.open(path)?;
    let mut reader = FrameReader::new(&file)?;
    while let Some((header, payload)) = reader.next_frame() {
        if header.kind == kind {
            visit(payload);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::wal::frame::push_frame;

    fn frames() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for i in 0..5_u8 {
            push_frame(&mut bytes, 1, u64::from(i), &vec![i; 40 * usize::from(i)]);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn read(bytes: &[u8]) -> (Vec<u64>, Damage) {
        let folder = tempfile::tempdir().unwrap();
        let file = Disk::real().create_new(&folder.path().join("f")).unwrap();
        file.write_at(bytes, 0).unwrap();
        let mut reader = FrameReader::new(&file).unwrap();
        let mut found = Vec::new();
        while let Some((header, payload)) = reader.next_frame() {
            assert!(payload.iter().all(|byte| u64::from(*byte) == header.sequence));
            found.push(header.sequence);
        }
        (found, reader.damage().clone())
    }

    #[test]
    fn one_flipped_bit_costs_one_frame_and_is_reported() {
        let (bytes, ends) = frames();
        assert_eq!(read(&bytes), (vec![0, 1, 2, 3, 4], Damage::default()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let hit = ends.iter().position(|end| bit / 8 < *end).unwrap() as u64;
            // Two bytes of a header are reserved; its checksum covers them.
            let (found, damage) = read(&damaged);
            assert_eq!(found, (0..5).filter(|i| *i != hit).collect::<Vec<_>>(), "bit {bit}");
            assert_eq!((damage.holes.len(), damage.tail.is_some()), if hit == 4 { (0, true) } else { (1, false) });
        }
    }

    #[test]
    fn a_cut_file_gives_the_frames_before_the_cut() {
        let (bytes, ends) = frames();
        for cut in 0..bytes.len() {
            let (found, damage) = read(&bytes[..cut]);
            assert_eq!(found.len(), ends.iter().filter(|end| **end <= cut).count());
            assert_eq!(damage.tail.is_none(), cut == 0 || ends.contains(&cut));
        }
    }

    #[test]
    fn frames_longer_than_a_window_and_garbage_between_them_are_read() {
        let mut bytes = vec![7; 3 << 20];
        push_frame(&mut bytes, 1, 2, &vec![2; 2 << 20]);
        bytes.extend_from_slice(&MAGIC);
        push_frame(&mut bytes, 1, 3, &[3; 100]);
        let (found, damage) = read(&bytes);
        assert_eq!((found, damage.holes.len()), (vec![2, 3], 2));
    }
}
