//! Attaches and detaches in a store until it is killed or has made the given number of turns: what the tests run many
//! at once of, and kill. Each address that it holds is a file that must not exist before.
//!
//! Usage: `churn STORE HELD NAME TURNS`

use std::fs::OpenOptions;
use std::path::Path;

use weft_ipam::{AttachmentId, Error, PodRef, Request, Store};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [store, held, name, turns] = &args[..] else {
        fail("usage: churn STORE HELD NAME TURNS");
    };
    let (held, turns) = (Path::new(held), turns.parse().unwrap_or(0));
    let store = Store::open(store).unwrap_or_else(|e| fail(&e.to_string()));
    for turn in 0..turns {
        // Three attachments are held at a time.
        if turn >= 3 {
            leave(&store, held, &id(name, turn - 3));
        }
        enter(&store, held, id(name, turn));
    }
}

fn id(name: &str, turn: u64) -> AttachmentId {
    AttachmentId::new(format!("{name}-{turn}"), "eth0")
}

fn enter(store: &Store, held: &Path, id: AttachmentId) {
    let request = Request {
        host_ifname: format!("weft{}", id.container_id),
        id,
        network: "weft".into(),
        netns: "/run/netns/none".into(),
        pod: PodRef::default(),
        host_ports: Vec::new(),
    };
    let attached = store.lock().and_then(|mut locked| locked.attach(request));
    match attached {
        Ok(attached) => {
            for ip in &attached.attachment.addresses {
                let path = held.join(ip.to_string());
                if let Err(e) = OpenOptions::new().write(true).create_new(true).open(&path) {
                    fail(&format!("{ip} was given out twice: {e}"));
                }
            }
        }
        Err(Error::Full { .. }) => {}
        Err(e) => fail(&e.to_string()),
    }
}

fn leave(store: &Store, held: &Path, id: &AttachmentId) {
    let mut locked = store.lock().unwrap_or_else(|e| fail(&e.to_string()));
    if let Some(attachment) = locked.get(id) {
        for ip in &attachment.addresses {
            if let Err(e) = std::fs::remove_file(held.join(ip.to_string())) {
                fail(&format!("{ip} was not held: {e}"));
            }
        }
    }
    if let Err(e) = locked.detach(id) {
        fail(&e.to_string());
    }
}

fn fail(message: &str) -> ! {
    eprintln!("{message}");
    std::process::exit(1)
}
