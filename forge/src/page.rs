//! Which rows of a list: at most so many, after a cursor.

use serde::Deserialize;
use slipway_core::Problem;

use crate::limits::{PAGE_ROWS, PAGE_ROWS_MAX};
use crate::refusal::invalid;

/// Which rows of a list by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// How many; [`PAGE_ROWS`] where it is not said.
    pub limit: Option<usize>,
    /// Those behind this one.
    pub after: Option<String>,
}

/// The rows of a page, and where the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// To be given as [`Page::after`]; `None` at the end.
    pub next: Option<String>,
}

impl Page {
    /// Everything that one list may hold.
    pub fn whole() -> Self {
        Self { limit: Some(PAGE_ROWS_MAX), after: None }
    }

    /// The page of a list sorted by `key`, of which `some` gives rows behind a cursor, at most so many.
    pub(crate) fn ask<T>(
        &self,
        some: impl FnOnce(Option<&str>, usize) -> Result<Vec<T>, Problem>,
        key: impl Fn(&T) -> &str,
    ) -> Result<Rows<T>, Problem> {
        let limit = rows(self.limit)?;
        // One more tells whether there is another page.
        let mut rows = some(self.after.as_deref(), limit + 1)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| key(row).to_owned());
        Ok(Rows { rows, next })
    }
}

/// Checks a wanted number of rows.
///
/// # Errors
/// `Invalid` outside 1 to [`PAGE_ROWS_MAX`].
pub fn rows(limit: Option<usize>) -> Result<usize, Problem> {
    match limit {
        None => Ok(PAGE_ROWS),
        Some(n) if (1..=PAGE_ROWS_MAX).contains(&n) => Ok(n),
        Some(n) => Err(invalid(
            format!("limit={n} is outside 1 to {PAGE_ROWS_MAX}."),
            "Ask for fewer rows, and follow \"next\".",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: usize, after: Option<&str>) -> Page {
        Page { limit: Some(limit), after: after.map(Into::into) }
    }

    fn ask(page: &Page, all: &[String]) -> Rows<String> {
        let some = |after: Option<&str>, limit: usize| {
            let behind = all.iter().filter(|row| after.is_none_or(|after| row.as_str() > after));
            Ok(behind.take(limit).cloned().collect())
        };
        page.ask(some, |row| row).expect("fits")
    }

    #[test]
    fn pages_follow_one_another_without_gap_or_double() {
        let all: Vec<String> = (0..10).map(|n| format!("r{n}")).collect();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let rows = ask(&page(3, after.as_deref()), &all);
            seen.extend(rows.rows);
            after = rows.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_cursor_that_is_gone_still_finds_its_place() {
        let all = vec!["a".to_owned(), "c".into(), "d".into()];
        let rows = ask(&page(2, Some("b")), &all);
        assert_eq!(
            rows,
            Rows { rows: vec!["c".to_owned(), "d".into()], next: None },
            "a full page can be the last"
        );
    }

    #[test]
    fn too_many_rows_are_refused() {
        assert!(rows(Some(0)).is_err() && rows(Some(PAGE_ROWS_MAX + 1)).is_err() && rows(None).is_ok());
    }
}
