//! The server's side of TCP: echoes requests, and checks and makes bulk streams.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::frame::{Frame, HEADER, Kind};
use crate::stream;

/// Bytes that are made or checked at a time; a multiple of 8.
pub const CHUNK: usize = 64 << 10;

/// Accepts connections for ever.
pub async fn serve(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                // The client sees and counts every failure.
                tokio::spawn(async move { talk(connection).await.ok() });
            }
            Err(error) => {
                eprintln!("weft-load: accepting: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn talk(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut header = [0; HEADER];
    let mut buffer = Vec::new();
    loop {
        if connection.read_exact(&mut header).await.is_err() {
            return Ok(());
        }
        let Ok(frame) = Frame::decode(&header) else {
            return say(&mut connection, Frame::bare(Kind::Damaged, 0, 0)).await;
        };
        match frame.kind {
            Kind::Request => {
                buffer.resize(HEADER + frame.length as usize, 0);
                connection.read_exact(&mut buffer[HEADER..]).await?;
                if !frame.fits(&buffer[HEADER..]) {
                    let damaged = Frame::bare(Kind::Damaged, frame.number, 0);
                    return say(&mut connection, damaged).await;
                }
                let response = Frame {
                    kind: Kind::Response,
                    ..frame
                };
                buffer[..HEADER].copy_from_slice(&response.encode());
                connection.write_all(&buffer).await?;
            }
            Kind::Put => {
                let bad = check(&mut connection, &mut buffer, frame).await?;
                let bad = bad.unwrap_or(u64::MAX);
                say(
                    &mut connection,
                    Frame::bare(Kind::Checked, bad, frame.length),
                )
                .await?;
            }
            Kind::Get => make(&mut connection, &mut buffer, frame).await?,
            Kind::Response | Kind::Checked | Kind::Damaged => {
                return say(&mut connection, Frame::bare(Kind::Damaged, 0, 0)).await;
            }
        }
    }
}

async fn say(connection: &mut TcpStream, frame: Frame) -> io::Result<()> {
    connection.write_all(&frame.encode()).await
}

/// Reads a whole stream. Returns the first offset at which it is wrong.
async fn check(
    connection: &mut TcpStream,
    buffer: &mut Vec<u8>,
    frame: Frame,
) -> io::Result<Option<u64>> {
    let mut bad = None;
    let mut offset = 0;
    while offset < frame.length {
        buffer.resize(CHUNK.min((frame.length - offset) as usize), 0);
        connection.read_exact(buffer).await?;
        if bad.is_none() {
            let wrong = stream::first_difference(frame.number, offset, buffer);
            bad = wrong.map(|at| offset + at as u64);
        }
        offset += buffer.len() as u64;
    }
    Ok(bad)
}

async fn make(connection: &mut TcpStream, buffer: &mut Vec<u8>, frame: Frame) -> io::Result<()> {
    let mut offset = 0;
    while offset < frame.length {
        buffer.resize(CHUNK.min((frame.length - offset) as usize), 0);
        stream::fill(frame.number, offset, buffer);
        connection.write_all(buffer).await?;
        offset += buffer.len() as u64;
    }
    Ok(())
}
