//! A place for whoever shows something that never changes to keep how it looks: one value of each type, made once. Knows
//! neither what is shown nor who shows it.

use std::any::Any;
use std::sync::{Arc, OnceLock};

/// Values by type, the first that was made first. There are as many as types that a program asks for, and no lock: who
/// finds a value of another type in its place goes on to the next.
#[derive(Default)]
pub(crate) struct Memo(OnceLock<Box<Kept>>);

struct Kept {
    value: Arc<dyn Any + Send + Sync>,
    next: Memo,
}

impl Memo {
    /// The value of that type, made by `make` if there is none yet.
    pub(crate) fn get<T: Any + Send + Sync>(&self, make: impl Fn() -> T) -> Arc<T> {
        let mut place = self;
        loop {
            let kept =
                place.0.get_or_init(|| Box::new(Kept { value: Arc::new(make()), next: Self::default() }));
            if let Ok(value) = kept.value.clone().downcast() {
                return value;
            }
            place = &kept.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn each_type_is_made_once() {
        let (memo, made) = (Memo::default(), Cell::new(0));
        let count = || made.set(made.get() + 1);
        for _ in 0..3 {
            assert_eq!(*memo.get(|| (count(), 7u8)), ((), 7));
            assert_eq!(*memo.get(|| (count(), String::from("seven"))), ((), "seven".into()));
            assert_eq!(*memo.get(|| (count(), 7u64)), ((), 7));
        }
        assert_eq!(made.get(), 3, "one for each type");
    }
}
