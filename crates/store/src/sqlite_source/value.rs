//! Values of columns, as documents have them, and back.

use std::borrow::Cow;

use bft_json_crdt::JsonValue;
use gangline_reconcile::{Cell, ColumnKind, check_key, limits::ROW_BYTES_MAX};
use rusqlite::types::{Value, ValueRef};

/// Integers up to here have a float of their own.
const FLOAT_INTEGER_MAX: i64 = 1 << 53;

/// Takes what a column holds as a document's value.
///
/// A number in a column of texts is read as its digits. SQLite keeps numbers only in those whose declared type is no
/// type of texts to it (`DATETIME`, `JSON`, `STRING`: see `schema.rs`), and turns the digits into that number when
/// they are written back.
pub(super) fn read(kind: ColumnKind, value: ValueRef<'_>) -> Result<Cell<'_>, &'static str> {
    match (kind, value) {
        (ColumnKind::Other, _) => Err("has a type that a document cannot have"),
        (_, ValueRef::Null) => Ok(Cell::Null),
        (_, ValueRef::Blob(_)) => Err("is a blob"),
        (ColumnKind::Text, _) => text(value).map(Cell::Text),
        (_, ValueRef::Text(_)) => Err("is a text in a column of another type"),
        (ColumnKind::Boolean, ValueRef::Integer(value @ 0..=1)) => Ok(Cell::Bool(value == 1)),
        (ColumnKind::Boolean, _) => Err("is neither 0 nor 1, as true and false are"),
        (ColumnKind::Integer | ColumnKind::Number, ValueRef::Integer(value)) => {
            Ok(Cell::Integer(value.into()))
        }
        (ColumnKind::Integer, ValueRef::Real(_)) => Err("is no integer"),
        (ColumnKind::Float, ValueRef::Integer(value)) => float(value).map(Cell::Number),
        (ColumnKind::Float | ColumnKind::Number, ValueRef::Real(value)) => finite(value).map(Cell::Number),
    }
}

/// Makes the name of a row of what its key column holds, or that of its root of what its parent column holds.
pub(super) fn key(kind: ColumnKind, value: ValueRef<'_>) -> Result<Cow<'_, str>, &'static str> {
    let key = match (kind, value) {
        (_, ValueRef::Null) => return Err("is null"),
        (_, ValueRef::Integer(value)) => Cow::Owned(value.to_string()),
        (ColumnKind::Integer, _) => return Err("is no integer"),
        (_, ValueRef::Real(_)) => return Err("is neither an integer nor a text"),
        (_, ValueRef::Text(_) | ValueRef::Blob(_)) => text(value)?,
    };
    check_key(&key).map(|()| key)
}

fn text(value: ValueRef<'_>) -> Result<Cow<'_, str>, &'static str> {
    match value {
        ValueRef::Text(bytes) if bytes.len() > ROW_BYTES_MAX => Err("is too long for a document"),
        ValueRef::Text(bytes) => {
            std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| "is no valid UTF-8")
        }
        ValueRef::Integer(value) => Ok(Cow::Owned(value.to_string())),
        ValueRef::Real(value) => finite(value).map(|value| Cow::Owned(format!("{value:?}"))),
        ValueRef::Blob(_) => Err("is a blob"),
        ValueRef::Null => Err("is null"),
    }
}

fn float(value: i64) -> Result<f64, &'static str> {
    if (-FLOAT_INTEGER_MAX..=FLOAT_INTEGER_MAX).contains(&value) {
        Ok(value as f64)
    } else {
        Err("is an integer that no float is equal to")
    }
}

fn finite(value: f64) -> Result<f64, &'static str> {
    if value.is_finite() { Ok(value) } else { Err("is not finite") }
}

/// What to look for in a key or parent column: nothing where no value of it has this name.
pub(super) fn search(kind: ColumnKind, key: &str) -> Value {
    bind_key(kind, key).unwrap_or(Value::Null)
}

/// Makes what a key or parent column of a new row holds.
pub(super) fn bind_key(kind: ColumnKind, key: &str) -> Result<Value, &'static str> {
    check_key(key)?;
    if kind == ColumnKind::Integer {
        integer(key).map(Value::Integer).ok_or("is no integer")
    } else {
        Ok(Value::Text(key.to_owned()))
    }
}

/// The integer that has these digits as its name: `007` is none's.
pub(super) fn integer(key: &str) -> Option<i64> {
    key.parse().ok().filter(|value: &i64| value.to_string() == key)
}

/// Makes what a column shall hold of a document's value.
pub(super) fn bind(kind: ColumnKind, value: &JsonValue) -> Result<Value, &'static str> {
    let integer = |value: i128| i64::try_from(value).map_err(|_| "is no integer of 64 bits");
    Ok(match (kind, value) {
        (ColumnKind::Other, _) => return Err("has a type that a document cannot have"),
        (_, JsonValue::Null) => Value::Null,
        (ColumnKind::Boolean, JsonValue::Bool(value)) => Value::Integer((*value).into()),
        (ColumnKind::Boolean, _) => return Err("is neither true nor false"),
        (ColumnKind::Text, JsonValue::String(text) | JsonValue::Text(text)) => Value::Text(text.clone()),
        (ColumnKind::Text, _) => return Err("is no text"),
        (ColumnKind::Integer | ColumnKind::Number, JsonValue::Integer(value)) => {
            Value::Integer(integer(*value)?)
        }
        (ColumnKind::Integer, JsonValue::Number(value)) => Value::Integer(whole(*value)?),
        (ColumnKind::Float, JsonValue::Integer(value)) => Value::Real(float(integer(*value)?)?),
        (ColumnKind::Float | ColumnKind::Number, JsonValue::Number(value)) => Value::Real(finite(*value)?),
        (ColumnKind::Integer, _) => return Err("is no integer"),
        (ColumnKind::Float | ColumnKind::Number, _) => return Err("is no number"),
    })
}

