//! Backups as streams, files and folders: what was put in comes out, what was harmed is refused, and what is kept is used again.

#[path = "backup/folders.rs"]
mod folders;
#[path = "backup/restores.rs"]
mod restores;
#[path = "backup/streams.rs"]
mod streams;
#[path = "backup/support.rs"]
mod support;
