//! One datagram there and back at a time.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::place::{Place, pin};

/// Where servers listen.
const PORT: u16 = 4721;
/// Bytes of a datagram.
const SIZE: usize = 64;
/// Round trips before it counts.
const WARM_UP: u64 = 500;
/// A datagram that isn't back by then is lost.
const LOST: Duration = Duration::from_millis(500);

/// Sends every datagram back until it is dropped.
pub struct Server {
    stop: Arc<AtomicBool>,
}

impl Server {
    /// One in a namespace.
    pub async fn start(place: &Place) -> anyhow::Result<Self> {
        let socket = place
            .within(|| {
                let socket = UdpSocket::bind(("0.0.0.0", PORT)).context("cannot listen")?;
                socket.set_read_timeout(Some(Duration::from_millis(200)))?;
                Ok(socket)
            })
            .await?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || serve(&socket, &stopped));
        Ok(Self { stop })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn serve(socket: &UdpSocket, stop: &AtomicBool) -> anyhow::Result<()> {
    pin(1)?;
    let mut buffer = [0; SIZE];
    while !stop.load(Ordering::Relaxed) {
        // A timeout is the time to look whether to stop.
        if let Ok((size, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..size], from);
        }
    }
    Ok(())
}

/// Round-trip times in microseconds, for as long as is said.
pub async fn measure(place: &Place, to: IpAddr, duration: Duration) -> anyhow::Result<Vec<f64>> {
    place.within(move || client(to, duration)).await
}

fn client(to: IpAddr, duration: Duration) -> anyhow::Result<Vec<f64>> {
    pin(0)?;
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(SocketAddr::new(to, PORT))?;
    socket.set_read_timeout(Some(LOST))?;
    let mut times = Vec::new();
    let mut counted: Option<Instant> = None;
    let mut losses = 0;
    for number in 0_u64.. {
        if number == WARM_UP {
            counted = Some(Instant::now());
        }
        if counted.is_some_and(|start| start.elapsed() >= duration) {
            break;
        }
        match round_trip(&socket, number) {
            Ok(time) if counted.is_some() => times.push(time.as_secs_f64() * 1e6),
            Ok(_) => {}
            Err(_) if losses < 5 => losses += 1,
            Err(error) => bail!("datagrams to {to} don't come back: {error}"),
        }
    }
    Ok(times)
}

fn round_trip(socket: &UdpSocket, number: u64) -> std::io::Result<Duration> {
    let mut datagram = [0; SIZE];
    datagram[..8].copy_from_slice(&number.to_be_bytes());
    let start = Instant::now();
    socket.send(&datagram)?;
    let mut answer = [0; SIZE];
    loop {
        socket.recv(&mut answer)?;
        // An answer that was taken for lost may come late.
        if answer == datagram {
            return Ok(start.elapsed());
        }
    }
}
