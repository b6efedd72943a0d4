//! The network configuration on standard input (CNI specification, "Execution request").

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;
use weft_ipam::{AttachmentId, HostPort, Protocol};

use super::environment::is_identifier;
use super::error::{Code, Failure};
use super::result::PreviousResult;
use super::{NEWEST_VERSION, SUPPORTED_VERSIONS};

/// What of it matters here. The plugin's `type` and all paths in it are not looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    #[serde(default)]
    cni_version: Option<String>,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    runtime_config: Option<RuntimeConfig>,
    #[serde(default)]
    prev_result: Option<Value>,
    #[serde(default, rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<ValidAttachment>>,
    /// Passed on as it is.
    #[serde(default)]
    pub(crate) dns: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeConfig {
    #[serde(default)]
    port_mappings: Option<Vec<PortMapping>>,
}

/// The conventions' names are in camel case; containerd (1.6, by way of go-cni) begins them with a capital, which
/// readers in Go don't mind.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortMapping {
    #[serde(default, alias = "HostPort")]
    host_port: i64,
    #[serde(default, alias = "ContainerPort")]
    container_port: i64,
    #[serde(default, alias = "Protocol")]
    protocol: String,
    #[serde(default, rename = "hostIP", alias = "HostIP")]
    host_ip: String,
}

#[derive(Debug, Clone, Deserialize)]
struct ValidAttachment {
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
}

impl Config {
    /// Reads and checks it as far as every command needs it.
    pub(crate) fn parse(input: &[u8]) -> Result<Self, Failure> {
        let config: Self = serde_json::from_slice(input).map_err(|e| {
            Failure::new(
                Code::Undecodable,
                format!("standard input is not a CNI network configuration: {e}"),
            )
        })?;
        if !SUPPORTED_VERSIONS.contains(&config.version()) {
            return Err(Failure::new(
                Code::IncompatibleVersion,
                format!(
                    "cniVersion {:?} is not supported; use one of {}",
                    config.version(),
                    SUPPORTED_VERSIONS.join(", ")
                ),
            ));
        }
        if !is_identifier(&config.name) {
            return Err(invalid(format!(
                "name {:?} of the network is not valid",
                config.name
            )));
        }
        Ok(config)
    }

    /// The version that the configuration asks for. Without one it is older than any that is supported.
    pub(crate) fn version(&self) -> &str {
        self.cni_version.as_deref().unwrap_or("0.1.0")
    }

    /// The version that an answer to this input is given in, even if the input is no good.
    pub(crate) fn answer_version(input: &[u8]) -> String {
        let asked = serde_json::from_slice::<Value>(input)
            .ok()
            .and_then(|value| Some(value.get("cniVersion")?.as_str()?.to_owned()));
        asked
            .filter(|version| SUPPORTED_VERSIONS.contains(&version.as_str()))
            .unwrap_or_else(|| NEWEST_VERSION.to_owned())
    }

    /// The host ports that the runtime asks for. One with host port 0 is no host port.
    pub(crate) fn host_ports(&self) -> Result<Vec<HostPort>, Failure> {
        let mappings = self
            .runtime_config
            .as_ref()
            .and_then(|runtime| runtime.port_mappings.as_deref())
            .unwrap_or_default();
        mappings
            .iter()
            .filter(|mapping| mapping.host_port != 0)
            .map(PortMapping::read)
            .collect()
    }

    /// What the ADD before gave, which CHECK must be told.
    pub(crate) fn previous_result(&self) -> Result<PreviousResult, Failure> {
        let value = self
            .prev_result
            .clone()
            .ok_or_else(|| invalid("prevResult is missing".to_owned()))?;
        serde_json::from_value(value)
            .map_err(|e| invalid(format!("prevResult is not a CNI result: {e}")))
    }

    /// The attachments that GC must keep.
    pub(crate) fn valid_attachments(&self) -> Result<Vec<AttachmentId>, Failure> {
        let valid = self
            .valid_attachments
            .as_ref()
            .ok_or_else(|| invalid("cni.dev/valid-attachments is missing".to_owned()))?;
        Ok(valid
            .iter()
            .map(|valid| AttachmentId::new(&valid.container_id, &valid.ifname))
            .collect())
    }
}

