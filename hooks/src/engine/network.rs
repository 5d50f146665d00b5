//! A network for one test: it leads nowhere, not even to the machine that the engine runs on.
//!
//! An internal network has no way out, but engines give its bridge an address of the host, by which all that listens there on
//! every address is reached. It is taken off: by the gateway mode `isolated` where the engine knows that, and else by telling
//! it to give the bridge no address. IPv6 is off by default, and link-local addresses need a gateway.

use std::collections::HashMap;

use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::ListNetworksOptionsBuilder;

use super::{Engine, Labels, api_at_least, is_missing};
use crate::error::HookError;
use crate::mark::NETWORK;

/// The first API whose engines can leave the host out of an internal network by name.
const ISOLATED: (u32, u32) = (1, 48);

impl Engine {
    /// Makes an internal network of that name.
    pub(crate) async fn make_internal_network(&self, name: &str, labels: &Labels) -> Result<(), HookError> {
        const DURING: &str = "making the test's network";
        let (key, value) = if api_at_least(&self.version().await?.api, ISOLATED) {
            ("com.docker.network.bridge.gateway_mode_ipv4", "isolated")
        } else {
            ("com.docker.network.bridge.inhibit_ipv4", "true")
        };
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            internal: Some(true),
            options: Some(HashMap::from([(key.to_owned(), value.to_owned())])),
            labels: Some(labels.clone()),
            ..NetworkCreateRequest::default()
        };
        self.must(DURING, self.docker()?.create_network(request)).await.map(drop)
    }

    /// Removes a network of ours; fine if it is gone.
    pub(crate) async fn remove_network(&self, name: &str) -> Result<(), HookError> {
        match self.call("removing a network", self.docker()?.remove_network(name)).await? {
            Ok(()) => Ok(()),
            Err(e) if is_missing(&e) => Ok(()),
            Err(e) => Err(self.failure("removing a network", e)),
        }
    }

    /// The names of all networks that may be ours.
    pub(crate) async fn networks(&self) -> Result<Vec<String>, HookError> {
        let filters = HashMap::from([("name", vec![NETWORK])]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let found = self.must("the sweep", self.docker()?.list_networks(Some(options))).await?;
        Ok(found.into_iter().filter_map(|n| n.name).collect())
    }
}
