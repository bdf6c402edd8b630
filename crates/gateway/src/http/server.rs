//! Connections: accepted, counted, served, and let go when the gateway drains.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, Protocol};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, map_config};
use actix_web::dev::AppConfig;
use futures::{Stream, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use super::app::app;
use super::trace::Scheme;
use crate::grpc::Doors;
use crate::incoming::{Connection, connections};
use crate::tls::Door;

/// How long a connection may be silent between two requests: past what load balancers keep theirs, so that they close
/// first.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long the head of a request may take to arrive; its body may take as long as the request's deadline.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// How long a client may take to close a connection that is over.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// Serves HTTP on a listener, behind the same door as gRPC, until the gateway drains and what is under way is answered;
/// without one, returns at once.
pub(crate) async fn serve(
    listener: Option<(TcpListener, Door)>,
    doors: Arc<Doors>,
    connections_max: usize,
) {
    if let Some((listener, door)) = listener {
        let scheme = Scheme(if door.is_tls() { "https" } else { "http" });
        let incoming = connections(listener, connections_max, door);
        LocalSet::new().run_until(accept_all(incoming, doors, scheme)).await;
    }
}

async fn accept_all(
    incoming: impl Stream<Item = io::Result<Connection>>,
    doors: Arc<Doors>,
    scheme: Scheme,
) {
    let draining = doors.draining.clone();
    let app =
        app(doors, scheme).into_factory().map_err(|why: actix_web::Error| why.error_response());
    let signal = draining.clone();
    // Left without a drain signal, an idle connection would stay open for as long as it is kept alive. The signal is
    // what actix-web's own server gives; it is not in the documentation, and the tests of draining would miss it.
    let service = HttpService::build()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_MAX)
        .client_disconnect_timeout(CLOSE_MAX)
        .graceful_shutdown_signal(move || told(signal.clone()))
        .finish(map_config(app, |()| AppConfig::default()))
        .new_service(());
    let Ok(service) = service.await else {
        return tracing::error!("the HTTP door could not be made");
    };
    let service = Rc::new(service);
    let mut open = JoinSet::new();
    let mut incoming = Box::pin(incoming);
    loop {
        tokio::select! {
            next = incoming.next() => {
                let Some(Ok(stream)) = next else { break };
                let service = Rc::clone(&service);
                open.spawn_local(async move {
                    if let Err(why) = service.call((stream, Protocol::Http1, None)).await {
                        tracing::debug!(%why, "a connection broke off");
                    }
                });
            }
            Some(_) = open.join_next(), if !open.is_empty() => {}
            () = told(draining.clone()) => break,
        }
    }
    drop(incoming);
    // Every connection hears of it by itself; the gateway bounds how long this takes.
    while open.join_next().await.is_some() {}
}

async fn told(mut draining: watch::Receiver<bool>) {
    // A sender that is gone has told everything.
    let _ = draining.wait_for(|draining| *draining).await;
}