/// 5.0 is 5 in a column of integers.
fn whole(value: f64) -> Result<i64, &'static str> {
    let integer = value as i64;
    if integer.unsigned_abs() <= FLOAT_INTEGER_MAX.unsigned_abs() && integer as f64 == value {
        Ok(integer)
    } else {
        Err("is no integer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_takes_what_fits_it() {
        use ColumnKind::{Boolean, Float, Integer, Number, Text};
        let text = |text: &str| JsonValue::String(text.to_owned());
        let cases: [(ColumnKind, ValueRef<'_>, Result<JsonValue, &str>); 16] = [
            (Integer, ValueRef::Integer(i64::MIN), Ok(JsonValue::Integer(i64::MIN.into()))),
            (Integer, ValueRef::Real(5.5), Err("is no integer")),
            (Integer, ValueRef::Text(b"5"), Err("is a text in a column of another type")),
            (Integer, ValueRef::Null, Ok(JsonValue::Null)),
            (Float, ValueRef::Integer(5), Ok(JsonValue::Number(5.0))),
            (Float, ValueRef::Integer(i64::MAX), Err("is an integer that no float is equal to")),
            (Float, ValueRef::Real(f64::INFINITY), Err("is not finite")),
            (Number, ValueRef::Integer(5), Ok(JsonValue::Integer(5))),
            (Number, ValueRef::Real(5.0), Ok(JsonValue::Number(5.0))),
            (Boolean, ValueRef::Integer(1), Ok(JsonValue::Bool(true))),
            (Boolean, ValueRef::Integer(2), Err("is neither 0 nor 1, as true and false are")),
            (Text, ValueRef::Text("x\0ü".as_bytes()), Ok(text("x\0ü"))),
            (Text, ValueRef::Text(b"\xff"), Err("is no valid UTF-8")),
            (Text, ValueRef::Integer(-7), Ok(text("-7"))),
            (Text, ValueRef::Real(0.1), Ok(text("0.1"))),
            (Text, ValueRef::Blob(b"x"), Err("is a blob")),
        ];
        for (kind, value, expected) in cases {
            assert_eq!(read(kind, value).map(JsonValue::from), expected, "{kind:?} {value:?}");
        }
        let long = vec![b'x'; ROW_BYTES_MAX + 1];
        assert_eq!(read(Text, ValueRef::Text(&long)), Err("is too long for a document"));
    }

    #[test]
    fn values_go_back_by_the_type_of_their_column() {
        use ColumnKind::{Boolean, Float, Integer, Number, Text};
        let bound = |kind, value: JsonValue| bind(kind, &value);
        let text = |text: &str| JsonValue::Text(text.to_owned());
        assert_eq!(bound(Integer, JsonValue::Number(5.0)), Ok(Value::Integer(5)));
        assert_eq!(bound(Integer, JsonValue::Number(5.5)), Err("is no integer"));
        assert_eq!(bound(Integer, JsonValue::Number(1e300)), Err("is no integer"));
        assert_eq!(bound(Integer, JsonValue::Integer(u64::MAX.into())), Err("is no integer of 64 bits"));
        assert_eq!(bound(Float, JsonValue::Integer(5)), Ok(Value::Real(5.0)));
        assert_eq!(bound(Number, JsonValue::Integer(5)), Ok(Value::Integer(5)));
        assert_eq!(bound(Number, text("5")), Err("is no number"));
        assert_eq!(bound(Boolean, JsonValue::Bool(true)), Ok(Value::Integer(1)));
        assert_eq!(bound(Boolean, JsonValue::Integer(1)), Err("is neither true nor false"));
        assert_eq!(bound(Text, text("x")), Ok(Value::Text("x".to_owned())));
        assert_eq!(bound(Text, JsonValue::Integer(5)), Err("is no text"));
        assert_eq!(bound(Text, JsonValue::Null), Ok(Value::Null));
        assert_eq!(bound(ColumnKind::Other, JsonValue::Null), Err("has a type that a document cannot have"));
    }

    #[test]
    fn an_integer_has_one_name() {
        assert_eq!(integer("-9223372036854775808"), Some(i64::MIN));
        for no in ["", "007", "+7", "7 ", "-0", "9223372036854775808", "7.0"] {
            assert_eq!(integer(no), None, "{no:?}");
        }
        assert_eq!(key(ColumnKind::Text, ValueRef::Integer(7)), Ok("7".into()));
        assert_eq!(key(ColumnKind::Integer, ValueRef::Text(b"7")), Err("is no integer"));
        assert_eq!(key(ColumnKind::Text, ValueRef::Real(7.5)), Err("is neither an integer nor a text"));
        assert_eq!(key(ColumnKind::Text, ValueRef::Null), Err("is null"));
    }
}
