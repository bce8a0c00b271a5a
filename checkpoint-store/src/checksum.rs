//! CRC-32 (the polynomial of zlib), as eight hexadecimal digits in text.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The CRC-32 of some bytes. Finds every error burst of up to 32 bits, so every flipped byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Crc32(u32);

impl Crc32 {
    /// Of these bytes. About 10 GB/s where the processor helps.
    pub fn of(bytes: &[u8]) -> Self {
        Self(crc32fast::hash(bytes))
    }

    /// From its eight hexadecimal digits, lower case.
    pub fn parse(digits: &str) -> Option<Self> {
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() != 8 || !digits.bytes().all(lower) {
            return None;
        }
        u32::from_str_radix(digits, 16).ok().map(Self)
    }
}

impl TryFrom<String> for Crc32 {
    type Error = String;
    fn try_from(digits: String) -> Result<Self, String> {
        Self::parse(&digits).ok_or_else(|| format!("{digits:?} is not a checksum"))
    }
}

impl From<Crc32> for String {
    fn from(crc: Crc32) -> Self {
        crc.to_string()
    }
}

impl fmt::Display for Crc32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}
