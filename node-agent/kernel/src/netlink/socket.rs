//! A netlink socket that sends requests in batches.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::message::Request;
use super::parse::{Attributes, Message, align};

/// Bytes sent in one system call. The errors of a batch have to fit into the receive
/// buffer even if every message of it fails, so this stays well below `BUFFER`.
const CHUNK: usize = 64 * 1024;
/// Socket buffers in bytes, both ways.
const BUFFER: usize = 8 << 20;
/// Kernels fill up to this many bytes of a dump per read.
const READ: usize = 64 * 1024;
/// A dump that the kernel marks as inconsistent, as something changed under it, is
/// started again this often.
const DUMP_TRIES: usize = 8;

const NLMSGERR_ATTR_MSG: u16 = 1;

/// Which part of the kernel a connection speaks with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// rtnetlink: links, addresses, neighbours, routes, rules, nexthops.
    Route,
    /// nfnetlink: nftables.
    Netfilter,
}

/// Why a netlink request failed. Which object it was about is the caller's to add.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The kernel refused the request.
    #[error("{} ({errno:?}{}{message})", errno.desc(), if message.is_empty() { "" } else { ": " })]
    Kernel {
        /// The error number.
        errno: Errno,
        /// The kernel's own explanation (extended acknowledgement), often empty.
        message: String,
    },
    /// The socket itself failed.
    #[error("netlink socket: {operation}: {}", errno.desc())]
    Socket {
        /// The system call.
        operation: &'static str,
        /// Its error.
        errno: Errno,
    },
    /// Replies were lost, so that it is unknown whether the request took effect;
    /// observe again.
    #[error("netlink replies were lost; whether the change took effect is unknown")]
    Lost,
    /// A dump was interrupted by changes each time it was tried.
    #[error("the kernel's tables kept changing while they were read")]
    Inconsistent,
}

impl Error {
    /// The kernel's error number.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel { errno, .. } | Self::Socket { errno, .. } => Some(*errno),
            Self::Lost | Self::Inconsistent => None,
        }
    }

    /// True if the object, or the thing it hangs on, isn't there (any more).
    pub fn is_absent(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::ENOENT | Errno::ESRCH | Errno::ENODEV | Errno::EADDRNOTAVAIL)
        )
    }

    fn socket(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Socket {
            operation,
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        }
    }
}

/// A netlink socket. It belongs to the network namespace it was opened in, for ever.
pub struct Connection {
    socket: Socket,
    sequence: u32,
    read: Vec<u8>,
}

