//! Reading the NetworkConfig: one that this version can't understand (a newer definition, or one that
//! lets everything pass) is told apart from one that is absent.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::api::{ApiResource, DynamicObject};
use serde_json::{Value, json};
use weft_crds::{CONFIG_NAME, NetworkConfig, NetworkConfigSpec};

/// A NetworkConfig that can't be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreadable {
    /// As the API server has it.
    pub object: DynamicObject,
    /// The field, what is wrong, and the fix.
    pub message: String,
}

/// Which NetworkConfig a plan was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// Its UID.
    pub uid: Option<String>,
    /// Its generation.
    pub generation: Option<i64>,
    /// For events about it.
    pub reference: ObjectReference,
}

impl Subject {
    /// Of an object of any type that stands for a NetworkConfig.
    pub fn of<K: Resource>(object: &K, type_: &K::DynamicType) -> Self {
        Subject {
            uid: object.meta().uid.clone(),
            generation: object.meta().generation,
            reference: object.object_ref(type_),
        }
    }
}

/// How the API knows a NetworkConfig.
pub fn resource() -> ApiResource {
    ApiResource::erase::<NetworkConfig>(&())
}

/// Reads one.
///
/// # Errors
/// It doesn't fit the types of this version.
pub fn read(object: &DynamicObject) -> Result<NetworkConfig, Box<Unreadable>> {
    let parsed = object.clone().try_parse::<NetworkConfig>();
    parsed.map_err(|error| {
        let message = culprit(&object.data["spec"]).unwrap_or_else(|| error.to_string());
        Box::new(Unreadable {
            object: object.clone(),
            message: format!(
                "{message}; correct it, or install the version of Weft that it is for"
            ),
        })
    })
}

/// The first field of the spec that doesn't fit by itself.
fn culprit(spec: &Value) -> Option<String> {
    let fields = spec.as_object()?;
    let missing = ["mode", "pools"]
        .into_iter()
        .find(|name| !fields.contains_key(*name));
    if let Some(name) = missing {
        return Some(format!("spec.{name}: is missing"));
    }
    fields.iter().find_map(|(name, value)| {
        let mut alone = json!({"mode": "Overlay", "pools": []});
        alone[name] = value.clone();
        let error = serde_json::from_value::<NetworkConfigSpec>(alone).err()?;
        Some(format!("spec.{name}: {error}"))
    })
}

/// Whether an object is the one NetworkConfig.
pub fn is_the_one(object: &DynamicObject) -> bool {
    object.metadata.name.as_deref() == Some(CONFIG_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(spec: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "weft.dev/v1alpha1", "kind": "NetworkConfig",
            "metadata": {"name": "default"}, "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn the_field_that_does_not_fit_is_named() {
        let pools = json!([{"cidr": "10.244.0.0/16"}]);
        assert!(read(&object(json!({"mode": "Overlay", "pools": pools}))).is_ok());
        for (spec, words) in [
            (
                json!({"mode": "Mesh", "pools": pools}),
                "spec.mode: unknown variant `BGP`",
            ),
            (json!({"mode": "Overlay"}), "spec.pools: is missing"),
            (
                json!({"mode": "Overlay", "pools": pools, "mtu": "large"}),
                "spec.mtu: invalid type",
            ),
            (
                json!({"mode": "Overlay", "pools": pools, "overlay": {"port": 70000}}),
                "spec.overlay: ",
            ),
        ] {
            let unreadable = read(&object(spec)).unwrap_err();
            assert!(
                unreadable.message.starts_with(words),
                "{}",
                unreadable.message
            );
        }
    }
}
