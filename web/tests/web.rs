//! The router as a browser and the command line meet it: a real store, real repositories, and recorded operations.

#[path = "web/access.rs"]
mod access;
#[path = "web/api.rs"]
mod api;
#[path = "web/crawl.rs"]
mod crawl;
#[path = "web/live.rs"]
mod live;
#[path = "web/outside.rs"]
mod outside;
#[path = "web/pages.rs"]
mod pages;
#[path = "web/security.rs"]
mod security;
#[path = "web/statuses.rs"]
mod statuses;
#[path = "web/work.rs"]
mod work;
#[path = "web/world.rs"]
mod world;
