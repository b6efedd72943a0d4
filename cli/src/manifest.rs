//! Objects in a file, as an admin is about to apply them.

use std::io::Read;
use std::path::Path;

use serde_json::Value;
use weft_crds::{CONFIG_NAME, GROUP};

use crate::error::Error;

/// The longest file that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// What is in a file.
#[derive(Debug, PartialEq)]
pub struct Manifest {
    /// The NetworkConfig.
    pub config: Value,
    /// The BGPPeers.
    pub bgp_peers: Vec<Value>,
    /// How many objects of other kinds there are; nobody looks at them.
    pub others: usize,
}

/// Reads a file, or standard input if it is called `-`.
///
/// # Errors
/// It can't be read, is no YAML, or has not one NetworkConfig named default.
pub fn read(file: &Path) -> Result<Manifest, Error> {
    let called = match file.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => file.display().to_string(),
    };
    let failed = |message: String| Error::File {
        file: called.clone(),
        message,
    };
    let unreadable = |error: std::io::Error| failed(format!("cannot be read: {error}"));
    let input: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(file).map_err(unreadable)?),
    };
    let mut text = String::new();
    let mut input = input.take(LONGEST + 1);
    input.read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LONGEST {
        return Err(failed(format!(
            "has more than {LONGEST} bytes; name the file with the NetworkConfig alone"
        )));
    }
    parse(&text).map_err(failed)
}

/// The objects in a text of YAML documents, or why they don't do.
fn parse(text: &str) -> Result<Manifest, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| format!("is no YAML that can be read: {error}"))?;
    let mut configs = Vec::new();
    let (mut bgp_peers, mut others) = (Vec::new(), 0);
    for object in documents.into_iter().flat_map(objects) {
        let version = object["apiVersion"].as_str().unwrap_or_default();
        let ours = version.split('/').next() == Some(GROUP);
        match object["kind"].as_str() {
            Some("NetworkConfig") if ours => configs.push(object),
            Some("BGPPeer") if ours => bgp_peers.push(object),
            _ => others += 1,
        }
    }
    if let Some(nameless) = bgp_peers.iter().find(|peer| name(peer).is_empty()) {
        return Err(format!(
            "has a BGPPeer without metadata.name ({}); give it one",
            nameless["spec"]["address"]
        ));
    }
    let found = configs.len();
    let [config] = <[Value; 1]>::try_from(configs).map_err(|_| {
        format!("has {found} NetworkConfigs; it takes one, of apiVersion {GROUP}/v1alpha1 and named {CONFIG_NAME}")
    })?;
    if name(&config) != CONFIG_NAME {
        return Err(format!(
            "its NetworkConfig is named {:?}; a cluster has one, named {CONFIG_NAME}",
            name(&config)
        ));
    }
    Ok(Manifest {
        config,
        bgp_peers,
        others,
    })
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// A document is an object, a list of objects, or empty.
fn objects(document: Value) -> Vec<Value> {
    match document {
        Value::Null => Vec::new(),
        Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
            match list.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            }
        }
        object => vec![object],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    const CONFIG: &str = "apiVersion: weft.dev/v1alpha1\nkind: NetworkConfig\nmetadata: {name: default}\nspec: {mode: BGP, pools: [{cidr: \"10.244.0.0/16\"}]}\n";
    const PEER: &str = "apiVersion: weft.dev/v1alpha1\nkind: BGPPeer\nmetadata: {name: rack-a}\nspec: {address: 192.0.2.1, asn: 64900}\n";

    #[test]
    fn documents_are_told_apart() {
        let text = format!("# a comment\n---\n{CONFIG}---\n{PEER}---\nkind: Namespace\n---\n");
        let manifest = parse(&text).unwrap();
        assert_eq!(
            manifest.config["spec"],
            json!({"mode": "BGP", "pools": [{"cidr": "10.244.0.0/16"}]})
        );
        assert_eq!(manifest.bgp_peers[0]["spec"]["asn"], 64900);
        assert_eq!((manifest.bgp_peers.len(), manifest.others), (1, 1));
    }

    #[test]
    fn a_list_is_its_items() {
        let list = r#"{"kind": "List", "apiVersion": "v1", "items": [{"kind": "NetworkConfig", "apiVersion": "weft.dev/v1alpha1", "metadata": {"name": "default"}}]}"#;
        assert!(parse(list).is_ok());
    }

    #[rstest]
    #[case("", "has 0 NetworkConfigs")]
    #[case(
        "kind: NetworkConfig\napiVersion: other.dev/v1\n",
        "has 0 NetworkConfigs"
    )]
    #[case("a: [", "no YAML")]
    #[case("text", "has 0 NetworkConfigs")]
    fn what_does_not_do_is_said(#[case] text: &str, #[case] said: &str) {
        let error = parse(text).unwrap_err();
        assert!(error.contains(said), "{error}");
    }

    #[test]
    fn there_is_one_config_and_its_name_is_default() {
        let two = format!("{CONFIG}---\n{CONFIG}");
        assert!(parse(&two).unwrap_err().contains("has 2"));
        let other = CONFIG.replace("name: default", "name: mine");
        assert!(parse(&other).unwrap_err().contains("\"mine\""));
        let nameless = format!("{CONFIG}---\n{}", PEER.replace("rack-a", "\"\""));
        assert!(parse(&nameless).unwrap_err().contains("192.0.2.1"));
    }
}
