//! Changing the NetworkConfig, or finding out what would come of it: never without the version that was read.

use std::collections::BTreeMap;
use std::fmt::Debug;

use kube::Resource;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::{ObjectMeta, Request};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weft_crds::{CONFIG_NAME, NetworkConfig};

use crate::client::Reader;
use crate::error::Error;

/// Who says that it writes, to the API server.
const MANAGER: &str = "kubectl-weft";

impl Reader {
    /// What the API server would make of an object if it were applied, with its defaults and by its rules. Nothing is
    /// stored. `stored` is the metadata of the object of that name, if there is one.
    ///
    /// # Errors
    /// The API server does not accept it, or can't be asked; [`Error::Conflict`] if `stored` is old.
    pub async fn dry_run<K>(&self, object: &Value, stored: Option<&ObjectMeta>) -> Result<K, Error>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let called = format!("{} {name}", K::kind(&()));
        let verb = if stored.is_some() { "update" } else { "create" };
        let failed = |error| Error::of_change(error, &called, verb, &self.server);
        let body = serde_json::to_vec(&applied(object, stored)).map_err(std::io::Error::from)?;
        let parameters = PostParams {
            dry_run: true,
            field_manager: Some(MANAGER.into()),
        };
        let requests = Request::new(K::url_path(&(), None));
        let request = match stored {
            Some(_) => requests.replace(name, &parameters, body),
            None => requests.create(&parameters, body),
        };
        let mut request = request.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
        // As kubectl does: a field with a slip in its name would otherwise be left out without a word.
        let strict = format!("{}&fieldValidation=Strict", request.uri());
        *request.uri_mut() = strict.parse().map_err(|error| Error::Invalid {
            object: called.clone(),
            message: format!("{error}"),
        })?;
        let call = tokio::time::timeout(self.timeout, self.client.request::<K>(request));
        match call.await {
            Err(_) => Err(self.timed_out(format!("checking {called}"))),
            Ok(outcome) => outcome.map_err(failed),
        }
    }

    /// Sets annotations of the NetworkConfig that was read; without a value, removes them.
    ///
    /// # Errors
    /// It can't be written; [`Error::Conflict`] if it has changed since.
    pub async fn annotate(
        &self,
        config: &NetworkConfig,
        annotations: &BTreeMap<&'static str, Option<String>>,
    ) -> Result<(), Error> {
        let called = format!("NetworkConfig {CONFIG_NAME}");
        let patch = json!({"metadata": {
            "resourceVersion": config.metadata.resource_version,
            "annotations": annotations,
        }});
        let api: Api<NetworkConfig> = Api::all(self.client.clone());
        let parameters = PatchParams {
            field_manager: Some(MANAGER.into()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&patch);
        let call = api.patch_metadata(CONFIG_NAME, &parameters, &patch);
        match tokio::time::timeout(self.timeout, call).await {
            Err(_) => Err(self.timed_out(format!("changing annotations of {called}"))),
            Ok(Err(error)) => Err(Error::of_change(error, &called, "patch", &self.server)),
            Ok(Ok(_)) => Ok(()),
        }
    }
}

/// The object as an update of the stored one: what the file says of spec, labels and annotations, and nothing else.
fn applied(object: &Value, stored: Option<&ObjectMeta>) -> Value {
    let mut whole = object.clone();
    let Some(fields) = whole.as_object_mut() else {
        return whole;
    };
    fields.remove("status");
    let stored = stored.map(|stored| ObjectMeta {
        managed_fields: None,
        ..stored.clone()
    });
    let mut metadata = stored.map_or_else(|| json!({}), |stored| json!(stored));
    metadata["name"] = object["metadata"]["name"].clone();
    for of_file in ["labels", "annotations"] {
        for (key, value) in object["metadata"][of_file]
            .as_object()
            .into_iter()
            .flatten()
        {
            metadata[of_file][key] = value.clone();
        }
    }
    fields.insert("metadata".into(), metadata);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_stays_but_for_what_the_file_says() {
        let stored = ObjectMeta {
            name: Some("default".into()),
            resource_version: Some("7".into()),
            annotations: Some([("a".into(), "1".into()), ("b".into(), "1".into())].into()),
            managed_fields: Some(Vec::new()),
            ..ObjectMeta::default()
        };
        let file = json!({
            "kind": "K",
            "metadata": {"name": "default", "resourceVersion": "3", "annotations": {"b": "2"}},
            "spec": {"mode": "BGP"},
            "status": {},
        });
        assert_eq!(
            applied(&file, Some(&stored)),
            json!({
                "kind": "K",
                "metadata": {"name": "default", "resourceVersion": "7", "annotations": {"a": "1", "b": "2"}},
                "spec": {"mode": "BGP"},
            })
        );
        let new = applied(&file, None);
        assert_eq!(
            new["metadata"],
            json!({"name": "default", "annotations": {"b": "2"}})
        );
    }
}
