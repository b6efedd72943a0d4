//! What the generated schemas say that an API server shouldn't be told.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};

/// Tidies the schemas of a definition.
///
/// Formats of unsigned integers are unknown to the API server, which warns about each. And a field that is
/// optional here is absent when it isn't set: were it nullable, an explicit `null` would be kept,
/// and the rules would take it for a value.
pub(crate) fn tidied(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        let schema = version.schema.as_mut();
        if let Some(schema) = schema.and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            tidy(schema);
        }
    }
    definition
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
    for property in schema.properties.iter_mut().flatten() {
        tidy(property.1);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy(items);
    }
}
