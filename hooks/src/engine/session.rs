//! A BuildKit session of our own: the connection back through which a build asks for what it needs, registry logins and the
//! folders that it is made of.
//!
//! bollard's session leaves its connection open after the build, one per build, for good; this one ends with its value.
//! The protocol is BuildKit's `session` package: `POST /session`, upgraded to HTTP/2, on which the *engine* is the gRPC
//! client and calls the methods that the request's headers name. Whatever else a build shall be able to ask for is one
//! more field of [`Services`].

use std::collections::HashMap;
use std::sync::Arc;

use bollard::health::health_check_response::ServingStatus;
use bollard::health::health_server::{Health, HealthServer};
use bollard::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use bollard::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard::moby::filesync::v1::auth_server::{Auth, AuthServer};
use bollard::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use slipway_core::Secret;
use tokio::task::AbortHandle;
use tonic::transport::server::Router;
use tonic::{Request, Response, Status};

use super::Engine;
use super::agent::Agents;
use super::connection::Duplex;
use super::filesync::{Folders, Offer};
use crate::error::HookError;
use crate::limits::{SESSION_OPEN, SYNC_REQUEST_BYTES_MAX};

/// Name and password for one registry host.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: Secret,
}

/// Logins by registry host.
pub(crate) type Logins = HashMap<String, Login>;

/// What the engine may ask a build for.
pub(crate) struct Services {
    pub(crate) logins: Logins,
    /// What steps may mount, by id.
    pub(crate) secrets: HashMap<String, Secret>,
    pub(crate) folders: Arc<Offer>,
    /// With which steps may sign.
    pub(crate) agents: Agents,
}

impl Services {
    /// The methods, as the session's headers name them.
    const METHODS: [&str; 6] = [
        "/moby.filesync.v1.Auth/Credentials",
        "/moby.buildkit.secrets.v1.Secrets/GetSecret",
        Folders::METHOD,
        Agents::METHODS[0],
        Agents::METHODS[1],
        "/grpc.health.v1.Health/Check",
    ];

    fn router(self) -> Router {
        tonic::transport::Server::builder()
            // The patterns of a .dockerignore come as headers.
            .http2_max_header_list_size(SYNC_REQUEST_BYTES_MAX)
            .add_service(HealthServer::new(Alive))
            .add_service(AuthServer::new(Keys { logins: self.logins }))
            .add_service(SecretsServer::new(Vault { secrets: self.secrets }))
            .add_service(self.agents.service())
            .add_service(Folders::service(self.folders))
    }
}

/// An open session. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    bridge: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.bridge.abort();
    }
}

impl Session {
    /// Opens a session. What the engine has of the folders it keeps under the key, for later sessions with the same.
    pub(crate) async fn open(
        engine: &Engine,
        id: String,
        key: &str,
        services: Services,
    ) -> Result<Self, HookError> {
        let opening = async {
            let upgraded = upgrade(engine, engine.dial().await?, &id, key).await?;
            let bridge = serve(upgraded, services);
            Ok(Self { id, bridge })
        };
        let lost = || engine.lost("opening the build session", "no answer within 15 s");
        tokio::time::timeout(SESSION_OPEN, opening).await.map_err(|_| lost())?
    }
}

async fn upgrade(
    engine: &Engine,
    io: Box<dyn Duplex>,
    id: &str,
    key: &str,
) -> Result<hyper::upgrade::Upgraded, HookError> {
    let lost = |why: &str| engine.lost("opening the build session", why);
    let (mut send, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(|e| lost(&e.to_string()))?;
    tokio::spawn(connection.with_upgrades());
    let mut request = http::Request::post("/session")
        .header("Host", "docker")
        .header("Connection", "Upgrade")
        .header("Upgrade", "h2c")
        .header("X-Docker-Expose-Session-Uuid", id)
        .header("X-Docker-Expose-Session-Name", "slipway")
        .header("X-Docker-Expose-Session-Sharedkey", key);
    for method in Services::METHODS {
        request = request.header("X-Docker-Expose-Session-Grpc-Method", method);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| lost(&e.to_string()))?;
    let response = send.send_request(request).await.map_err(|e| lost(&e.to_string()))?;
    if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        return Err(lost(&format!("status {}", response.status().as_u16())));
    }
    hyper::upgrade::on(response).await.map_err(|e| lost(&e.to_string()))
}

/// Serves gRPC over the connection. The bytes go through a pipe of ours so that one `abort` closes the socket, whatever
/// the gRPC server still waits for.
fn serve(upgraded: hyper::upgrade::Upgraded, services: Services) -> AbortHandle {
    let (near, far) = tokio::io::duplex(256 << 10);
    tokio::spawn(async move {
        let incoming = stream::iter([Ok::<_, std::io::Error>(far)]).chain(stream::pending());
        let server = services.router().serve_with_incoming(incoming);
        let bridge = async move {
            let (mut near, mut upgraded) = (near, TokioIo::new(upgraded));
            // Either side closing is the usual end of a session.
            let _ = tokio::io::copy_bidirectional(&mut near, &mut upgraded).await;
        };
        tokio::select! {
            _ = server => {}
            () = bridge => {}
        }
    })
    .abort_handle()
}

struct Alive;

#[tonic::async_trait]
impl Health for Alive {
    type WatchStream = stream::Pending<Result<HealthCheckResponse, Status>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving as i32 }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("list"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("watch"))
    }
}

struct Keys {
    logins: Logins,
}

#[tonic::async_trait]
impl Auth for Keys {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let login = self.logins.get(&request.get_ref().host);
        Ok(Response::new(CredentialsResponse {
            username: login.map(|l| l.username.clone()).unwrap_or_default(),
            secret: login.map(|l| l.password.expose().to_owned()).unwrap_or_default(),
        }))
    }

    // Without these two, BuildKit fetches tokens itself with the credentials above.
    async fn fetch_token(
        &self,
        _: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("fetch_token"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("get_token_authority"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("verify_token_authority"))
    }
}

struct Vault {
    secrets: HashMap<String, Secret>,
}

#[tonic::async_trait]
impl Secrets for Vault {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        // The engine makes of this code a mount that is left out, or a failure where the step requires it.
        let id = &request.get_ref().id;
        let secret =
            self.secrets.get(id).ok_or_else(|| Status::not_found(format!("secret {id} not found")))?;
        Ok(Response::new(GetSecretResponse { data: secret.expose().as_bytes().to_vec() }))
    }
}
