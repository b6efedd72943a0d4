//! Relays between client and server that do one thing wrong.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use weft_load::packet::{self, Kind};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Direction {
    Forward,
    Back,
}

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    Drop,
    Duplicate,
    /// Flips the bit of this number.
    Flip(usize),
    /// Leaves only so many bytes.
    Cut(usize),
    /// Sends it after the next one.
    Hold,
}

/// Relays one client's datagrams to the server at `port` of loopback, and does `fault` to the one
/// of number `seq` in `direction`. Returns its address.
pub fn udp(port: u16, direction: Direction, seq: u64, fault: Fault) -> SocketAddr {
    let inside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let address = inside.local_addr().expect("an address");
    let outside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    outside
        .connect((Ipv4Addr::LOCALHOST, port))
        .expect("connect");
    thread::spawn(move || {
        let mut first = [0; 1];
        let (_, client) = inside.peek_from(&mut first).expect("a client");
        inside.connect(client).expect("connect");
        let (inside, outside) = (Arc::new(inside), Arc::new(outside));
        let relay = |from: &Arc<UdpSocket>, to: &Arc<UdpSocket>, kind: Kind, fault| {
            let (from, to) = (from.clone(), to.clone());
            thread::spawn(move || relay_datagrams(&from, &to, kind, seq, fault));
        };
        let only = |here: Direction| (direction == here).then_some(fault);
        relay(&inside, &outside, Kind::Data, only(Direction::Forward));
        relay(&outside, &inside, Kind::Echo, only(Direction::Back));
    });
    address
}

fn relay_datagrams(
    from: &UdpSocket,
    to: &UdpSocket,
    kind: Kind,
    seq: u64,
    mut fault: Option<Fault>,
) {
    let mut buffer = [0; 10_000];
    let mut held: Option<Vec<u8>> = None;
    loop {
        let Ok(length) = from.recv(&mut buffer) else {
            continue;
        };
        let mut datagram = buffer[..length].to_vec();
        let (header, _) = packet::open(&datagram).expect("intact so far");
        let is_it = header.kind == kind && header.seq == seq;
        let mut copies = 1;
        match fault.take_if(|_| is_it) {
            None => {}
            Some(Fault::Drop) => copies = 0,
            Some(Fault::Duplicate) => copies = 2,
            Some(Fault::Flip(bit)) => datagram[bit / 8] ^= 1 << (bit % 8),
            Some(Fault::Cut(bytes)) => datagram.truncate(bytes),
            Some(Fault::Hold) => {
                held = Some(datagram);
                continue;
            }
        }
        for _ in 0..copies {
            to.send(&datagram).ok();
        }
        if let Some(held) = held.take() {
            to.send(&held).ok();
        }
    }
}

/// What to do with the bytes of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// Resets the connection.
    Reset,
    /// Closes the connection.
    Close,
    /// Says nothing more.
    Silence,
    /// Flips a bit of the byte, and goes on.
    Flip,
}

/// Relays connections to the server at `port` of loopback, and does `cut` to connection `number`
/// (from 0) when byte `at` passes in `direction`. Returns its address.
pub fn tcp(port: u16, number: usize, direction: Direction, at: usize, cut: Cut) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let address = listener.local_addr().expect("an address");
    let count = AtomicUsize::new(0);
    thread::spawn(move || {
        for inside in listener.incoming() {
            let inside = inside.expect("a connection");
            let outside = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server");
            let mine = count.fetch_add(1, Ordering::Relaxed) == number;
            let only = |here: Direction| (mine && direction == here).then_some((at, cut));
            let clones = || {
                let clone = |stream: &TcpStream| stream.try_clone().expect("a clone");
                (clone(&inside), clone(&outside))
            };
            let (from, to) = clones();
            let fault = only(Direction::Forward);
            thread::spawn(move || relay_bytes(from, to, fault));
            let (to, from) = clones();
            let fault = only(Direction::Back);
            thread::spawn(move || relay_bytes(from, to, fault));
        }
    });
    address
}

fn relay_bytes(mut from: TcpStream, mut to: TcpStream, fault: Option<(usize, Cut)>) {
    let mut buffer = [0; 16_384];
    let mut passed = 0;
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        if let Some((at, cut)) = fault
            && (passed..passed + length).contains(&at)
        {
            match cut {
                Cut::Flip => buffer[at - passed] ^= 0x20,
                Cut::Silence => {
                    thread::sleep(Duration::from_secs(60));
                    break;
                }
                Cut::Close => break,
                Cut::Reset => {
                    for stream in [&from, &to] {
                        let stream = socket2::SockRef::from(stream);
                        stream.set_linger(Some(Duration::ZERO)).expect("linger");
                    }
                    // The other direction's thread holds clones, so that only the next write or
                    // a shutdown of them would tell; a reset needs the last descriptor closed.
                    abort(&from);
                    abort(&to);
                    return;
                }
            }
        }
        passed += length;
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    from.shutdown(std::net::Shutdown::Both).ok();
    to.shutdown(std::net::Shutdown::Both).ok();
}

/// Resets a connection at once, whoever else holds it: connecting to nowhere (AF_UNSPEC) does.
#[allow(unsafe_code)]
fn abort(stream: &TcpStream) {
    use std::os::fd::AsRawFd;
    // SAFETY: all zeros is a sockaddr of family AF_UNSPEC; it outlives the call.
    unsafe {
        let nowhere: libc::sockaddr = std::mem::zeroed();
        let length = size_of::<libc::sockaddr>() as u32;
        libc::connect(stream.as_raw_fd(), &raw const nowhere, length);
    }
}