impl Connection {
    /// Opens a connection in the calling thread's network namespace.
    pub fn open(family: Family) -> Result<Self, Error> {
        let protocol = match family {
            Family::Route => libc::NETLINK_ROUTE,
            Family::Netfilter => libc::NETLINK_NETFILTER,
        };
        let mut socket = Socket::new(protocol as isize).map_err(Error::socket("socket"))?;
        socket.bind_auto().map_err(Error::socket("bind"))?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .map_err(Error::socket("connect"))?;
        socket
            .set_ext_ack(true)
            .map_err(Error::socket("NETLINK_EXT_ACK"))?;
        socket
            .set_cap_ack(true)
            .map_err(Error::socket("NETLINK_CAP_ACK"))?;
        socket
            .set_netlink_get_strict_chk(true)
            .map_err(Error::socket("NETLINK_GET_STRICT_CHK"))?;
        enlarge_buffers(&socket);
        // Replies are there when a request has been sent; to wait longer would be for ever.
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(10)).map_err(|errno| {
            Error::Socket {
                operation: "SO_RCVTIMEO",
                errno,
            }
        })?;
        Ok(Self {
            socket,
            sequence: 0,
            read: vec![0; READ],
        })
    }

    /// Opens a connection in another network namespace, through a thread which enters
    /// it, so that the caller stays where it is.
    pub fn open_in(family: Family, namespace: BorrowedFd<'_>) -> Result<Self, Error> {
        std::thread::scope(|scope| {
            let entered = scope.spawn(|| {
                setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| Error::Socket {
                    operation: "setns",
                    errno,
                })?;
                Self::open(family)
            });
            entered.join().unwrap_or(Err(Error::Lost))
        })
    }

    /// Sends requests, many in one system call, and returns the result of each, in order.
    /// Later requests are still carried out when an earlier one fails.
    pub fn execute(&mut self, requests: &[Request]) -> Vec<Result<(), Error>> {
        let mut results = Vec::with_capacity(requests.len());
        let mut start = 0;
        while start < requests.len() {
            let mut size = 0;
            let fits = requests[start..].iter().take_while(|request| {
                size += align(request.len());
                size <= CHUNK
            });
            let end = start + fits.count().max(1);
            self.execute_chunk(&requests[start..end], &mut results);
            start = end;
        }
        results
    }

    /// Sends one request and waits for its acknowledgement.
    pub fn execute_one(&mut self, request: &Request) -> Result<(), Error> {
        self.execute(std::slice::from_ref(request))
            .pop()
            .unwrap_or(Err(Error::Lost))
    }

    /// Sends `begin`, `requests` and `end` in a single system call, as an nftables
    /// transaction wants it: all of it takes effect at once, or nothing. Returns the first
    /// error, with the index of its request if it is about one.
    pub fn transact(
        &mut self,
        begin: &Request,
        requests: &[Request],
        end: &Request,
    ) -> Result<(), (Option<usize>, Error)> {
        if requests.is_empty() {
            return Ok(());
        }
        let all: Vec<&Request> = [begin].into_iter().chain(requests).chain([end]).collect();
        // Kernels before 6.10 never acknowledge `end`.
        let last = requests.len() as u32;
        let outcome = self.send(&all, |index| (index == last).then_some(libc::NLM_F_ACK));
        let first = outcome.map_err(|error| (None, error))?;
        let mut failed = None;
        let received = self.receive(|message| {
            let index = message.sequence.wrapping_sub(first);
            if i32::from(message.kind) != libc::NLMSG_ERROR || index > last {
                return None;
            }
            if let Err(error) = acknowledgement(&message) {
                let request = (index as usize).checked_sub(1);
                failed.get_or_insert((request, error));
            }
            // If the transaction as a whole is refused, only `begin` is answered.
            (index == last || index == 0).then_some(())
        });
        received.map_err(|error| (None, error))?;
        failed.map_or(Ok(()), Err)
    }

    /// Sends one request and hands `each` the messages that answer it, up to the
    /// acknowledgement.
    pub fn get(
        &mut self,
        request: &Request,
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), Error> {
        let sequence = self.send(&[request], |_| Some(libc::NLM_F_ACK))?;
        self.receive(|message| {
            if message.sequence != sequence {
                return None;
            }
            if i32::from(message.kind) == libc::NLMSG_ERROR {
                return Some(acknowledgement(&message));
            }
            each(message);
            None
        })?
    }

    /// Dumps a table: sends `request` with `NLM_F_DUMP` and collects what `each` makes of
    /// the messages. Starts again if the kernel says that the table changed meanwhile.
    pub fn dump<T>(
        &mut self,
        request: &Request,
        mut each: impl FnMut(Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        for _ in 0..DUMP_TRIES {
            let sequence = self.send(&[request], |_| Some(libc::NLM_F_DUMP))?;
            let mut found = Vec::new();
            let mut interrupted = false;
            self.receive(|message| {
                if message.sequence != sequence {
                    return None;
                }
                interrupted |= i32::from(message.flags) & libc::NLM_F_DUMP_INTR != 0;
                match i32::from(message.kind) {
                    libc::NLMSG_ERROR => return Some(acknowledgement(&message)),
                    libc::NLMSG_DONE => return Some(done(&message)),
                    _ => found.extend(each(message)),
                }
                None
            })??;
            if !interrupted {
                return Ok(found);
            }
        }
        Err(Error::Inconsistent)
    }

    fn execute_chunk(&mut self, requests: &[Request], results: &mut Vec<Result<(), Error>>) {
        let base = results.len();
        results.extend(requests.iter().map(|_| Ok(())));
        if requests.is_empty() {
            return;
        }
        // Only the last request asks for an acknowledgement: the kernel handles them in
        // order and reports errors unasked, so it closes the batch.
        let all: Vec<&Request> = requests.iter().collect();
        let last = requests.len() as u32 - 1;
        let sent = self.send(&all, |index| (index == last).then_some(libc::NLM_F_ACK));
        let outcome = sent.and_then(|first| {
            self.receive(|message| {
                let index = message.sequence.wrapping_sub(first);
                if i32::from(message.kind) != libc::NLMSG_ERROR || index > last {
                    return None;
                }
                results[base + index as usize] = acknowledgement(&message);
                (index == last).then_some(())
            })
        });
        if let Err(error) = outcome {
            results[base..].fill(Err(error));
        }
    }

    /// Sends in one system call, each request with the flags that `flags` gives for its
    /// index; returns the sequence number of the first request.
    fn send(
        &mut self,
        requests: &[&Request],
        flags: impl Fn(u32) -> Option<i32>,
    ) -> Result<u32, Error> {
        self.drain();
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(requests.iter().map(|r| align(r.len())).sum());
        for (index, request) in (0..).zip(requests) {
            self.sequence = self.sequence.wrapping_add(1);
            request.finish_into(&mut bytes, self.sequence, flags(index).unwrap_or(0) as u16);
        }
        self.socket.send(&bytes, 0).map_err(Error::socket("send"))?;
        Ok(first)
    }

    /// Throws away what is left of an earlier, failed exchange.
    fn drain(&mut self) {
        let fd = self.socket.as_raw_fd();
        while recv(fd, &mut self.read, MsgFlags::MSG_DONTWAIT).is_ok() {}
    }

    /// Reads until `until` returns something.
    fn receive<T>(&mut self, mut until: impl FnMut(Message<'_>) -> Option<T>) -> Result<T, Error> {
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut self.read, MsgFlags::empty()) {
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                Err(Errno::ENOBUFS | Errno::EAGAIN) => return Err(Error::Lost),
                Err(errno) => {
                    return Err(Error::Socket {
                        operation: "receive",
                        errno,
                    });
                }
            };
            let mut rest = &self.read[..length];
            while let Some((message, next)) = Message::split(rest) {
                if let Some(result) = until(message) {
                    return Ok(result);
                }
                rest = next;
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Large buffers need CAP_NET_ADMIN over the host; without it the ordinary limit serves.
fn enlarge_buffers(socket: &Socket) {
    if setsockopt(socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        let _ = setsockopt(socket, sockopt::RcvBuf, &BUFFER);
    }
    if setsockopt(socket, sockopt::SndBufForce, &BUFFER).is_err() {
        let _ = setsockopt(socket, sockopt::SndBuf, &BUFFER);
    }
}

/// The verdict in an `NLMSG_ERROR` message: error number 0 means success.
fn acknowledgement(message: &Message<'_>) -> Result<(), Error> {
    // struct nlmsgerr: the error, then the header of the request (capped).
    verdict(message, 4 + super::message::HEADER)
}

/// The verdict in an `NLMSG_DONE` message.
fn done(message: &Message<'_>) -> Result<(), Error> {
    verdict(message, 4)
}

fn verdict(message: &Message<'_>, fixed: usize) -> Result<(), Error> {
    let code = message
        .payload
        .get(..4)
        .and_then(|bytes| bytes.try_into().ok());
    let code = code.map(i32::from_ne_bytes).unwrap_or_default();
    if code == 0 {
        return Ok(());
    }
    let attributes = Attributes(message.payload.get(fixed..).unwrap_or_default());
    Err(Error::Kernel {
        errno: Errno::from_raw(-code),
        message: attributes.text(NLMSGERR_ATTR_MSG).unwrap_or_default(),
    })
}
