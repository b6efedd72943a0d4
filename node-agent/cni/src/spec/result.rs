//! The result of ADD (CNI specification, "Success"), in the form of each version.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What ADD made, whatever the version that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) host_ifname: String,
    pub(crate) host_mac: String,
    pub(crate) ifname: String,
    pub(crate) pod_mac: String,
    pub(crate) netns: String,
    pub(crate) link_mtu: u32,
    /// Each address with the gateway of its default route.
    pub(crate) addresses: Vec<(IpAddr, IpAddr)>,
    pub(crate) dns: Option<Value>,
}

impl Outcome {
    /// The JSON that `version` (one of the supported ones) wants.
    pub(crate) fn to_json(&self, version: &str) -> String {
        let tells_family = version.starts_with("0.");
        let tells_mtu = version == "1.1.0";
        let interface = |name: &str, mac: &str| {
            let mut interface = json!({"name": name, "mac": mac});
            if tells_mtu {
                interface["mtu"] = self.link_mtu.into();
            }
            interface
        };
        let mut inside = interface(&self.ifname, &self.pod_mac);
        inside["sandbox"] = self.netns.as_str().into();
        let ips = self.addresses.iter().map(|(ip, gateway)| {
            let (prefix, family) = if ip.is_ipv4() { (32, "4") } else { (128, "6") };
            let mut entry = json!({
                "address": format!("{ip}/{prefix}"),
                "gateway": gateway,
                "interface": 1,
            });
            if tells_family {
                entry["version"] = family.into();
            }
            entry
        });
        let routes = self.addresses.iter().map(|(_, gateway)| {
            let all = if gateway.is_ipv4() {
                "0.0.0.0/0"
            } else {
                "::/0"
            };
            json!({"dst": all, "gw": gateway})
        });
        json!({
            "cniVersion": version,
            "interfaces": [interface(&self.host_ifname, &self.host_mac), inside],
            "ips": ips.collect::<Vec<_>>(),
            "routes": routes.collect::<Vec<_>>(),
            "dns": self.dns.clone().unwrap_or_else(|| json!({})),
        })
        .to_string()
    }
}

/// What CHECK needs of an earlier result; other plugins may have added to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PreviousResult {
    #[serde(default)]
    interfaces: Vec<PreviousInterface>,
    #[serde(default)]
    ips: Vec<PreviousIp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PreviousInterface {
    name: String,
    #[serde(default)]
    sandbox: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PreviousIp {
    address: String,
}

impl PreviousResult {
    /// In what it differs from what is written down; empty if in nothing.
    pub(crate) fn deviations(
        &self,
        ifname: &str,
        netns: &str,
        addresses: &[IpAddr],
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let inside = |i: &PreviousInterface| i.name == ifname && i.sandbox == netns;
        if !self.interfaces.iter().any(inside) {
            wrong.push(format!("prevResult has no interface {ifname} in {netns}"));
        }
        for address in addresses {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let same = |ip: &PreviousIp| ip.address == format!("{address}/{bits}");
            if !self.ips.iter().any(same) {
                wrong.push(format!("prevResult does not have address {address}/{bits}"));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0.3.1", Some("4"), None)]
    #[case("0.4.0", Some("4"), None)]
    #[case("1.0.0", None, None)]
    #[case("1.1.0", None, Some(1450))]
    fn each_version_has_its_form(
        #[case] version: &str,
        #[case] family: Option<&str>,
        #[case] mtu: Option<u64>,
    ) {
        let outcome = Outcome {
            host_ifname: "weft0".into(),
            host_mac: "02:00:00:00:00:01".into(),
            ifname: "eth0".into(),
            pod_mac: "0a:00:00:00:00:01".into(),
            netns: "/run/netns/x".into(),
            link_mtu: 1450,
            addresses: vec![
                ("10.0.0.2".parse().unwrap(), "169.254.1.1".parse().unwrap()),
                ("fd00::2".parse().unwrap(), "fe80::1".parse().unwrap()),
            ],
            dns: None,
        };
        let value: Value = serde_json::from_str(&outcome.to_json(version)).unwrap();
        assert_eq!(value["cniVersion"], version);
        assert_eq!(value["ips"][0]["version"].as_str(), family);
        assert_eq!(value["ips"][1]["address"], "fd00::2/128");
        assert_eq!(value["routes"][1]["dst"], "::/0");
        assert_eq!(value["interfaces"][0]["mtu"].as_u64(), mtu);
        assert_eq!(value["interfaces"][1]["sandbox"], "/run/netns/x");
        let previous: PreviousResult = serde_json::from_value(value).unwrap();
        let ips: Vec<IpAddr> = outcome.addresses.iter().map(|(ip, _)| *ip).collect();
        assert!(previous.deviations("eth0", "/run/netns/x", &ips).is_empty());
        assert_eq!(previous.deviations("eth1", "/run/netns/x", &ips).len(), 1);
        assert_eq!(
            previous
                .deviations("eth0", "/run/netns/x", &["10.0.0.3".parse().unwrap()])
                .len(),
            1
        );
    }
}
