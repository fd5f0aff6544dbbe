//! JSON values whose integers are exact.
//!
//! `serde_json::Value` would do, but for two things that signed data needs: an object never holds a key
//! twice (parsing refuses it), and a number is either an exact integer or a finite float, never both.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

use crate::limits::VALUE_COUNT_MAX;

/// A JSON value: what a register holds and what [`crate::json_crdt::CrdtNode::view`] gives.
#[derive(Clone, Debug, PartialEq)]
pub enum JsonValue {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer from `i64::MIN` to `u64::MAX`, exact. Values outside are refused when an op is made.
    Integer(i128),
    /// Any other number. NaN and infinities are refused when an op is made; −0 and 0 are distinct.
    Number(f64),
    /// A string.
    String(String),
    /// In content, a string that begins a text which many edit by character (see
    /// [`crate::text_crdt::TextCrdt`]). Views show texts as plain strings.
    Text(String),
    /// An array.
    Array(Vec<JsonValue>),
    /// An object, in the order of its keys' bytes.
    Object(BTreeMap<String, JsonValue>),
}

impl JsonValue {
    /// Returns the string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(s) | Self::Text(s) = self { Some(s) } else { None }
    }

    /// Returns the boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(b) = self { Some(*b) } else { None }
    }

    /// Returns the number as a float, rounding integers above 2^53.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "documented to round")]
            Self::Integer(i) => Some(*i as f64),
            Self::Number(n) => Some(*n),
            Self::Null
            | Self::Bool(_)
            | Self::String(_)
            | Self::Text(_)
            | Self::Array(_)
            | Self::Object(_) => None,
        }
    }

    /// Returns the member `key` of an object.
    pub fn get(&self, key: &str) -> Option<&JsonValue> {
        if let Self::Object(members) = self { members.get(key) } else { None }
    }

    /// Whether it is an array, an object or a text: something with parts.
    pub(crate) fn is_container(&self) -> bool {
        matches!(self, Self::Array(_) | Self::Object(_) | Self::Text(_))
    }

    /// The value with texts as strings. No deeper than a signed value nests.
    fn plain(self) -> Self {
        match self {
            Self::Text(s) => Self::String(s),
            Self::Array(items) => Self::Array(items.into_iter().map(Self::plain).collect()),
            Self::Object(members) => {
                Self::Object(members.into_iter().map(|(key, value)| (key, value.plain())).collect())
            }
            Self::Null | Self::Bool(_) | Self::Integer(_) | Self::Number(_) | Self::String(_) => self,
        }
    }

    /// The value with texts spelled as JSON has them: `{"$text": "…"}`. An object that has nothing but such a
    /// key gets one more `$` in front of it, so that both can be told apart.
    pub(crate) fn spelled(self) -> Self {
        match self {
            Self::Text(s) => Self::Object(BTreeMap::from([("$text".to_owned(), Self::String(s))])),
            Self::Array(items) => Self::Array(items.into_iter().map(Self::spelled).collect()),
            Self::Object(members) => {
                let is_alone = members.len() == 1;
                let members = members.into_iter().map(|(key, value)| {
                    let key = if is_alone && is_dollar_text(&key) { format!("${key}") } else { key };
                    (key, value.spelled())
                });
                Self::Object(members.collect())
            }
            Self::Null | Self::Bool(_) | Self::Integer(_) | Self::Number(_) | Self::String(_) => self,
        }
    }

    /// Undoes [`Self::spelled`]; `None` for a `$text` that is no string.
    pub(crate) fn unspelled(self) -> Option<Self> {
        Some(match self {
            Self::Array(items) => Self::Array(items.into_iter().map(Self::unspelled).collect::<Option<_>>()?),
            Self::Object(members) => {
                let is_alone = members.len() == 1;
                let mut plain = BTreeMap::new();
                for (key, value) in members {
                    match key.strip_prefix('$') {
                        Some("text") if is_alone => {
                            return if let Self::String(s) = value { Some(Self::Text(s)) } else { None };
                        }
                        Some(rest) if is_alone && is_dollar_text(rest) => {
                            plain.insert(rest.to_owned(), value.unspelled()?);
                        }
                        Some(_) | None => {
                            plain.insert(key, value.unspelled()?);
                        }
                    }
                }
                Self::Object(plain)
            }
            Self::Text(_)
            | Self::Null
            | Self::Bool(_)
            | Self::Integer(_)
            | Self::Number(_)
            | Self::String(_) => self,
        })
    }

    /// Names the JSON type, for messages.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Text(_) => "a text",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// `text` with one `$` or more in front.
fn is_dollar_text(key: &str) -> bool {
    key.starts_with('$') && key.trim_start_matches('$') == "text"
}

/// Shows the value as compact JSON text.
impl fmt::Display for JsonValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

