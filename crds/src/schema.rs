//! What the generated schemas say that an API server shouldn't be told, and what `kubectl explain` should.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};

/// Tidies the schemas of a definition.
///
/// Formats of unsigned integers are unknown to the API server, which warns about each. And a field that is
/// optional here is absent when it isn't set: were it nullable, an explicit `null` would be kept,
/// and the rules would take it for a value.
///
/// `kubectl explain` breaks lines where the source does, and doesn't show defaults: descriptions have one line a
/// paragraph, and say the default at their end.
pub(crate) fn tidied(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        let schema = version.schema.as_mut();
        if let Some(schema) = schema.and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            tidy(schema);
        }
    }
    definition
}

/// The sentence at the end of a description that says the default, if that is one value.
pub(crate) fn default_sentence(schema: &JSONSchemaProps) -> Option<String> {
    let default = schema.default.as_ref()?;
    let text = match &default.0 {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Object(_) | serde_json::Value::Array(_) => return None,
        other => other.to_string(),
    };
    Some(format!(" Default: {text}."))
}

fn describe(schema: &mut JSONSchemaProps) {
    let sentence = default_sentence(schema);
    let Some(description) = &mut schema.description else {
        return;
    };
    let paragraphs = description.split("\n\n");
    let lines: Vec<String> = paragraphs
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    *description = lines.join("\n\n");
    description.extend(sentence);
}

fn tidy(schema: &mut JSONSchemaProps) {
    if schema
        .format
        .as_deref()
        .is_some_and(|format| format.starts_with("uint"))
    {
        schema.format = None;
    }
    schema.nullable = None;
    describe(schema);
    for property in schema.properties.iter_mut().flatten() {
        tidy(property.1);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy(items);
    }
}
