//! The driver of a [`Sink`]: one socket, one thread.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;

use crate::batch::{BATCH, Batch};
use crate::sink::{self, Reply, Sink};
use crate::socket::{self, Stamps};
use crate::tally::lock;

/// How long a server waits for a datagram before it looks whether it should stop.
pub const WAIT: Duration = Duration::from_millis(200);

const LOOK_FOR_SILENT_EACH: Duration = Duration::from_secs(60);

/// Echoes what arrives on `socket` (made by [`socket::listening_udp`]) until `stop`.
pub fn serve(socket: &UdpSocket, v6: bool, sink: &Mutex<Sink>, stop: &AtomicBool) {
    let clock = Instant::now();
    let mut echoer = Echoer {
        socket,
        v6,
        df: None,
        batch: Batch::default(),
        replies: Vec::with_capacity(BATCH),
    };
    let mut looked = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        match echoer
            .batch
            .receive(socket.as_fd(), MsgFlags::MSG_WAITFORONE)
        {
            Ok(count) => echoer.echo(count, &mut lock(sink), clock.elapsed()),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => {
                eprintln!("weft-load: receiving UDP: {error}");
                std::thread::sleep(WAIT);
            }
        }
        let now = clock.elapsed();
        if now.saturating_sub(looked) > LOOK_FOR_SILENT_EACH {
            looked = now;
            lock(sink).forget_silent(now);
        }
    }
}

struct Echoer<'a> {
    socket: &'a UdpSocket,
    v6: bool,
    /// What the socket is set to.
    df: Option<bool>,
    batch: Batch,
    /// With the index of its datagram in the batch.
    replies: Vec<(usize, Reply)>,
}

impl Echoer<'_> {
    fn echo(&mut self, count: usize, sink: &mut Sink, now: Duration) {
        let stamps = Stamps::at(now);
        self.replies.clear();
        for index in 0..count {
            let told = self.batch.ancillary(index);
            if let Some(drops) = told.drops {
                sink.own_drops(drops.into());
            }
            let Some(source) = self.batch.source(index) else {
                continue;
            };
            let length = self.batch.length(index);
            let arrived = stamps.convert(told.stamp);
            let buffer = self.batch.buffer(index);
            if let Some(reply) = sink.receive(buffer, length, source, arrived) {
                self.batch.address_back(index, reply.length);
                self.replies.push((index, reply));
            }
        }
        let replies = std::mem::take(&mut self.replies);
        for run in replies.chunk_by(|(_, one), (_, next)| one.df == next.df) {
            self.send(run, sink);
        }
        self.replies = replies;
    }

    /// Sends replies that all want the same DF.
    fn send(&mut self, mut run: &[(usize, Reply)], sink: &mut Sink) {
        let Some((_, Reply { df, .. })) = run.first() else {
            return;
        };
        if self.df != Some(*df) {
            match socket::set_df(self.socket, self.v6, *df) {
                Ok(()) => self.df = Some(*df),
                Err(error) => eprintln!("weft-load: setting DF to {df}: {error}"),
            }
        }
        let mut short = false;
        while let [(first, reply), rest @ ..] = run {
            let indices: Vec<usize> = run.iter().map(|(index, _)| *index).collect();
            match self
                .batch
                .send(self.socket.as_fd(), &indices, MsgFlags::empty())
            {
                Ok(sent) => {
                    if short {
                        // See UdpFlow: one was refused and has been sent again with the rest.
                        sink.unsent(reply.flow);
                    }
                    short = sent < run.len();
                    run = &run[sent..];
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EMSGSIZE) if reply.fit && self.shorten(*first, reply) => {
                    short = false;
                    sink.shortened(reply.flow);
                }
                Err(_) => {
                    short = false;
                    sink.unsent(reply.flow);
                    run = rest;
                }
            }
        }
    }

    /// Whether there was anything to leave out.
    fn shorten(&mut self, index: usize, reply: &Reply) -> bool {
        let length = self.batch.length(index);
        let short = sink::shorten(self.batch.buffer(index), length);
        self.batch.shorten(index, short);
        short < reply.length && short < length
    }
}
