//! Hands accepted work to the supervisor, which is made after the acceptance path that needs it.

use std::sync::OnceLock;

use slipway_core::accept::{Dispatch, Orders};

use crate::supervisor::Supervisor;

/// Filled in once the supervisor stands. Orders before that wait in the store, where the supervisor finds them.
#[derive(Default)]
pub(crate) struct ToSupervisor(OnceLock<Supervisor>);

impl ToSupervisor {
    pub(crate) fn set(&self, supervisor: Supervisor) {
        // Set once, by the composition; a second one would be the same.
        drop(self.0.set(supervisor));
    }
}

impl Dispatch for ToSupervisor {
    fn dispatch(&self, orders: &Orders) {
        if let Some(supervisor) = self.0.get() {
            supervisor.order(orders);
        }
    }
}
