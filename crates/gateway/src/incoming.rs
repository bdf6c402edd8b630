//! Accepted connections: without delay for small packets, not more than so many, and only those that a door lets in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::tls::{Door, Role};

/// How long to wait after a refused accept: it is out of descriptors, and asking at once again would take the CPU that
/// closing some needs.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// Handshakes at once at one door: more wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 256;

/// A connection that has passed a door, counted while it lives.
#[derive(Debug)]
pub struct Connection {
    stream: Carrier,
    shown: Shown,
    _counted: OwnedSemaphorePermit,
}

/// What the other end of a connection has shown of itself. Services find it among a request's extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// What its certificate is for, if it has shown one.
    pub role: Option<Role>,
    /// The node of the cluster that its certificate names, if it names one and no other.
    pub node: Option<u64>,
}

/// What carries a connection's bytes.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// TCP itself.
    Plain(TcpStream),
    /// TLS; the larger by far, for its keys and buffers.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The connections that come in. At `connections_max` the next one waits in the kernel's queue. Handshakes go on side by
/// side, so that a slow one holds up nobody.
pub fn connections(
    listener: TcpListener,
    connections_max: usize,
    door: Door,
) -> impl Stream<Item = io::Result<Connection>> {
    let room = Arc::new(Semaphore::new(connections_max));
    let accepted = futures::stream::unfold((listener, room), |(listener, room)| async move {
        let counted = Arc::clone(&room).acquire_owned().await.ok()?;
        Some(((accept(&listener).await, counted), (listener, room)))
    });
    let let_in = accepted.map(move |(stream, counted)| {
        let door = door.clone();
        async move {
            let (stream, shown) = door.let_in(stream).await?;
            Some(Ok(Connection { stream, shown, _counted: counted }))
        }
    });
    let_in.buffer_unordered(HANDSHAKES_MAX).filter_map(std::future::ready)
}

/// The next connection; a refused accept is tried again.
pub(crate) async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            // A client that hung up already is found out by the first read.
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Shown;

    fn connect_info(&self) -> Shown {
        self.shown
    }
}

/// Does the same with either kind of stream.
macro_rules! either {
    ($connection:expr, $stream:ident => $does:expr) => {
        match &mut $connection.get_mut().stream {
            Carrier::Plain($stream) => $does,
            Carrier::Tls($stream) => $does,
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(context, to))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(context, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Carrier::Plain(stream) => stream.is_write_vectored(),
            Carrier::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
