//! Version 2's `object-info`: sizes of objects (gitprotocol-v2).

use slipway_core::{Oid, Problem};

use super::pktline::{put_flush, put_line};
use super::{WireError, push_bounded, read_oid};
use crate::limits::WANTS_MAX;

/// What is asked for.
#[derive(Debug, Default)]
pub(crate) struct ObjectInfo {
    size: bool,
    ids: Vec<Oid>,
}

impl ObjectInfo {
    /// Takes one argument.
    pub(crate) fn take(&mut self, line: &[u8], format: &'static str) -> Result<(), WireError> {
        if line == b"size" {
            self.size = true;
            return Ok(());
        }
        let Some(id) = line.strip_prefix(b"oid ") else {
            return Err(WireError::argument(line));
        };
        push_bounded(&mut self.ids, read_oid(id, format)?, "object ids", WANTS_MAX)
    }

    /// Writes the answer. `size` gives an object's size in bytes, if the client may know.
    pub(crate) fn answer(
        &self,
        size: &dyn Fn(&Oid) -> Result<Option<u64>, Problem>,
        out: &mut Vec<u8>,
    ) -> Result<(), Problem> {
        if self.size && !self.ids.is_empty() {
            put_line(out, "size");
        }
        for id in &self.ids {
            match size(id)?.filter(|_| self.size) {
                Some(size) => put_line(out, &format!("{id} {size}")),
                None if self.size => put_line(out, &format!("{id} ")),
                None => put_line(out, &id.to_string()),
            }
        }
        put_flush(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_of_what_may_be_known() {
        let (known, other) = (Oid::Sha1([0x11; 20]), Oid::Sha1([0x22; 20]));
        let mut asked = ObjectInfo::default();
        asked.take(b"size", "sha1").expect("valid");
        for id in [known, other] {
            asked.take(format!("oid {id}").as_bytes(), "sha1").expect("valid");
        }
        assert!(asked.take(b"type", "sha1").is_err() && asked.take(b"oid 12", "sha1").is_err());
        let mut out = Vec::new();
        asked.answer(&|id| Ok((*id == known).then_some(42)), &mut out).expect("answered");
        let said = String::from_utf8(out).expect("text");
        let mut nothing = Vec::new();
        let asked = ObjectInfo { size: true, ids: Vec::new() };
        asked.answer(&|_| Ok(None), &mut nothing).expect("answered");
        assert_eq!(nothing, b"0000");
        assert_eq!(said, format!("0009size\n0030{known} 42\n002e{other} \n0000"));
    }
}
