//! What happens after a push: context, image build, test, push, manifest bump.
//!
//! [`Hooks`] has one method for each stage of the build machine in `slipway_core::build`; [`bump`] is its last one, a
//! pure edit. Nothing here touches the store: the supervisor journals, calls, and journals again. The only user of
//! bollard ([`Engine`]) and of the AWS SDK.

pub mod bump;
mod contents;
mod context;
mod dockerfile;
mod engine;
mod error;
mod hooks;
mod ignore;
mod junit;
mod limits;
mod log;
mod mark;
mod permit;
mod pieces;
mod pool;
mod registry;
mod secrets;
mod supply;
mod variables;

pub use self::engine::address::Reach;
pub use self::engine::{Engine, EngineVersion};
pub use self::error::HookError;
pub use self::hooks::{Built, Hooks, Job, Prepared, Swept};
pub use self::log::{BuildLog, BuildLogs, LogFollower, LogLength};
pub use self::mark::Marks;
pub use self::permit::Permit;
pub use self::pool::{Engines, Member};
pub use self::registry::{RegistryTarget, check_ca};
pub use self::secrets::{GivenSecret, Secrets};
pub use self::supply::{Document, Maker, SigningKey, Supply};
