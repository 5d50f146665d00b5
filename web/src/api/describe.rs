//! The API for machines: OpenAPI 3.1, made from the very table that the router is made from.

use serde_json::{Map, Value, json};

use super::{BASE, Endpoint, endpoints};

/// The whole description.
pub(super) fn openapi() -> Value {
    let mut paths = Map::new();
    for endpoint in endpoints() {
        let entry = paths.entry(format!("{BASE}{}", endpoint.path)).or_insert_with(|| json!({}));
        if let Value::Object(methods) = entry {
            methods.insert(endpoint.method.to_ascii_lowercase(), operation(endpoint));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Slipway", "version": "1", "description": "Every verb of the command line, as JSON."},
        "security": [{"token": []}, {"account": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "account": {"type": "http", "scheme": "basic"}
            }
        }
    })
}

fn schemas() -> Value {
    serde_json::from_str(include_str!("schemas.json")).expect("checked by a test of this module")
}

fn operation(endpoint: &Endpoint) -> Value {
    let in_path = endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let path_keys = in_path.map(|name| parameter(name, "path"));
    let query_keys = endpoint.query.iter().map(|name| parameter(name, "query"));
    let parameters: Vec<Value> = path_keys.chain(query_keys).collect();
    let mut answer = json!({"description": endpoint.summary});
    if let Some(name) = endpoint.answer {
        answer["content"] = content(name);
    }
    let mut operation = json!({
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": {
            endpoint.status.to_string(): answer,
            "default": {"description": "What went wrong and what to do", "content": content("Error")}
        }
    });
    if let Some(name) = endpoint.body {
        operation["requestBody"] = json!({"required": true, "content": content(name)});
    }
    operation
}

fn parameter(name: &str, place: &str) -> Value {
    let schema = match name {
        "limit" => json!({"type": "integer", "minimum": 1, "maximum": slipway_forge::limits::PAGE_ROWS_MAX}),
        "offset" | "before" => json!({"type": "integer", "minimum": 0}),
        "follow" => json!({"type": "boolean"}),
        _ => json!({"type": "string"}),
    };
    json!({"name": name, "in": place, "required": place == "path", "schema": schema})
}

fn content(name: &str) -> Value {
    if name.contains('/') {
        return json!({name: {"schema": {"type": "string"}}});
    }
    if name == "object" {
        return json!({"application/json": {"schema": {"type": "object"}}});
    }
    json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{name}")}}})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` below a value.
    fn refs(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| match value {
                Value::String(target) if key == "$ref" => found.push(target.clone()),
                other => refs(other, found),
            }),
            Value::Array(items) => items.iter().for_each(|item| refs(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_has_its_schema_and_every_schema_a_reader() {
        let all = openapi();
        let mut found = Vec::new();
        refs(&all, &mut found);
        let known = all["components"]["schemas"].as_object().expect("an object");
        for target in &found {
            let name = target.strip_prefix("#/components/schemas/").expect("a local reference");
            assert!(known.contains_key(name), "{name} is not described");
        }
        for name in known.keys() {
            assert!(
                found.iter().any(|t| t.ends_with(&format!("/{name}"))),
                "{name} is described and not used"
            );
        }
    }

    #[test]
    fn no_endpoint_is_listed_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for endpoint in endpoints() {
            assert!(seen.insert((endpoint.method, endpoint.path)), "{} {}", endpoint.method, endpoint.path);
        }
    }
}
