//! What `kubectl weft bgp` asks, over HTTP: `/bgp/peers`, `/bgp/routes`, `/bgp/received/ADDRESS` and
//! `/bgp/advertised/ADDRESS`, each answered by a JSON value.

use std::net::IpAddr;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::get;
use serde::Serialize;
use weft_peering::Handle;

type Answer = Result<([(HeaderName, &'static str); 1], String), (StatusCode, String)>;

/// The routes of the HTTP server.
pub fn router(bgp: &Handle) -> Router {
    let view = bgp.view.clone();
    let [routes, received, advertised] = [(); 3].map(|()| bgp.queries.clone());
    Router::new()
        .route(
            "/bgp/peers",
            get(async move || {
                let peers = view.borrow().peers.clone();
                answer(Some(peers), "")
            }),
        )
        .route(
            "/bgp/routes",
            get(async move || answer(routes.routes().await, "this node speaks no BGP")),
        )
        .route(
            "/bgp/received/{peer}",
            get(async move |Path(peer): Path<IpAddr>| {
                answer(received.received(peer).await, UNKNOWN)
            }),
        )
        .route(
            "/bgp/advertised/{peer}",
            get(async move |Path(peer): Path<IpAddr>| {
                answer(advertised.advertised(peer).await, UNKNOWN)
            }),
        )
}

const UNKNOWN: &str = "this node has no BGP peer of this address";

fn answer<T: Serialize>(value: Option<T>, otherwise: &str) -> Answer {
    let value = value.ok_or_else(|| (StatusCode::NOT_FOUND, otherwise.to_owned()))?;
    let text = serde_json::to_string(&value);
    let text = text.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text))
}
