//! The deployer against a real cluster and against one that misbehaves by script.

mod harness;
mod real;
mod scripted;
