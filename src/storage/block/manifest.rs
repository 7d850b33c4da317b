//! Which blocks live: a small file, replaced as a whole, with a checksum for each record.

use std::io;
use std::path::Path;

use crate::base::disk::Disk;
use crate::codec::bytes::{Reader, put_varint};

use super::format::Meta;

const MAGIC: [u8; 8] = *b"NOVAMANI";
const VERSION: u32 = 1;
const NAME: &str = "MANIFEST";
/// Length of the record that closes the file.
const END: u32 = u32::MAX;
/// A hundred thousand blocks take about 10 MiB.
const LEN_MAX: u64 = 64 << 20;

/// A live block, and the bytes of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Live {
    pub meta: Meta,
    pub len: u64,
}

/// What was found in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A new folder.
    Nothing,
    Whole(Vec<Live>),
    /// Records that could be read, of a manifest that is not whole.
    Damaged(Vec<Live>),
}

pub(super) fn write(disk: &Disk, folder: &Path, live: &[Live]) -> io::Result<()> {
    disk.publish(&folder.join(NAME), &encode(live))
}

pub(super) fn read(disk: &Disk, folder: &Path) -> Found {
    // What the disk cannot read is damage like any other: the blocks say themselves what they are.
    match disk.read_salvaged(&folder.join(NAME), LEN_MAX) {
        Ok((bytes, _)) => decode(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
        Err(_) => Found::Damaged(Vec::new()),
    }
}

fn encode(live: &[Live]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    let mut record = Vec::new();
    for Live { meta, len } in live {
        record.clear();
        meta.write(&mut record);
        put_varint(&mut record, *len);
        out.extend_from_slice(&(record.len() as u32).to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&record).to_le_bytes());
        out.extend_from_slice(&record);
    }
    out.extend_from_slice(&END.to_le_bytes());
    out.extend_from_slice(&(live.len() as u32).to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Found {
    let mut live = Vec::new();
    let mut whole = true;
    let Some(rest) = bytes.strip_prefix(&MAGIC).and_then(|rest| rest.strip_prefix(&VERSION.to_le_bytes())) else {
        return Found::Damaged(live);
    };
    let mut reader = Reader::new(rest);
    loop {
        let (Ok(len), Ok(checksum)) = (reader.u32(), reader.u32()) else { return Found::Damaged(live) };
        if len == END {
            whole &= checksum as usize == live.len() && reader.is_empty();
            break;
        }
        let Ok(record) = reader.take(len as usize) else { return Found::Damaged(live) };
        let mut fields = Reader::new(record);
        match Meta::read(&mut fields).and_then(|meta| Ok(Live { meta, len: fields.varint()? })) {
            Ok(block) if crc32c::crc32c(record) == checksum => live.push(block),
            _ => whole = false,
        }
    }
    if whole { Found::Whole(live) } else { Found::Damaged(live) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::block::Ulid;

    #[test]
    fn one_flipped_bit_anywhere_is_noticed() {
        let live: Vec<Live> = (0..3)
            .map(|i| {
                let meta = Meta {
                    id: Ulid(i),
                    level: 0,
                    resolution: 0,
                    min_time: 0,
                    max_time: 7_199_999,
                    series: 5,
                    samples: 9,
                    sources: vec![],
                };
                Live { meta, len: 1_000 }
            })
            .collect();
        let good = encode(&live);
        assert_eq!(decode(&good), Found::Whole(live.clone()));
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Found::Damaged(rest) = decode(&bytes) else { panic!("bit {bit} was not noticed") };
            assert!(rest.iter().all(|block| live.contains(block)));
        }
        for cut in 0..good.len() {
            assert!(matches!(decode(&good[..cut]), Found::Damaged(_)));
        }
    }
}
