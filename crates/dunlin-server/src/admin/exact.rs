//! Whole numbers that survive their reader.

use serde_json::{Number, Value};

/// Beyond it many readers of JSON (jq, JavaScript) round: they keep numbers as doubles.
const EXACT_MAX: u64 = 1 << 53;

/// The same with whole numbers beyond 2^53 as text.
pub(super) fn numbers(value: Value) -> Value {
    match value {
        Value::Number(number) if is_rounded(&number) => Value::String(number.to_string()),
        Value::Array(list) => Value::Array(list.into_iter().map(numbers).collect()),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(name, value)| (name, numbers(value))).collect())
        }
        other => other,
    }
}

fn is_rounded(number: &Number) -> bool {
    let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    size.is_some_and(|size| size > EXACT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn large_whole_numbers_become_text() {
        let value = json!({ "a": [u64::MAX, 1_u64 << 53, (1_u64 << 53) + 1], "b": { "c": i64::MIN, "d": 0.5, "e": -1 } });
        let text = r#"{"a":["18446744073709551615",9007199254740992,"9007199254740993"],"b":{"c":"-9223372036854775808","d":0.5,"e":-1}}"#;
        assert_eq!(numbers(value).to_string(), text);
    }
}