impl PortMapping {
    fn read(&self) -> Result<HostPort, Failure> {
        let port = |name, value: i64| match u16::try_from(value) {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(invalid(format!(
                "{name} {value} of a port mapping is not a port"
            ))),
        };
        let protocol = match self.protocol.to_ascii_lowercase().as_str() {
            "tcp" | "" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            other => {
                return Err(invalid(format!(
                    "protocol {other:?} of a port mapping is unknown"
                )));
            }
        };
        let host_ip: Option<IpAddr> = match self.host_ip.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                invalid(format!(
                    "hostIP {text:?} of a port mapping is not an address"
                ))
            })?),
        };
        Ok(HostPort {
            host_ip,
            host_port: port("hostPort", self.host_port)?,
            container_port: port("containerPort", self.container_port)?,
            protocol,
        })
    }
}

fn invalid(message: String) -> Failure {
    Failure::new(Code::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn parse(value: Value) -> Result<Config, Failure> {
        Config::parse(value.to_string().as_bytes())
    }

    #[rstest]
    #[case(json!("x"), Code::Undecodable)]
    #[case(json!({"cniVersion": 1}), Code::Undecodable)]
    #[case(json!({"name": "weft"}), Code::IncompatibleVersion)]
    #[case(json!({"name": "weft", "cniVersion": "9.0.0"}), Code::IncompatibleVersion)]
    #[case(json!({"cniVersion": "1.0.0"}), Code::InvalidConfig)]
    #[case(json!({"cniVersion": "1.0.0", "name": "../x"}), Code::InvalidConfig)]
    fn bad_configurations_have_their_codes(#[case] value: Value, #[case] code: Code) {
        assert_eq!(parse(value).unwrap_err().code, code);
    }

    #[test]
    fn host_ports_are_read() {
        let mappings = |mappings: Value| {
            parse(json!({"cniVersion": "1.1.0", "name": "weft", "runtimeConfig": {"portMappings": mappings}}))
                .unwrap()
                .host_ports()
        };
        let ports = mappings(json!([
            {"hostPort": 80, "containerPort": 8080, "protocol": "TCP", "hostIP": ""},
            {"hostPort": 0, "containerPort": 8080, "protocol": "tcp"},
            {"hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": "::1"},
            {"HostPort": 81, "ContainerPort": 8081, "Protocol": "tcp", "HostIP": "192.0.2.1"},
        ]))
        .unwrap();
        let texts: Vec<String> = ports.iter().map(HostPort::to_string).collect();
        assert_eq!(texts, ["80/TCP", "[::1]:53/UDP", "192.0.2.1:81/TCP"]);
        assert!(mappings(Value::Null).unwrap().is_empty());
        for bad in [
            json!([{"hostPort": 70000, "containerPort": 1, "protocol": "tcp"}]),
            json!([{"hostPort": -1, "containerPort": 1, "protocol": "tcp"}]),
            json!([{"hostPort": 1, "containerPort": 0, "protocol": "tcp"}]),
            json!([{"hostPort": 1, "containerPort": 1, "protocol": "xyz"}]),
            json!([{"hostPort": 1, "containerPort": 1, "hostIP": "localhost"}]),
        ] {
            assert_eq!(mappings(bad).unwrap_err().code, Code::InvalidConfig);
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Config::answer_version(&bytes);
            if let Ok(config) = Config::parse(&bytes) {
                let _ = (config.host_ports(), config.previous_result(), config.valid_attachments());
            }
        }

        #[test]
        fn a_damaged_configuration_is_an_error_or_read(at in 0..200usize, byte in any::<u8>()) {
            let mut bytes = json!({
                "cniVersion": "1.1.0", "name": "weft", "type": "weft-cni",
                "runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 80, "protocol": "tcp"}]},
            })
            .to_string()
            .into_bytes();
            let length = bytes.len();
            bytes[at % length] = byte;
            if let Ok(config) = Config::parse(&bytes) {
                prop_assert!(is_identifier(&config.name));
                let _ = config.host_ports();
            }
        }
    }
}
