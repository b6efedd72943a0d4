//! Where packets were dropped: the counters of every hop, before and after.

use std::collections::BTreeMap;

use weft_scenarios::stage::Stage;

use crate::look;

/// One line each: the name of a counter of drops or errors, and its value. Devices, the IP stack and connection
/// tracking of a network namespace.
const READ: &str = r#"
tail -n +3 /proc/net/dev | tr ':' ' ' | while read dev rb rp re rd rf x1 x2 x3 tb tp te td rest; do
  echo "$dev rx_errors $re"; echo "$dev rx_dropped $rd"; echo "$dev tx_errors $te"; echo "$dev tx_dropped $td"
done
for file in /proc/net/snmp /proc/net/netstat; do
  while read -r names && read -r values; do
    set -- $values; for name in $names; do echo "${names%%:*} $name $1"; shift; done
  done < $file
done | grep -E "Discards|NoRoutes|AddrErrors|HdrErrors|Drop|Errors|Rcvbuf|Sndbuf|MartianSource|ReversePathFilter|Fails"
grep -E "Discards|NoRoutes|Errors|Drop|Fails" /proc/net/snmp6 | sed 's/^/snmp6 /'
conntrack -S 2>/dev/null | tr ' ' '\n' | grep -E "^(drop|early_drop|invalid|insert_failed|error|clash_resolve)=" | tr '=' ' ' | sed 's/^/conntrack /'
"#;

/// The counters of all nodes: node and name, and the sum of what is counted under it.
pub type Hops = BTreeMap<(String, String), u64>;

/// Reads them. A node that is off has none.
pub async fn read(stage: &Stage) -> Hops {
    let mut hops = Hops::new();
    for node in stage.cluster.nodes().unwrap_or_default() {
        let Ok(lines) = look::lines(stage, node.name(), READ).await else {
            continue;
        };
        for line in lines {
            let Some((name, value)) = line.trim().rsplit_once(char::is_whitespace) else {
                continue;
            };
            if let Ok(value) = value.parse::<u64>() {
                *hops
                    .entry((node.name().into(), name.trim().into()))
                    .or_default() += value;
            }
        }
    }
    hops
}

/// What grew between two looks, a line each.
pub fn grown(before: &Hops, after: &Hops) -> Vec<String> {
    let grew = after.iter().filter_map(|(key, value)| {
        let more = value.saturating_sub(before.get(key).copied().unwrap_or_default());
        (more > 0).then(|| format!("{}: {} +{more}", key.0, key.1))
    });
    grew.collect()
}
