//! `/metrics`, `/live` and `/ready`.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::metrics::{Health, Metrics};

/// What the answers are made of.
#[derive(Clone, Debug)]
pub struct State {
    /// For /metrics.
    pub metrics: Metrics,
    /// For /ready.
    pub health: Health,
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";
const PATHS: &str = "/metrics  OpenMetrics text\n/live     200 while the process runs\n/ready    200 while clients can be served\n";

/// Longest time a client may take to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Most connections at once; the next ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 256;

/// Serves until `shutdown`.
///
/// # Cancel safety
/// Dropping the future stops taking connections; those that are open end with their answer.
pub async fn serve(listener: TcpListener, state: State, shutdown: CancellationToken) {
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (state, shutdown) = (state.clone(), shutdown.clone());
                tokio::spawn(async move {
                    connection(stream, state, shutdown).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("HTTP: cannot take a connection: {error}; trying again in 100 ms");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, state: State, shutdown: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&state, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(16 * 1024);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("HTTP: a connection ended: {error}");
    }
}

fn answer(state: &State, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD are answered here\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => match state.metrics.text() {
            Ok(text) => response(StatusCode::OK, OPENMETRICS, text),
            Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("the metrics cannot be written: {error}\n")),
        },
        "/live" => response(StatusCode::OK, PLAIN, "alive\n".into()),
        "/ready" => match state.health.ready() {
            Ok(()) => response(StatusCode::OK, PLAIN, "ready\n".into()),
            Err(reason) => response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{reason}\n")),
        },
        _ => response(StatusCode::NOT_FOUND, PLAIN, format!("there is nothing here; there is\n{PATHS}")),
    }
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("read");
        text
    }

    #[tokio::test]
    async fn each_path_says_what_it_should() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("address");
        let state = State { metrics: Metrics::new(), health: Health::default() };
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, state.clone(), shutdown.clone()));

        let text = ask(address, "GET /metrics").await;
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(text.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{text}");
        assert!(text.contains("tidegate_sessions 0") && text.ends_with("# EOF\n"), "{text}");

        assert!(ask(address, "GET /live").await.starts_with("HTTP/1.1 200"));
        let text = ask(address, "GET /ready").await;
        assert!(text.starts_with("HTTP/1.1 503") && text.contains("not listening"), "{text}");
        state.health.set_listening(true);
        state.health.upstream_reached();
        assert!(ask(address, "GET /ready").await.starts_with("HTTP/1.1 200"));

        let text = ask(address, "GET /x").await;
        assert!(text.starts_with("HTTP/1.1 404") && text.contains("/metrics") && text.contains("/ready"), "{text}");
        assert!(ask(address, "POST /metrics").await.starts_with("HTTP/1.1 405"));

        shutdown.cancel();
        server.await.expect("ended");
    }
}
