//! Durable records: one ordered map with transactions, over an engine. The only user of sled.
//!
//! [`Store`] is the whole surface. What belongs together is read in one [`Store::read`] and written in one
//! [`Store::transact`]; for what is one record there are methods of its own. Every method blocks, and every change is
//! durable when it returns. What a caller may do is not decided here.
//!
//! Where things are: what is recorded, one subject a file, in `records/`; reading and writing of any record in `view.rs`
//! and `tx.rs`; what a database must do in `engine.rs`, and the two that there are below it; what is promised of the
//! disk, and why sled alone does not promise it, in `disk.rs`; the keys in `keys.rs`; the form of one record in
//! `codec.rs`; credentials in `vault.rs`; format changes in `upkeep.rs`; every bound in `limits.rs`.

mod backup;
mod codec;
mod disk;
mod engine;
mod error;
mod export;
mod keys;
mod limits;
mod master_key;
mod records;
mod salvage;
mod store;
mod tx;
mod upkeep;
mod vault;
mod view;

pub use self::backup::{Copied, Restored, check as check_backup, restore};
pub use self::error::StoreError;
pub use self::master_key::MasterKey;
pub use self::salvage::salvage;
pub use self::store::Store;
pub use self::tx::Tx;
pub use self::view::View;
