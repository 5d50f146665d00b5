//! The Git wire: pkt-line, upload-pack, receive-pack, SSH and smart HTTP.
