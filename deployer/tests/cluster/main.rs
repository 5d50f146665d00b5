//! The deployer against a real cluster and against one that misbehaves by script.

mod handover;
mod harness;
mod real;
mod scripted;
mod shared;
mod waiting;
