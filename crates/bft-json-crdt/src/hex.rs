//! Fixed-size identifiers that people read as lower-case hexadecimal.
//!
//! One macro makes them all alike: `Display`, `FromStr` and serde speak hex, `Debug` is short.

use data_encoding::HEXLOWER_PERMISSIVE;

/// The text was not the hexadecimal form of an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits, got {got:?}")]
pub struct ParseHexError {
    /// How many digits the identifier has.
    pub expected: usize,
    /// What was given, cut to 80 characters.
    pub got: String,
}

/// Decodes exactly `N` bytes from `2 * N` hexadecimal digits of either case.
pub(crate) fn decode<const N: usize>(text: &str) -> Result<[u8; N], ParseHexError> {
    let mut bytes = [0; N];
    let fits = text.len() == 2 * N && HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut bytes) == Ok(N);
    if fits {
        Ok(bytes)
    } else {
        Err(ParseHexError { expected: 2 * N, got: text.chars().take(80).collect() })
    }
}

/// Serde for plain byte arrays as hex strings: `#[serde(with = "crate::hex::bytes")]`.
pub(crate) mod bytes {
    use serde::{Deserializer, Serializer, de};

    pub(crate) fn serialize<const N: usize, S: Serializer>(bytes: &[u8; N], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&data_encoding::HEXLOWER.encode(bytes))
    }

    pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(d: D) -> Result<[u8; N], D::Error> {
        struct Visitor<const N: usize>;
        impl<const N: usize> de::Visitor<'_> for Visitor<N> {
            type Value = [u8; N];
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{} hexadecimal digits", 2 * N)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<[u8; N], E> {
                super::decode(text).map_err(E::custom)
            }
        }
        d.deserialize_str(Visitor)
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let [a, b, c, d, ..] = self.0;
                write!(f, concat!(stringify!($name), "({}…)"), data_encoding::HEXLOWER.encode(&[a, b, c, d]))
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::hex::ParseHexError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                crate::hex::decode(text).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                crate::hex::bytes::serialize(&self.0, s)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                crate::hex::bytes::deserialize(d).map(Self)
            }
        }
    };
}
pub(crate) use hex_id;

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn only_exact_hex_is_taken() {
        assert_eq!(decode::<2>("00fF"), Ok([0, 255]));
        for bad in ["", "00f", "00ff0", "00fg", "é0f", "00ff00"] {
            assert!(decode::<2>(bad).is_err(), "{bad}");
        }
    }
}
