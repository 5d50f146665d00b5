//! The Git server on loopback ports with a real store and real repositories, met by stock git and OpenSSH.

mod certificates;
mod everyday;
mod formats;
mod hostile;
mod http;
mod outside;
mod push;
mod refusals;
mod server;
mod settings;
mod shallow;
mod ssh;
