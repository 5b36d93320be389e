//! Arguments against the schema that was advertised: the part of JSON Schema that tools use. What
//! it does not know, it allows.

use serde_json::Value;

/// Deepest level looked at.
const DEPTH: usize = 8;

/// Whether `arguments` are valid; `None` where one of the two is no JSON.
pub(super) fn valid(arguments: &str, schema: &str) -> Option<bool> {
    let schema: Value = serde_json::from_str(schema).ok()?;
    let arguments: Value = match serde_json::from_str(arguments).ok()? {
        // OpenAI's arguments are JSON inside a string.
        Value::String(inner) => match serde_json::from_str(&inner) {
            Ok(arguments) => arguments,
            // What the model wrote is no JSON: that is the model's error.
            Err(_) => return Some(false),
        },
        other => other,
    };
    Some(fits(&arguments, &schema, DEPTH))
}

fn fits(value: &Value, schema: &Value, depth: usize) -> bool {
    let Some(schema) = schema.as_object().filter(|_| depth > 0) else { return true };
    let allowed = |list: &Value| list.as_array().is_none_or(|list| list.contains(value));
    if !schema.get("enum").is_none_or(allowed) || schema.get("const").is_some_and(|only| only != value) {
        return false;
    }
    if !schema.get("type").is_none_or(|kind| kinds(kind, value)) {
        return false;
    }
    for (key, all) in [("anyOf", false), ("oneOf", false), ("allOf", true)] {
        if let Some(list) = schema.get(key).and_then(Value::as_array) {
            let mut fitting = list.iter().map(|schema| fits(value, schema, depth - 1));
            if !(if all { fitting.all(|fits| fits) } else { fitting.any(|fits| fits) }) {
                return false;
            }
        }
    }
    match value {
        Value::Object(members) => {
            let required = schema.get("required").and_then(Value::as_array);
            let missing = |name: &Value| name.as_str().is_some_and(|name| !members.contains_key(name));
            if required.is_some_and(|names| names.iter().any(missing)) {
                return false;
            }
            let properties = schema.get("properties").and_then(Value::as_object);
            let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
            members.iter().all(|(name, member)| match properties.and_then(|properties| properties.get(name)) {
                Some(schema) => fits(member, schema, depth - 1),
                None => !closed,
            })
        }
        Value::Array(items) => {
            schema.get("items").is_none_or(|schema| items.iter().all(|item| fits(item, schema, depth - 1)))
        }
        _ => true,
    }
}

fn kinds(kind: &Value, value: &Value) -> bool {
    match kind {
        Value::Array(kinds) => kinds.iter().any(|kind| self::kinds(kind, value)),
        Value::String(kind) => match kind.to_ascii_lowercase().as_str() {
            "string" => value.is_string(),
            "number" => value.is_number(),
            "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            _ => true,
        },
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_use_of_json_schema() {
        let schema = r#"{"type":"object","required":["id"],"additionalProperties":false,"properties":{
            "id":{"type":"integer"},"kind":{"enum":["a","b"]},"tags":{"type":"array","items":{"type":"string"}},
            "at":{"anyOf":[{"type":"null"},{"type":"object","required":["x"]}]}}}"#;
        for (arguments, want) in [
            (r#"{"id":1}"#, Some(true)),
            (r#"{"id":1.0,"kind":"a","tags":["x"],"at":null}"#, Some(true)),
            (r#""{\"id\":1}""#, Some(true)),
            (r#"{"id":1,"at":{"x":2}}"#, Some(true)),
            (r#"{}"#, Some(false)),
            (r#"{"id":"1"}"#, Some(false)),
            (r#"{"id":1,"kind":"c"}"#, Some(false)),
            (r#"{"id":1,"tags":[1]}"#, Some(false)),
            (r#"{"id":1,"other":1}"#, Some(false)),
            (r#"{"id":1,"at":{}}"#, Some(false)),
            (r#"[]"#, Some(false)),
            (r#""{broken""#, Some(false)),
            (r#"{broken"#, None),
        ] {
            assert_eq!(valid(arguments, schema), want, "{arguments}");
        }
        assert_eq!(valid("{}", "true"), Some(true));
        assert_eq!(valid("{}", "no"), None);
        let deep = "{\"properties\":{\"a\":".repeat(50) + "{}" + &"}}".repeat(50);
        assert!(valid("{\"a\":{\"a\":{}}}", &deep).is_some());
    }
}