macro_rules! from_integers {
    ($($int:ty),*) => {$(
        impl From<$int> for JsonValue {
            fn from(n: $int) -> Self { Self::Integer(i128::from(n)) }
        }
    )*};
}
from_integers!(i8, i16, i32, i64, u8, u16, u32, u64);

impl From<bool> for JsonValue {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}
impl From<f64> for JsonValue {
    fn from(n: f64) -> Self {
        Self::Number(n)
    }
}
impl From<String> for JsonValue {
    fn from(s: String) -> Self {
        Self::String(s)
    }
}
impl From<&str> for JsonValue {
    fn from(s: &str) -> Self {
        Self::String(s.to_owned())
    }
}
impl<T: Into<JsonValue>> From<Vec<T>> for JsonValue {
    fn from(items: Vec<T>) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }
}
impl<T: Into<JsonValue>> From<Option<T>> for JsonValue {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<serde_json::Value> for JsonValue {
    fn from(value: serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(b),
            Value::Number(n) => match (n.as_i64(), n.as_u64()) {
                (Some(i), _) => Self::Integer(i.into()),
                (None, Some(u)) => Self::Integer(u.into()),
                (None, None) => n.as_f64().map_or(Self::Null, Self::Number),
            },
            Value::String(s) => Self::String(s),
            Value::Array(items) => Self::Array(items.into_iter().map(Into::into).collect()),
            Value::Object(map) => Self::Object(map.into_iter().map(|(k, v)| (k, v.into())).collect()),
        }
    }
}

/// Numbers that JSON cannot show (NaN, infinities, integers outside 64 bits) become `null`; no document
/// ever holds one.
impl From<JsonValue> for serde_json::Value {
    fn from(value: JsonValue) -> Self {
        match value {
            JsonValue::Null => Self::Null,
            JsonValue::Bool(b) => Self::Bool(b),
            JsonValue::Integer(i) => match (i64::try_from(i), u64::try_from(i)) {
                (Ok(i), _) => Self::from(i),
                (Err(_), Ok(u)) => Self::from(u),
                (Err(_), Err(_)) => Self::Null,
            },
            JsonValue::Number(n) => serde_json::Number::from_f64(n).map_or(Self::Null, Self::Number),
            JsonValue::String(s) | JsonValue::Text(s) => Self::String(s),
            JsonValue::Array(items) => Self::Array(items.into_iter().map(Into::into).collect()),
            JsonValue::Object(map) => Self::Object(map.into_iter().map(|(k, v)| (k, v.into())).collect()),
        }
    }
}

impl Serialize for JsonValue {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => s.serialize_unit(),
            Self::Bool(b) => s.serialize_bool(*b),
            Self::Integer(i) => match (i64::try_from(*i), u64::try_from(*i)) {
                (Ok(i), _) => s.serialize_i64(i),
                (Err(_), Ok(u)) => s.serialize_u64(u),
                (Err(_), Err(_)) => s.serialize_i128(*i),
            },
            Self::Number(n) => s.serialize_f64(*n),
            Self::String(text) | Self::Text(text) => s.serialize_str(text),
            Self::Array(items) => {
                let mut seq = s.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Self::Object(members) => {
                let mut map = s.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

/// Refuses duplicate keys and more than [`VALUE_COUNT_MAX`] values.
impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut left = VALUE_COUNT_MAX;
        Values { left: &mut left }.deserialize(d)
    }
}

/// Reads values as long as some are left to be read.
struct Values<'a> {
    left: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = JsonValue;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<JsonValue, D::Error> {
        match self.left.checked_sub(1) {
            Some(left) => *self.left = left,
            None => return Err(de::Error::custom(format_args!("more than {VALUE_COUNT_MAX} values"))),
        }
        d.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Values<'_> {
    type Value = JsonValue;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value without duplicate keys")
    }
    fn visit_unit<E>(self) -> Result<JsonValue, E> {
        Ok(JsonValue::Null)
    }
    fn visit_none<E>(self) -> Result<JsonValue, E> {
        Ok(JsonValue::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<JsonValue, D::Error> {
        d.deserialize_any(self)
    }
    fn visit_bool<E>(self, b: bool) -> Result<JsonValue, E> {
        Ok(JsonValue::Bool(b))
    }
    fn visit_i64<E>(self, i: i64) -> Result<JsonValue, E> {
        Ok(JsonValue::Integer(i.into()))
    }
    fn visit_u64<E>(self, u: u64) -> Result<JsonValue, E> {
        Ok(JsonValue::Integer(u.into()))
    }
    fn visit_f64<E>(self, n: f64) -> Result<JsonValue, E> {
        Ok(JsonValue::Number(n))
    }
    fn visit_str<E>(self, s: &str) -> Result<JsonValue, E> {
        Ok(JsonValue::String(s.to_owned()))
    }
    fn visit_string<E>(self, s: String) -> Result<JsonValue, E> {
        Ok(JsonValue::String(s))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<JsonValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Values { left: self.left })? {
            items.push(item);
        }
        Ok(JsonValue::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonValue, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if members.contains_key(&key) {
                return Err(de::Error::custom(format_args!("duplicate key {key:?}")));
            }
            members.insert(key, map.next_value_seed(Values { left: self.left })?);
        }
        Ok(JsonValue::Object(members))
    }
}

/// A Rust type that a register can hold: which JSON values it takes and how it shows them.
pub trait RegisterValue: Clone + Send + Sync + 'static {
    /// Whether [`Self::normalize`] takes every string: then it is not asked about each that arrives.
    const TAKES_STRINGS: bool = false;

