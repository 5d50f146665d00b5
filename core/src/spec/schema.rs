//! The JSON Schema of slipway.toml, for editors; served at `/-/schema/slipway.json`.

/// The schema as JSON text.
pub fn schema() -> &'static str {
    include_str!("slipway.schema.json")
}
