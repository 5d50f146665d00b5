//! Git over HTTP (gitprotocol-http, the smart protocol) as an axum router. Who may do what is decided in `service`.

mod answer;
pub(crate) mod body;
mod routes;
