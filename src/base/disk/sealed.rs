//! Small files of text that are replaced whole: a first line with the checksum of the rest, and what becomes of damaged
//! ones.

use std::io;
use std::path::{Path, PathBuf};

use super::Disk;

/// How the first line begins; eight hex digits follow.
const LEAD: &[u8] = b"crc32c ";

/// The text with its checksum before it.
pub fn seal(text: &[u8]) -> Vec<u8> {
    let mut sealed = LEAD.to_vec();
    sealed.extend(format!("{:08x}\n", crc32c::crc32c(text)).into_bytes());
    sealed.extend_from_slice(text);
    sealed
}

/// The text of a file, after its checksum was compared. One without a checksum, of an earlier version, is all text.
///
/// # Errors
/// Says what is wrong.
pub fn unseal(bytes: &[u8]) -> Result<&[u8], String> {
    let Some((checksum, text)) = bytes.strip_prefix(LEAD).and_then(|rest| rest.split_at_checked(9)) else {
        return Ok(bytes);
    };
    // As text: digits have two forms, of which one is a flipped bit.
    let expect = format!("{:08x}\n", crc32c::crc32c(text));
    if checksum == expect.as_bytes() { Ok(text) } else { Err("it fails its checksum".to_owned()) }
}

impl Disk {
    /// Gives a damaged file another name, for whoever wants to look; one that was there before goes. Answers the name.
    pub fn set_aside(&self, path: &Path) -> io::Result<PathBuf> {
        let mut name = path.as_os_str().to_owned();
        name.push(".damaged");
        let aside = PathBuf::from(name);
        self.rename(path, &aside)?;
        Ok(aside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flipped_bit_anywhere_is_noticed_or_leaves_no_text_of_ours() {
        let text = br#"{"version":2}"#;
        let sealed = seal(text);
        assert_eq!(unseal(&sealed), Ok(&text[..]));
        for bit in 0..sealed.len() * 8 {
            let mut bytes = sealed.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // What is taken for a file of an earlier version is no JSON.
            assert!(unseal(&bytes).is_err() || unseal(&bytes) == Ok(&bytes[..]), "bit {bit}");
            assert!(bytes.starts_with(LEAD) || serde_json::from_slice::<serde_json::Value>(&bytes).is_err());
        }
    }
}
