//! Passwords and limits of hops, between sockets on the real kernel.
#![allow(clippy::unwrap_used)] // In helpers, as in tests.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rstest::rstest;
use weft_kernel::Family;
use weft_kernel::tcp::{self, Hops, LONGEST_PASSWORD};
use weft_kernel::testing::in_netns;

const PORT: u16 = 179;
/// Long enough for a packet on `lo`, and for the kernel to have dropped it.
const WAIT: Duration = Duration::from_millis(300);

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

fn listen(family: Family, password: Option<&[u8]>) -> TcpListener {
    let passwords = password.map(|password| (loopback(family), password));
    let listener = tcp::listen(SocketAddr::new(loopback(family), PORT), passwords).unwrap();
    listener.set_nonblocking(false).unwrap();
    listener
}

/// Connects within [`WAIT`], or doesn't.
fn connect(family: Family, hops: Hops, password: Option<&[u8]>) -> Option<TcpStream> {
    let peer = loopback(family);
    let socket = socket2::Socket::from(tcp::dial(Some(peer), peer, hops, password).unwrap());
    let there = SocketAddr::new(peer, PORT).into();
    match socket.connect_timeout(&there, WAIT) {
        Ok(()) => Some(socket.into()),
        Err(error) if error.kind() == ErrorKind::TimedOut => None,
        Err(error) => panic!("{error}"),
    }
}

#[rstest]
fn only_who_has_the_password_is_heard(#[values(Family::V4, Family::V6)] family: Family) {
    in_netns(|| {
        let longest = [b'x'; LONGEST_PASSWORD];
        let some: [Option<&[u8]>; 4] = [None, Some(b"secret"), Some(b"Secret"), Some(&longest)];
        for ours in some {
            let listener = listen(family, ours);
            for theirs in some {
                let connected = connect(family, Hops::One, theirs).is_some();
                assert_eq!(connected, ours == theirs, "{ours:?} {theirs:?}");
            }
            drop(listener);
        }
    });
}

#[rstest]
fn a_password_can_be_changed_and_removed(#[values(Family::V4, Family::V6)] family: Family) {
    in_netns(|| {
        let listener = listen(family, Some(b"old"));
        assert!(connect(family, Hops::One, Some(b"old")).is_some());
        tcp::set_password(&listener, loopback(family), Some(b"new")).unwrap();
        assert!(connect(family, Hops::One, Some(b"old")).is_none());
        assert!(connect(family, Hops::One, Some(b"new")).is_some());
        tcp::set_password(&listener, loopback(family), None).unwrap();
        assert!(connect(family, Hops::One, None).is_some());
        tcp::set_password(&listener, loopback(family), None).unwrap();
    });
}

#[rstest]
fn passwords_of_no_length_and_of_too_great_a_length_are_refused(
    #[values(0, LONGEST_PASSWORD + 1)] length: usize,
) {
    in_netns(|| {
        let listener = listen(Family::V4, None);
        let password = vec![b'x'; length];
        let outcome = tcp::set_password(&listener, loopback(Family::V4), Some(&password));
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("1 to 80 bytes"), "{error}");
    });
}

#[rstest]
fn packets_that_may_have_come_from_afar_are_dropped(
    #[values(Family::V4, Family::V6)] family: Family,
) {
    in_netns(|| {
        let listener = listen(family, None);
        for (theirs, heard) in [
            (Hops::OneAndNoMore, true),
            (Hops::UpTo(255), true),
            (Hops::UpTo(254), false),
            (Hops::One, false),
        ] {
            let mut client = connect(family, theirs, None).unwrap();
            let (mut server, from) = listener.accept().unwrap();
            tcp::limit_hops(&server, from.ip(), Hops::OneAndNoMore).unwrap();
            client.write_all(b"hello").unwrap();
            server.set_read_timeout(Some(WAIT)).unwrap();
            let mut word = [0; 5];
            assert_eq!(server.read_exact(&mut word).is_ok(), heard, "{theirs:?}");
        }
    });
}