    /// What a register shows that nobody has written.
    fn default_value() -> JsonValue;
    /// Turns a signed value into what the register shows, or `None` where the type cannot take it.
    fn normalize(value: JsonValue) -> Option<JsonValue>;
}

impl RegisterValue for String {
    const TAKES_STRINGS: bool = true;

    fn default_value() -> JsonValue {
        JsonValue::String(Self::new())
    }
    fn normalize(value: JsonValue) -> Option<JsonValue> {
        matches!(value, JsonValue::String(_)).then_some(value)
    }
}

impl RegisterValue for bool {
    fn default_value() -> JsonValue {
        JsonValue::Bool(false)
    }
    fn normalize(value: JsonValue) -> Option<JsonValue> {
        matches!(value, JsonValue::Bool(_)).then_some(value)
    }
}

/// An integer shows as a float; one that a float cannot hold exactly is not taken.
impl RegisterValue for f64 {
    fn default_value() -> JsonValue {
        JsonValue::Number(0.0)
    }
    fn normalize(value: JsonValue) -> Option<JsonValue> {
        match value {
            #[expect(clippy::cast_precision_loss, reason = "checked to be exact")]
            JsonValue::Integer(i) if i.unsigned_abs() <= 1 << 53 => Some(JsonValue::Number(i as f64)),
            JsonValue::Number(_) => Some(value),
            JsonValue::Integer(_)
            | JsonValue::Null
            | JsonValue::Bool(_)
            | JsonValue::String(_)
            | JsonValue::Text(_)
            | JsonValue::Array(_)
            | JsonValue::Object(_) => None,
        }
    }
}

macro_rules! integer_registers {
    ($($int:ty),*) => {$(
        impl RegisterValue for $int {
            fn default_value() -> JsonValue { JsonValue::Integer(0) }
            fn normalize(value: JsonValue) -> Option<JsonValue> {
                if let JsonValue::Integer(i) = value { <$int>::try_from(i).ok().map(|_| value) } else { None }
            }
        }
    )*};
}
integer_registers!(i8, i16, i32, i64, u8, u16, u32, u64);

/// Takes any JSON value, as it is; texts inside show as strings.
impl RegisterValue for JsonValue {
    const TAKES_STRINGS: bool = true;

    fn default_value() -> JsonValue {
        Self::Null
    }
    fn normalize(value: JsonValue) -> Option<JsonValue> {
        Some(value.plain())
    }
}

/// `null` stands for `None`.
impl<T: RegisterValue> RegisterValue for Option<T> {
    const TAKES_STRINGS: bool = T::TAKES_STRINGS;

    fn default_value() -> JsonValue {
        JsonValue::Null
    }
    fn normalize(value: JsonValue) -> Option<JsonValue> {
        if value == JsonValue::Null { Some(value) } else { T::normalize(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_survive_exactly_and_duplicate_keys_do_not() {
        for text in ["18446744073709551615", "-9223372036854775808", "9007199254740993", "-0.0", "0"] {
            let value: JsonValue = serde_json::from_str(text).unwrap();
            assert_eq!(value.to_string(), text);
            let through: serde_json::Value = value.clone().into();
            assert_eq!(JsonValue::from(through), value, "{text}");
        }
        let twice = serde_json::from_str::<JsonValue>(r#"{"a":{"b":1,"b":2}}"#).unwrap_err();
        assert!(twice.to_string().contains("duplicate key \"b\""), "{twice}");
    }

    #[test]
    fn a_small_text_cannot_fill_the_memory() {
        let many = |count: usize| format!("[[{}0]]", "0,".repeat(count));
        assert!(serde_json::from_str::<JsonValue>(&many(1_000)).is_ok());
        let refused = serde_json::from_str::<JsonValue>(&many(VALUE_COUNT_MAX)).unwrap_err();
        assert!(refused.to_string().contains("more than 262144 values"), "{refused}");
    }

    #[test]
    fn a_float_register_takes_only_what_it_can_hold() {
        assert_eq!(f64::normalize(JsonValue::Integer(3)), Some(JsonValue::Number(3.0)));
        assert_eq!(f64::normalize(JsonValue::Integer((1 << 53) + 1)), None);
        assert_eq!(u8::normalize(JsonValue::Integer(256)), None);
        assert_eq!(Option::<bool>::normalize(JsonValue::Null), Some(JsonValue::Null));
    }
}
