//! Durable records: the only user of sled.
//!
//! [`MetaStore`] is the whole surface, so that another database can stand beside [`SledStore`] later. Every method
//! blocks, and every write is flushed to disk before it returns. What a caller may do is not decided here.
//!
//! Where things are: what is promised of the disk, and why sled alone does not promise it, in `disk.rs`; the keys in
//! `keys.rs`; the form of one record in `codec.rs`; credentials in `vault.rs`; format changes and sweeping in
//! `upkeep.rs`; every bound in `limits.rs`.

mod backup;
mod codec;
mod disk;
mod error;
mod keys;
mod limits;
mod master_key;
mod meta_store;
mod salvage;
mod sled_store;
mod upkeep;
mod vault;

pub use self::backup::{Restored, check as check_backup, restore};
pub use self::error::StoreError;
pub use self::master_key::MasterKey;
pub use self::meta_store::{MetaStore, Store};
pub use self::salvage::salvage;
pub use self::sled_store::SledStore;
