//! The reference of `NetworkConfig` for people, made from its definition.

use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};

use crate::{definitions, schema};

const INTRODUCTION: &str = "\
# NetworkConfig

This page is made from the API types by `cargo run -p weft-crds --bin docgen -- docs/reference`; change
the types, not the page. `kubectl explain networkconfig.spec` says the same.

A cluster has one NetworkConfig, named `default`. Only you write its spec; Weft writes its status. The
API server checks each change by the rules below and refuses what can't work, with the field and the fix.

```yaml
apiVersion: weft.dev/v1alpha1
kind: NetworkConfig
metadata:
  name: default
spec:
  mode: Overlay
  pools:
  - cidr: 10.244.0.0/16
  - cidr: fd00:10:244::/56
```
";

/// The page, in Markdown.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_string();
    for definition in definitions() {
        if definition.spec.names.kind == "NetworkConfig" {
            describe(&definition, &mut page);
        }
    }
    page
}

fn describe(definition: &CustomResourceDefinition, page: &mut String) {
    let version = definition.spec.versions.first();
    let schema = version.and_then(|version| version.schema.as_ref());
    let Some(root) = schema.and_then(|schema| schema.open_api_v3_schema.as_ref()) else {
        return;
    };
    for part in ["spec", "status"] {
        if let Some(schema) = root.properties.as_ref().and_then(|all| all.get(part)) {
            section(part, schema, page);
        }
    }
}

/// An object with its fields, then the objects in it.
fn section(path: &str, schema: &JSONSchemaProps, page: &mut String) {
    let description = schema.description.as_deref().unwrap_or_default();
    line(page, &format!("\n## {path}\n"));
    if !description.is_empty() {
        line(page, &format!("{}\n", one_line(description)));
    }
    line(page, "| field | type | default | |\n|---|---|---|---|");
    let properties = || schema.properties.iter().flatten();
    for (name, property) in properties() {
        let required = schema
            .required
            .as_ref()
            .is_some_and(|all| all.contains(name));
        let default = match (&property.default, required) {
            (Some(default), _) if property.properties.is_none() => format!("`{}`", default.0),
            (None, true) => "required".into(),
            _ => String::new(),
        };
        let text = property.description.as_deref().unwrap_or_default();
        let said = schema::default_sentence(property).unwrap_or_default();
        let text = one_line(text.strip_suffix(&said).unwrap_or(text));
        let limits = limits(property);
        line(
            page,
            &format!(
                "| `{name}` | {} | {default} | {text}{limits} |",
                type_of(property)
            ),
        );
    }
    list_rules(page, "Rules", schema);
    for (name, property) in properties() {
        let below = format!("{path}.{name}");
        match &property.items {
            Some(JSONSchemaPropsOrArray::Schema(items)) if items.properties.is_some() => {
                section(&format!("{below}[]"), items, page);
                list_rules(page, "Rules of the list", property);
            }
            _ if property.properties.is_some() => section(&below, property, page),
            _ => {}
        }
    }
}

fn list_rules(page: &mut String, title: &str, schema: &JSONSchemaProps) {
    let rules = schema.x_kubernetes_validations.iter().flatten();
    let mut messages = rules.filter_map(|rule| rule.message.as_deref()).peekable();
    if messages.peek().is_some() {
        line(page, &format!("\n{title}:\n"));
    }
    messages.for_each(|message| line(page, &format!("- {message}")));
}

fn type_of(schema: &JSONSchemaProps) -> String {
    if let Some(values) = &schema.enum_ {
        let values = values.iter().map(|value| format!("`{}`", value.0));
        return values.collect::<Vec<_>>().join(", ").replace('"', "");
    }
    if schema.x_kubernetes_int_or_string == Some(true) {
        return "integer or string".into();
    }
    match (&schema.items, schema.type_.as_deref()) {
        (Some(JSONSchemaPropsOrArray::Schema(items)), _) => format!("list of {}", type_of(items)),
        (_, Some(name)) => name.into(),
        _ => String::new(),
    }
}

fn limits(schema: &JSONSchemaProps) -> String {
    match (schema.minimum, schema.maximum, schema.max_items) {
        (Some(least), Some(most), _) => format!(" From {least} to {most}."),
        (_, _, Some(most)) => format!(" At most {most}."),
        _ => String::new(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

fn line(page: &mut String, text: &str) {
    // Writing to a string can't fail.
    let _ = writeln!(page, "{text}");
}
