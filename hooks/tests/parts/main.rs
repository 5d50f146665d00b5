//! The stages against real parts (Docker Engine and registry of `tests/lab`) and against an engine made of recorded
//! answers.

mod context;
mod ecr;
mod fake_ecr;
mod fake_engine;
mod generic;
mod lab;
mod others;
mod push;
mod stages;
mod world;
