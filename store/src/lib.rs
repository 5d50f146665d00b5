//! Durable records: the only user of sled.
