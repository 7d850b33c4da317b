//! Heads, footers and sections of block files. Tables: docs/format/block.md.

use crate::codec::CodecError;
use crate::codec::bytes::{Reader, put_signed, put_varint};

use super::ulid::Ulid;

pub(super) const MAGIC: [u8; 8] = *b"NOVABLCK";
pub(super) const VERSION: u32 = 1;
/// Bytes before the first page.
pub(super) const HEAD_LEN: u64 = 12;
/// Bytes after the footer.
pub(super) const TAIL_LEN: u64 = 16;
/// A page ends after the chunk that reaches this size.
pub(super) const PAGE_BYTES: usize = 64 << 10;
/// A footer is a few hundred bytes; more is damage.
pub(super) const FOOTER_MAX: u32 = 64 << 10;
/// Plain bytes of a section: bounds what a damaged length can allocate.
const SECTION_MAX: u64 = 2 << 30;
const SOURCES_MAX: usize = 1_024;

/// What a block says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub id: Ulid,
    /// 0 as flushed, one more for each merge.
    pub level: u8,
    /// Milliseconds of a tier's windows, 0 for raw samples.
    pub resolution: i64,
    pub min_time: i64,
    pub max_time: i64,
    pub series: u64,
    pub samples: u64,
    /// Blocks that this one replaces.
    pub sources: Vec<Ulid>,
}

impl Meta {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_ulid(out, self.id);
        out.push(self.level);
        put_varint(out, self.resolution.unsigned_abs());
        put_signed(out, self.min_time);
        put_signed(out, self.max_time);
        put_varint(out, self.series);
        put_varint(out, self.samples);
        put_varint(out, self.sources.len() as u64);
        self.sources.iter().for_each(|source| write_ulid(out, *source));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let id = read_ulid(reader)?;
        let level = reader.u8()?;
        let resolution = i64::try_from(reader.varint()?).map_err(|_| CodecError("a resolution is out of range"))?;
        let (min_time, max_time) = (reader.signed()?, reader.signed()?);
        let (series, samples) = (reader.varint()?, reader.varint()?);
        let count = reader.count(SOURCES_MAX)?;
        let sources = (0..count).map(|_| read_ulid(reader)).collect::<Result<_, _>>()?;
        Ok(Self { id, level, resolution, min_time, max_time, series, samples, sources })
    }
}

pub(super) fn write_ulid(out: &mut Vec<u8>, id: Ulid) {
    out.extend_from_slice(&id.0.to_le_bytes());
}

pub(super) fn read_ulid(reader: &mut Reader<'_>) -> Result<Ulid, CodecError> {
    let low = reader.u64()?;
    let high = reader.u64()?;
    Ok(Ulid(u128::from(high) << 64 | u128::from(low)))
}

/// Where a section stands in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub offset: u64,
    pub len: u64,
    pub checksum: u32,
}

/// The sections, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Part {
    Pages,
    Symbols,
    Series,
    Postings,
}

impl Part {
    pub(super) const ALL: [Self; 4] = [Self::Pages, Self::Symbols, Self::Series, Self::Postings];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pages => "the page directory",
            Self::Symbols => "the symbols",
            Self::Series => "the series",
            Self::Postings => "the postings",
        }
    }
}

/// The end of a block file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub meta: Meta,
    pub sections: [Section; 4],
}

impl Footer {
    /// The footer and the tail that closes the file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        self.meta.write(&mut out);
        out.push(self.sections.len() as u8);
        for section in &self.sections {
            put_varint(&mut out, section.offset);
            put_varint(&mut out, section.len);
            out.extend_from_slice(&section.checksum.to_le_bytes());
        }
        let (len, checksum) = (out.len() as u32, crc32c::crc32c(&out));
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(&MAGIC);
        out
    }

    /// Reads a footer whose checksum was right.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        if reader.u32()? != VERSION {
            return Err(CodecError("a block has an unknown version"));
        }
        let meta = Meta::read(&mut reader)?;
        let mut sections = [Section::default(); 4];
        if usize::from(reader.u8()?) != sections.len() {
            return Err(CodecError("a block has other sections than its version"));
        }
        for section in &mut sections {
            *section = Section { offset: reader.varint()?, len: reader.varint()?, checksum: reader.u32()? };
        }
        Ok(Self { meta, sections })
    }
}

/// Wraps the plain bytes of a section, smaller where that helps.
pub(super) fn wrap_section(plain: &[u8]) -> Vec<u8> {
    const LEVEL: i32 = 3;
    if let Ok(packed) = zstd::bulk::compress(plain, LEVEL)
        && packed.len() + 10 < plain.len()
    {
        let mut out = vec![1];
        put_varint(&mut out, plain.len() as u64);
        out.extend_from_slice(&packed);
        return out;
    }
    let mut out = Vec::with_capacity(plain.len() + 1);
    out.push(0);
    out.extend_from_slice(plain);
    out
}

/// The plain bytes of a section.
pub(super) fn unwrap_section(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        0 => Ok(reader.rest().to_vec()),
        1 => {
            let len = reader.varint()?;
            if len > SECTION_MAX {
                return Err(CodecError("a section is too long"));
            }
            let plain = zstd::bulk::decompress(reader.rest(), len as usize)
                .map_err(|_| CodecError("a section does not decompress"))?;
            if plain.len() as u64 == len { Ok(plain) } else { Err(CodecError("a section differs in length")) }
        }
        _ => Err(CodecError("a section has an unknown form")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footers_and_sections_come_back() {
        let meta = Meta {
            id: Ulid(7 << 90 | 3),
            level: 2,
            resolution: 60_000,
            min_time: -5,
            max_time: 1_790_000_000_000,
            series: 10_000,
            samples: 1 << 40,
            sources: vec![Ulid(1), Ulid(u128::MAX)],
        };
        let sections = [0, 1, 2, 3].map(|i| Section { offset: 1 << (i * 9), len: i, checksum: i as u32 });
        let footer = Footer { meta, sections };
        let bytes = footer.encode();
        let body = &bytes[..bytes.len() - TAIL_LEN as usize];
        assert_eq!(Footer::decode(body), Ok(footer));
        for cut in 0..body.len() {
            assert!(Footer::decode(&body[..cut]).is_err());
        }
        for plain in [vec![], vec![1, 2, 3], vec![9; 10_000]] {
            assert_eq!(unwrap_section(&wrap_section(&plain)).unwrap(), plain);
        }
        assert!(unwrap_section(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0]).is_err());
    }
}
