use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;

/// A link, what it tells, and the other end.
async fn link(send_hold: Duration) -> (Link, mpsc::Receiver<Event>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = listener.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(there), listener.accept());
    let (tell, told) = mpsc::channel(1);
    let link = Link::open(ours.unwrap(), send_hold, (), move |event| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(event).await;
        }
    });
    (link, told, theirs.unwrap().0)
}

/// More than the kernel takes.
fn much() -> Bytes {
    Bytes::new(vec![7; 32 << 20])
}

#[tokio::test]
async fn a_peer_that_reads_nothing_loses_its_connection() {
    let (link, mut told, _theirs) = link(Duration::from_millis(200)).await;
    link.send(much());
    let Some(Event::Closed(why)) = told.recv().await else {
        panic!("it is not closed");
    };
    assert_eq!(why, "the peer has read nothing for 0.2 s");
}

#[tokio::test]
async fn what_waits_is_counted() {
    let (link, _told, mut theirs) = link(Duration::from_secs(60)).await;
    assert_eq!(link.send(much()), 32 << 20);
    let mut bytes = vec![0; 32 << 20];
    theirs.read_exact(&mut bytes).await.unwrap();
    while link.send(Bytes::new(vec![1])) > 1 {
        tokio::task::yield_now().await;
        theirs.read_exact(&mut [0]).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_queued_is_sent_before_the_end() {
    let (link, _told, mut theirs) = link(Duration::from_secs(60)).await;
    let bytes = Bytes::new(b"last words".to_vec());
    for _ in 0..1000 {
        link.send(bytes.clone());
    }
    drop(link);
    let mut heard = Vec::new();
    theirs.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard.len(), 10_000);
}

#[tokio::test]
async fn what_comes_waits_until_there_is_time_for_it() {
    let (_link, mut told, theirs) = link(Duration::from_secs(60)).await;
    let mut sent = 0;
    // With nobody to take it, the kernel is soon full.
    while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(200), theirs.writable()).await
    {
        sent += theirs.try_write(&[1; 65536]).unwrap_or(0);
        assert!(sent < 64 << 20, "it is all taken in");
    }
    drop(theirs);
    let mut heard = 0;
    while let Some(Event::Bytes(bytes)) = told.recv().await {
        heard += bytes.len();
    }
    assert_eq!(heard, sent);
}
