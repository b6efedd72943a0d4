//! A server: the other end of all kinds of flows but DNS, at one port of UDP and of TCP, of both
//! families.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::sink::Sink;
use crate::udp_client::random;
use crate::{socket, tcp_server, udp_server};

/// Serves on `port` until SIGTERM or SIGINT.
pub async fn serve(port: u16) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for v6 in families()? {
        let family = if v6 { "IPv6" } else { "IPv4" };
        let bind = || format!("cannot listen on port {port} of {family}: is it in use?");
        let udp = socket::listening_udp(v6, port, udp_server::WAIT).with_context(bind)?;
        let tcp = socket::listening_tcp(v6, port).with_context(bind)?;
        tokio::spawn(tcp_server::serve(tcp));
        let stop = stop.clone();
        threads.push(std::thread::spawn(move || {
            udp_server::serve(&udp, v6, &Mutex::new(Sink::new(random())), &stop);
        }));
    }
    println!("{{\"serving\":{port}}}");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        if thread.join().is_err() {
            bail!("the UDP server panicked");
        }
    }
    Ok(())
}

/// Whether IPv6, for each family that the kernel has.
fn families() -> anyhow::Result<Vec<bool>> {
    let mut families = Vec::new();
    for v6 in [false, true] {
        let domain = if v6 {
            socket2::Domain::IPV6
        } else {
            socket2::Domain::IPV4
        };
        match socket2::Socket::new(domain, socket2::Type::DGRAM, None) {
            Ok(_) => families.push(v6),
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
            Err(error) => return Err(error).context("cannot open a socket"),
        }
    }
    Ok(families)
}
