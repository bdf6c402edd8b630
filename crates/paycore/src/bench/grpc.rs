//! gRPC by hand on the `h2` crate: what a loader needs, and nothing that costs more.
//!
//! A call is one HTTP/2 stream. A message on it has five bytes in front: no compression, and its length. The server
//! says how the call ended in the trailers, or at once in the headers when it has nothing else to say.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http::{HeaderMap, Method, Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::Status;

use super::gate::Gate;

/// How long a connection may take to be made: on loopback and in one data centre, far too long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What the server may send before we have read it. Frames of answers are half a megabyte each.
const WINDOW_BYTES: u32 = 16 << 20;

/// What one HTTP/2 frame may carry: fewer of them for a megabyte of requests.
const HTTP_FRAME_BYTES: u32 = 1 << 20;

/// Bytes in front of each message.
const PREFIX_BYTES: usize = 5;

/// A message longer than this is not one of ours; the door's own bound is a quarter of it.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Why a call brought no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The server said how it ended.
    #[error("{}", .0.message())]
    Status(Box<Status>),
    /// The connection did not carry it to the end: it may have been done.
    #[error("{0}")]
    Broken(#[from] h2::Error),
    /// The server ended it in no way that gRPC knows: it may have been done.
    #[error("no gRPC answer: {0}")]
    Nonsense(&'static str),
    /// There is no connection: the call did not leave.
    #[error("cannot connect: {0:#}")]
    NotConnected(anyhow::Error),
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// One HTTP/2 connection. Its clones share it; when the last is dropped it closes.
#[derive(Debug)]
pub(super) struct Channel {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What every call of a method begins with.
#[derive(Clone, Debug)]
pub(super) struct MethodHead {
    head: Request<()>,
}

impl MethodHead {
    /// The head of a method, such as `/paycore.v1.Payments/Transfer`, at a door.
    pub(super) fn new(gate: &Gate, path: &str) -> anyhow::Result<Self> {
        let (scheme, address) = (gate.scheme(), gate.address());
        let uri = Uri::builder().scheme(scheme).authority(address).path_and_query(path).build()?;
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = uri;
        head.headers_mut().clone_from(gate.shown());
        head.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        Ok(Self { head })
    }
}

impl Channel {
    /// Connects to a door. Must be called within a `LocalSet`: the connection's task stays on this thread.
    pub(super) async fn connect(gate: &Gate) -> anyhow::Result<Self> {
        // On the heap: a TLS handshake is large, and everything that makes a call would grow by it.
        let connecting = Box::pin(async {
            let tcp = TcpStream::connect(gate.address()).await?;
            tcp.set_nodelay(true)?;
            match gate.tls() {
                None => Self::over(tcp).await,
                Some((tls, name)) => Self::over(tls.connect(name.clone(), tcp).await?).await,
            }
        });
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await?
    }

    async fn over<S>(stream: S) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_frame_size(HTTP_FRAME_BYTES)
            .enable_push(false);
        let (requests, connection) = builder.handshake::<_, Bytes>(stream).await?;
        // Its end is seen by every call that is open on it.
        let driver = tokio::task::spawn_local(async move { drop(connection.await) });
        Ok(Self { requests, driver })
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }

    /// One message there, one back. `message` begins with its prefix.
    pub(super) fn unary(
        &self,
        method: &MethodHead,
        message: Bytes,
    ) -> impl Future<Output = Result<Bytes, CallError>> + use<> {
        let (requests, head) = (self.requests.clone(), method.head.clone());
        async move {
            let (response, mut send) = requests.ready().await?.send_request(head, false)?;
            send.send_data(message, true)?;
            let mut answers = Answers::new(response);
            let first = answers.next().await?.ok_or(CallError::Nonsense("no message"))?;
            if answers.next().await?.is_some() {
                return Err(CallError::Nonsense("two messages"));
            }
            Ok(first)
        }
    }

    /// Messages there, messages back.
    pub(super) async fn stream(
        &self,
        method: &MethodHead,
    ) -> Result<(SendStream<Bytes>, Answers), CallError> {
        let requests = self.requests.clone().ready().await;
        let (response, send) = requests?.send_request(method.head.clone(), false)?;
        Ok((send, Answers::new(response)))
    }
}

/// Puts a message's prefix in front of it: `write` appends the message.
pub(super) fn put_message(to: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = to.len();
    to.extend_from_slice(&[0; PREFIX_BYTES]);
    write(to);
    let length = to.len().saturating_sub(start).saturating_sub(PREFIX_BYTES);
    let length = u32::try_from(length).expect("a message is far below 4 GiB");
    let prefix = to.get_mut(start..).and_then(|message| message.first_chunk_mut::<PREFIX_BYTES>());
    let [_, bytes @ ..] = prefix.expect("it was put there");
    *bytes = length.to_be_bytes();
}

/// A message with its prefix.
pub(super) fn encoded(message: &impl prost::Message) -> Bytes {
    let mut bytes = Vec::with_capacity(message.encoded_len().saturating_add(PREFIX_BYTES));
    put_message(&mut bytes, |to| message.encode(to).expect("a vector grows"));
    bytes.into()
}

/// The messages that come back on one call.
#[derive(Debug)]
pub(super) struct Answers {
    state: State,
    buffer: BytesMut,
}

#[derive(Debug)]
enum State {
    Waiting(ResponseFuture),
    Open(RecvStream),
    Ended,
}

impl Answers {
    fn new(response: ResponseFuture) -> Self {
        Self { state: State::Waiting(response), buffer: BytesMut::new() }
    }

    /// The next message; `None` when the call ended well. May be dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// When it ended otherwise.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            if let Some(message) = self.take_message()? {
                return Ok(Some(message));
            }
            match &mut self.state {
                State::Waiting(response) => {
                    let response = Pin::new(response).await?;
                    // A server with nothing to say but an error says it in the headers.
                    if let Some(end) = end_of(response.headers()) {
                        self.state = State::Ended;
                        return end.map(|()| None);
                    }
                    self.state = State::Open(response.into_body());
                }
                State::Open(body) => match body.data().await {
                    Some(chunk) => {
                        let chunk = chunk?;
                        body.flow_control().release_capacity(chunk.len())?;
                        self.buffer.extend_from_slice(&chunk);
                    }
                    None => {
                        let trailers = body.trailers().await?;
                        self.state = State::Ended;
                        let end = trailers.as_ref().and_then(end_of);
                        end.ok_or(CallError::Nonsense("no status at the end"))??;
                        return Ok(None);
                    }
                },
                State::Ended => return Ok(None),
            }
        }
    }

    /// Takes one whole message out of what has come.
    fn take_message(&mut self) -> Result<Option<Bytes>, CallError> {
        let Some([compressed, length @ ..]) = self.buffer.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        if *compressed != 0 {
            return Err(CallError::Nonsense("compressed, though nobody asked for it"));
        }
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > MESSAGE_BYTES_MAX {
            return Err(CallError::Nonsense("longer than any answer"));
        }
        let whole = length.saturating_add(PREFIX_BYTES);
        if self.buffer.len() < whole {
            self.buffer.reserve(whole.saturating_sub(self.buffer.len()));
            return Ok(None);
        }
        let mut message = self.buffer.split_to(whole).freeze();
        message.advance(PREFIX_BYTES);
        Ok(Some(message))
    }
}

/// How a call ended, if these headers say it. That it ended well is by far the most frequent, and read at a glance.
fn end_of(headers: &HeaderMap) -> Option<Result<(), CallError>> {
    if headers.get("grpc-status")?.as_bytes() == b"0" {
        return Some(Ok(()));
    }
    Status::from_header_map(headers).map(|status| Err(status.into()))
}
