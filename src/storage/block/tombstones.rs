//! Deletions that blocks have yet to carry out: which samples of which blocks are hidden until those are rewritten.
//!
//! Block files never change, so a deletion is a note beside them: for readers it holds at once, merging applies it. It
//! names the blocks that it is about, so that samples which are written afterwards, into later blocks, stay visible.
//! The file stands for all deletions and is replaced as a whole; it has everything twice, so that no single damage
//! brings deleted samples back.

use std::io;
use std::path::Path;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::disk::Disk;
use crate::codec::CodecError;
use crate::codec::bytes::{Reader, put_signed, put_varint};
use crate::model::labels::Labels;
use crate::model::matcher::{MatchOp, Matcher};
use crate::promql::source::Column;

use super::columns::push;
use super::format::{read_ulid, write_ulid};
use super::ulid::Ulid;

const MAGIC: [u8; 8] = *b"NOVATOMB";
const VERSION: u32 = 1;
const NAME: &str = "TOMBSTONES";
/// Magic, version, length and checksum of a copy.
const HEAD_LEN: usize = 20;
/// Ten thousand deletions with long matchers take a few megabytes.
const LEN_MAX: u64 = 256 << 20;
/// Deletions that may wait at the same time: each is looked at for each series of its blocks.
const COUNT_MAX: usize = 4_096;
/// Blocks of one deletion, and matchers of one.
const LIST_MAX: usize = 1 << 20;

/// What is to be deleted: the samples in `mint..=maxt` of the series that fulfil all matchers.
#[derive(Clone, Debug, PartialEq)]
pub struct Deletion {
    pub matchers: Vec<Matcher>,
    pub mint: i64,
    pub maxt: i64,
}

impl Deletion {
    fn concerns(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
    }

    /// Appends the deletion without the blocks it is about.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_signed(out, self.mint);
        put_signed(out, self.maxt);
        put_varint(out, self.matchers.len() as u64);
        for matcher in &self.matchers {
            out.push(match matcher.op {
                MatchOp::Equal => 0,
                MatchOp::NotEqual => 1,
                MatchOp::Regex => 2,
                MatchOp::NotRegex => 3,
            });
            for text in [&*matcher.name, &*matcher.value] {
                put_varint(out, text.len() as u64);
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// Reads what `write` wrote.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (mint, maxt) = (reader.signed()?, reader.signed()?);
        let mut matchers = Vec::new();
        for _ in 0..reader.count(LIST_MAX)? {
            let op = match reader.u8()? {
                0 => MatchOp::Equal,
                1 => MatchOp::NotEqual,
                2 => MatchOp::Regex,
                3 => MatchOp::NotRegex,
                _ => return Err(CodecError("a deletion has an unknown matcher")),
            };
            let (name, value) = (read_text(reader)?, read_text(reader)?);
            let matcher = Matcher::new(op, name, value);
            matchers.push(matcher.map_err(|_| CodecError("a deletion has a matcher that does not compile"))?);
        }
        Ok(Self { matchers, mint, maxt })
    }
}

fn read_text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, CodecError> {
    let len = reader.count(reader.rest().len())?;
    std::str::from_utf8(reader.take(len)?).map_err(|_| CodecError("a text is not UTF-8"))
}

/// A deletion, and the blocks that have yet to carry it out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tombstone {
    pub deletion: Arc<Deletion>,
    pub blocks: Vec<Ulid>,
}

/// The deletions of one block. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Graves(SmallVec<[Arc<Deletion>; 1]>);

impl Graves {
    /// Of a block, in the order in which they were made.
    pub(super) fn of(tombstones: &[Tombstone], block: Ulid) -> Self {
        let own = tombstones.iter().filter(|tombstone| tombstone.blocks.contains(&block));
        Self(own.map(|tombstone| Arc::clone(&tombstone.deletion)).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The times of a series that are hidden.
    pub(super) fn mask(&self, labels: &Labels) -> Mask {
        let mut ranges: SmallVec<[(i64, i64); 2]> = SmallVec::new();
        let own = self.0.iter().filter(|deletion| deletion.mint <= deletion.maxt && deletion.concerns(labels));
        ranges.extend(own.map(|deletion| (deletion.mint, deletion.maxt)));
        ranges.sort_unstable();
        let mut joined: SmallVec<[(i64, i64); 2]> = SmallVec::new();
        for (from, to) in ranges {
            match joined.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
                _ => joined.push((from, to)),
            }
        }
        Mask(joined)
    }
}

/// Ranges of time that are hidden in a series, ascending and apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mask(SmallVec<[(i64, i64); 2]>);

impl Mask {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether nothing in the range is visible.
    pub(super) fn covers(&self, mint: i64, maxt: i64) -> bool {
        self.0.iter().any(|(from, to)| *from <= mint && *to >= maxt)
    }

    /// Whether something in the range is hidden.
    pub(super) fn touches(&self, mint: i64, maxt: i64) -> bool {
        self.0.iter().any(|(from, to)| *from <= maxt && *to >= mint)
    }

    /// Takes the hidden samples out of a column.
    pub(super) fn apply(&self, column: &mut Column) {
        let (Some(first), Some(last)) = (column.times.first(), column.times.last()) else { return };
        if !self.touches(*first, *last) {
            return;
        }
        let mut kept = Column::default();
        let visible = |at: &usize| !self.touches(column.times[*at], column.times[*at]);
        (0..column.len()).filter(visible).for_each(|at| push(&mut kept, column, at));
        *column = kept;
    }
}

/// What was found in a folder.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    pub tombstones: Vec<Tombstone>,
    /// What is wrong with the file, if anything is.
    pub fault: Option<&'static str>,
}

