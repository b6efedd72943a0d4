//! ADD: write the attachment down, make the link, open the host ports.

use std::os::linux::fs::MetadataExt;

use weft_ipam::{Attached, Request, Store};
use weft_kernel::Mac;
use weft_kernel::pod::{self, GATEWAY4, GATEWAY6, PodLink};

use super::{ATTACHMENT_LIMIT, STATE_DIR};
use crate::hostports;
use crate::link::pod_link;
use crate::spec::{Code, Config, Environment, Failure, Outcome};

pub(super) fn add(environment: &Environment, config: &Config) -> Result<String, Failure> {
    let id = environment.attachment_id()?;
    let netns = environment.netns()?;
    refuse_own_namespace(netns)?;
    let request = Request {
        host_ifname: pod::host_ifname(&id.container_id, &id.ifname).to_string(),
        id,
        network: config.name.clone(),
        netns: netns.to_owned(),
        pod: environment.pod(),
        host_ports: config.host_ports()?,
    };
    let store = Store::open(STATE_DIR)?;
    let _alone = store.lock_attachment(&request.id, ATTACHMENT_LIMIT)?;
    let attached = store.lock()?.attach(request)?;
    let link = pod_link(&attached.attachment, &attached.node);
    let made = pod::attach(&link)
        .map_err(Failure::from)
        .and_then(|_| hostports::open(&attached.attachment, &attached.node));
    if let Err(failure) = made {
        take_back(&store, &attached, &link);
        return Err(failure);
    }
    Ok(outcome(&link, config).to_json(config.version()))
}

/// Leaves nothing of an attachment that could not be made. One that was there before is the runtime's to delete.
fn take_back(store: &Store, attached: &Attached, link: &PodLink) {
    if attached.existed {
        return;
    }
    // Should any of this fail too, the attachment stays written down, and DEL or GC ends it.
    if hostports::close(&attached.attachment).is_ok() && pod::detach(&link.host_ifname).is_ok() {
        let _ = store
            .lock()
            .and_then(|mut locked| locked.detach(&attached.attachment.id));
    }
}

/// A pod link into the node's own namespace would make the node a pod.
fn refuse_own_namespace(netns: &str) -> Result<(), Failure> {
    let identity = |path: &str| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.st_dev(), meta.st_ino()))
    };
    match identity(netns) {
        Some(pod) if Some(pod) == identity("/proc/thread-self/ns/net") => Err(Failure::new(
            Code::InvalidEnvironment,
            format!("CNI_NETNS={netns:?} is the node's own network namespace"),
        )),
        _ => Ok(()),
    }
}

fn outcome(link: &PodLink, config: &Config) -> Outcome {
    Outcome {
        host_ifname: link.host_ifname.to_string(),
        host_mac: Mac(link.host_ifname.host_mac()).to_string(),
        ifname: link.ifname.clone(),
        pod_mac: Mac(link.host_ifname.pod_mac()).to_string(),
        netns: link.netns.display().to_string(),
        link_mtu: link.link_mtu,
        addresses: link
            .addresses
            .iter()
            .map(|ip| match ip.is_ipv4() {
                true => (*ip, GATEWAY4.into()),
                false => (*ip, GATEWAY6.into()),
            })
            .collect(),
        dns: config.dns.clone(),
    }
}
