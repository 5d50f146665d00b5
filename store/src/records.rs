//! What is recorded, one subject a file: the form of its records, how they are found, and what belongs together.
//!
//! Each subject has its reads on [`crate::View`], its changes on [`crate::Tx`], and on [`crate::Store`] a method for
//! whatever is done alone. Knows no engine, and decides nothing about who may do what.

mod bindings;
mod by_commit;
mod counters;
mod events;
mod former_names;
mod grants;
mod inventories;
mod keys;
mod makers;
mod parents;
mod pointers;
mod refusal;
mod repositories;
mod schedules;
mod secrets;
mod sessions;
mod statuses;
mod targets;
mod tokens;
mod users;
mod webhooks;
mod work;