pub(super) fn write(disk: &Disk, folder: &Path, tombstones: &[Tombstone]) -> io::Result<()> {
    if tombstones.len() > COUNT_MAX {
        return Err(io::Error::other(format!(
            "{COUNT_MAX} deletions wait to be carried out: clean the tombstones first"
        )));
    }
    disk.publish(&folder.join(NAME), &encode(tombstones))
}

pub(super) fn read(disk: &Disk, folder: &Path) -> Found {
    let without = |fault| Found { tombstones: Vec::new(), fault };
    match disk.read_salvaged(&folder.join(NAME), LEN_MAX) {
        Ok((bytes, _)) => decode(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => without(None),
        Err(_) => without(Some("the disk cannot read it")),
    }
}

fn encode(tombstones: &[Tombstone]) -> Vec<u8> {
    let mut body = Vec::new();
    put_varint(&mut body, tombstones.len() as u64);
    for Tombstone { deletion, blocks } in tombstones {
        put_varint(&mut body, blocks.len() as u64);
        blocks.iter().for_each(|id| write_ulid(&mut body, *id));
        deletion.write(&mut body);
    }
    let mut copy = MAGIC.to_vec();
    copy.extend_from_slice(&VERSION.to_le_bytes());
    copy.extend_from_slice(&(body.len() as u32).to_le_bytes());
    copy.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    copy.extend_from_slice(&body);
    copy.repeat(2)
}

fn decode(bytes: &[u8]) -> Found {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    match (decode_copy(first), decode_copy(second)) {
        (Ok(tombstones), Ok(same)) if tombstones == same => Found { tombstones, fault: None },
        (Ok(tombstones), _) | (_, Ok(tombstones)) => {
            Found { tombstones, fault: Some("one of its two copies is damaged; the other is whole") }
        }
        // A cut file: the first copy may still be whole, though it is longer than half of what is there.
        _ => match decode_copy(bytes) {
            Ok(tombstones) => Found { tombstones, fault: Some("it is cut short behind its first copy") },
            Err(_) => Found { tombstones: Vec::new(), fault: Some("both of its copies are damaged") },
        },
    }
}

fn decode_copy(bytes: &[u8]) -> Result<Vec<Tombstone>, CodecError> {
    const DAMAGED: CodecError = CodecError("tombstones are damaged");
    let (head, rest) = bytes.split_at_checked(HEAD_LEN).ok_or(DAMAGED)?;
    let rest_of_head = head.strip_prefix(&MAGIC).and_then(|head| head.strip_prefix(&VERSION.to_le_bytes()));
    let mut fields = Reader::new(rest_of_head.ok_or(DAMAGED)?);
    let (len, checksum) = (fields.u32()?, fields.u32()?);
    let body = rest.get(..len as usize).ok_or(DAMAGED)?;
    if crc32c::crc32c(body) != checksum {
        return Err(DAMAGED);
    }
    let mut reader = Reader::new(body);
    let count = reader.count(COUNT_MAX)?;
    let mut tombstones = Vec::new();
    for _ in 0..count {
        let blocks = reader.count(LIST_MAX)?;
        let blocks = (0..blocks).map(|_| read_ulid(&mut reader)).collect::<Result<_, _>>()?;
        tombstones.push(Tombstone { deletion: Arc::new(Deletion::read(&mut reader)?), blocks });
    }
    if reader.is_empty() { Ok(tombstones) } else { Err(DAMAGED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tombstones() -> Vec<Tombstone> {
        let matcher = |op, name, value| Matcher::new(op, name, value).unwrap();
        let matchers = vec![matcher(MatchOp::Equal, "__name__", "up"), matcher(MatchOp::NotRegex, "größe", "a|b.*")];
        let one = Deletion { matchers, mint: -5, maxt: i64::MAX };
        let other = Deletion { matchers: vec![matcher(MatchOp::Regex, "job", "x")], mint: 7, maxt: 9 };
        vec![
            Tombstone { deletion: Arc::new(one), blocks: vec![Ulid(1), Ulid(u128::MAX)] },
            Tombstone { deletion: Arc::new(other), blocks: vec![Ulid(1)] },
        ]
    }

    #[test]
    fn one_flipped_bit_anywhere_is_noticed_and_costs_nothing() {
        let (all, good) = (tombstones(), encode(&tombstones()));
        assert_eq!(decode(&good), Found { tombstones: all.clone(), fault: None });
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = decode(&bytes);
            assert!(found.fault.is_some() && found.tombstones == all, "bit {bit}");
        }
        for cut in 0..good.len() {
            let found = decode(&good[..cut]);
            assert!(found.fault.is_some());
            assert!(found.tombstones == all || cut < good.len() / 2);
        }
    }

    #[test]
    fn a_mask_is_what_all_deletions_of_a_block_hide() {
        let graves = Graves::of(&tombstones(), Ulid(1));
        let up = |job: &str, size: &str| Labels::from_pairs([("__name__", "up"), ("größe", size), ("job", job)]);
        assert_eq!(graves.mask(&up("x", "b")).0.as_slice(), [(7, 9)]);
        assert_eq!(graves.mask(&up("x", "c")).0.as_slice(), [(-5, i64::MAX)]);
        assert!(graves.mask(&up("y", "bb")).is_empty());
        let mask = Mask(SmallVec::from_slice(&[(0, 2), (5, 6)]));
        assert!(mask.covers(1, 2) && !mask.covers(1, 5) && mask.touches(3, 5) && !mask.touches(3, 4));
        let mut column = Column::default();
        (0..8).for_each(|time| column.push_float(time, 0, time as f64));
        mask.apply(&mut column);
        assert_eq!(column.times, [3, 4, 7]);
    }
}
