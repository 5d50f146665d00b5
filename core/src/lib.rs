//! Words and rules of Slipway: ids, roles, events, the push-build-deploy machine, slipway.toml.
