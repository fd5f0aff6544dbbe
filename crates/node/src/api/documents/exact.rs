//! Integers as JSON has them on the way to programs and back. Many read each number as a float of 64 bits, which has no
//! integer of its own beyond 2^53: such a one is a string of its digits.

use bft_json_crdt::json_crdt::JsonValue;
use gangline_reconcile::{ColumnKind, FieldLayout, Layout};
use serde_json::Value;

const FLOAT_INTEGER_MAX: u128 = 1 << 53;

/// A value as answers and events have it.
pub(super) fn told(value: JsonValue) -> Value {
    spelt(value).into()
}

fn spelt(value: JsonValue) -> JsonValue {
    match value {
        JsonValue::Integer(n) if n.unsigned_abs() > FLOAT_INTEGER_MAX => JsonValue::String(n.to_string()),
        JsonValue::Array(values) => JsonValue::Array(values.into_iter().map(spelt).collect()),
        JsonValue::Object(members) => {
            JsonValue::Object(members.into_iter().map(|(name, value)| (name, spelt(value))).collect())
        }
        JsonValue::Null
        | JsonValue::Bool(_)
        | JsonValue::Integer(_)
        | JsonValue::Number(_)
        | JsonValue::String(_)
        | JsonValue::Text(_) => value,
    }
}

/// A patch with the integers that it spells: in fields of numbers alone, since a text may be one of digits.
pub(super) fn meant(layout: &Layout, mut patch: JsonValue) -> JsonValue {
    let JsonValue::Object(members) = &mut patch else { return patch };
    for (name, value) in members {
        if let Some(field) = layout.fields.get(name) {
            integer_in(field, value);
        } else if let (Some(list), JsonValue::Object(rows)) = (layout.lists.get(name), value) {
            for row in rows.values_mut() {
                let JsonValue::Object(row) = row else { continue };
                for (name, value) in row {
                    if let Some(field) = list.fields.get(name) {
                        integer_in(field, value);
                    }
                }
            }
        }
    }
    patch
}

fn integer_in(field: &FieldLayout, value: &mut JsonValue) {
    let is_numeric = match field.kind {
        ColumnKind::Integer | ColumnKind::Number | ColumnKind::Float => true,
        ColumnKind::Text | ColumnKind::Boolean | ColumnKind::Other => false,
    };
    if let JsonValue::String(digits) = value
        && is_numeric
        && let Some(n) = digits.parse::<i128>().ok().filter(|n| n.to_string() == *digits)
    {
        *value = JsonValue::Integer(n);
    }
}

#[cfg(test)]
mod tests {
    use gangline_reconcile::{ListLayout, Policy};
    use serde_json::json;

    use super::*;

    #[test]
    fn an_integer_that_a_float_has_is_a_number() {
        let values = json!([9_007_199_254_740_992_i64, -9_007_199_254_740_992_i64, 7, 0.5, "7", null]);
        assert_eq!(told(values.clone().into()), values);
        let beyond = json!({"a": [9_007_199_254_740_993_i64, {"b": i64::MIN}], "c": u64::MAX});
        let spelt =
            json!({"a": ["9007199254740993", {"b": "-9223372036854775808"}], "c": "18446744073709551615"});
        assert_eq!(told(beyond.into()), spelt);
    }

    #[test]
    fn digits_are_integers_where_numbers_are_meant() {
        let field = |kind| FieldLayout { kind, policy: Policy::DbWins, is_nullable: true };
        let fields = || {
            [("n", ColumnKind::Integer), ("x", ColumnKind::Number), ("t", ColumnKind::Text)]
                .map(|(name, kind)| (name.to_owned(), field(kind)))
                .into()
        };
        let list = ListLayout { fields: fields(), ..ListLayout::default() };
        let lists = [("jobs".to_owned(), list)].into();
        let layout = Layout { fields: fields(), lists, ..Layout::default() };
        let row = json!({"n": "9007199254740995", "x": "-7", "t": "7"});
        let exact = json!({"n": 9_007_199_254_740_995_i64, "x": -7, "t": "7"});
        let meant_by = |patch: Value| Value::from(meant(&layout, patch.into()));
        assert_eq!(meant_by(row.clone()), exact);
        assert_eq!(
            meant_by(json!({"jobs": {"j1": row, "j2": null}})),
            json!({"jobs": {"j1": exact, "j2": null}})
        );
        for other in
            [json!({"n": "007", "x": "+7"}), json!({"n": "7.0", "x": ""}), json!("7"), json!({"jobs": 7})]
        {
            assert_eq!(meant_by(other.clone()), other);
        }
    }
}
