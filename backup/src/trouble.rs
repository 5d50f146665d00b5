//! What could not be backed up as it should be, told with the backup: one repository's disk does not cost the others theirs.

use serde::{Deserialize, Serialize};

use crate::limits::{TROUBLE_BYTES_MAX, TROUBLES_MAX};

/// Something that is not in a backup, or is not whole there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The file, or the repository.
    pub what: String,
    /// Why.
    pub why: String,
    /// It is not in the backup, whatever the backup's files say. Otherwise it is there, damaged as it was.
    pub left_out: bool,
}

/// All that went wrong; of too much, how much more there was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Troubles {
    pub(crate) told: Vec<Trouble>,
    pub(crate) more: u64,
}

impl Troubles {
    pub(crate) fn add(&mut self, mut trouble: Trouble) {
        for text in [&mut trouble.what, &mut trouble.why] {
            let cut = (0..=TROUBLE_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(cut.unwrap_or(0));
        }
        if self.told.len() < TROUBLES_MAX { self.told.push(trouble) } else { self.more += 1 }
    }

    /// True if that file must not be relied on.
    pub(crate) fn leave_out(&self, name: &str) -> bool {
        self.told.iter().any(|trouble| trouble.left_out && trouble.what == name)
    }
}
