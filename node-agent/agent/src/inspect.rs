//! What `kubectl weft bgp` asks, over HTTP: `/bgp/peers`, `/bgp/routes`, `/bgp/routes/PREFIX`, `/bgp/received/ADDRESS`
//! and `/bgp/advertised/ADDRESS`, each answered by a JSON value.

use std::net::IpAddr;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::get;
use ipnet::IpNet;
use serde::Serialize;
use weft_peering::Handle;

type Answer = Result<([(HeaderName, &'static str); 1], String), (StatusCode, String)>;

/// The routes of the HTTP server.
pub fn router(bgp: &Handle) -> Router {
    let view = bgp.view.clone();
    let [routes, route, received, advertised] = [(); 4].map(|()| bgp.queries.clone());
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
            get(async move || answer(routes.routes(None).await, NONE)),
        )
        .route(
            "/bgp/routes/{address}/{length}",
            get(async move |Path((address, length)): Path<(IpAddr, u8)>| {
                let prefix = IpNet::new(address, length);
                let prefix =
                    prefix.map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
                answer(route.routes(Some(prefix.trunc())).await, NONE)
            }),
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

const NONE: &str = "this node speaks no BGP";
const UNKNOWN: &str = "this node has no BGP peer of this address";

fn answer<T: Serialize>(value: Option<T>, otherwise: &str) -> Answer {
    let value = value.ok_or_else(|| (StatusCode::NOT_FOUND, otherwise.to_owned()))?;
    let text = serde_json::to_string(&value);
    let text = text.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text))
}
