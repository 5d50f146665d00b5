//! How well the engine keeps builds from this machine, and what has to be done beside it.

use std::net::SocketAddr;
use std::time::Duration;

use slipway_core::ceilings::Ceilings;
use slipway_core::spec::Network;
use slipway_forge::Check;

use super::ok;
use crate::rooms::Rooms;

/// How long a metadata service may take to answer; it is on this machine's own wire.
const PATIENCE: Duration = Duration::from_millis(500);
/// Where clouds answer whoever asks from a machine of theirs.
const METADATA: [&str; 2] = ["169.254.169.254:80", "[fd00:ec2::254]:80"];
/// What keeps containers on the engine's bridge off that, and off the host.
const RULES: &str = "iptables -I DOCKER-USER -d 169.254.0.0/16 -j DROP; \
                     iptables -I INPUT -i docker0 -m conntrack --ctstate NEW -j DROP";

/// What builds reach and use, beyond what this server can bound.
pub(super) async fn builds(rooms: &Rooms) -> Check {
    let most = Ceilings::in_force(&rooms.ceilings.builds, &Ceilings::default(), &Ceilings::of_builds());
    let mut told = match most.network {
        Some(Network::Bridge) | None => {
            let service = if metadata_answers().await {
                "its metadata service (169.254.169.254), which answers here, and with it this machine's role in its cloud"
            } else {
                "a metadata service, where there is one (none answers here)"
            };
            format!(
                "the engine cannot keep build steps from this machine's own addresses and from {service}; unless that is done \
                 already, a firewall does: {RULES}; or [builds] network = \"none\""
            )
        }
        Some(network) => format!("build steps have the network {:?}", network.as_str()),
    };
    let buildkit = rooms.engines.any().check_engine().await.is_ok_and(|version| version.buildkit);
    if buildkit {
        told.push_str(
            ". BuildKit bounds no single build's memory, processors or disk: bound the engine, by cgroup-parent in its \
             daemon.json",
        );
    }
    ok("isolation", &told)
}

async fn metadata_answers() -> bool {
    let ask = METADATA.map(|address| async move {
        let Ok(address) = address.parse::<SocketAddr>() else { return false };
        matches!(tokio::time::timeout(PATIENCE, tokio::net::TcpStream::connect(address)).await, Ok(Ok(_)))
    });
    let [old, new] = ask;
    let (old, new) = tokio::join!(old, new);
    old || new
}
