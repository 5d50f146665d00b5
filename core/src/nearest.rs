//! "Did you mean …?": the known word that is nearest to one that is not known. Knows no language, only letters.

/// The nearest of the known words, if one is near enough to be meant.
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|known| (distance(wrong, known), known)).min();
    near.filter(|(far, _)| *far <= 1 + wrong.len() / 3).map(|(_, known)| known)
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = row[0];
        row[0] = left;
        for (j, y) in b.iter().enumerate() {
            let cost = (diagonal + usize::from(x != *y)).min(row[j + 1] + 1).min(left + 1);
            diagonal = row[j + 1];
            row[j + 1] = cost;
            left = cost;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn what_is_near_is_meant_and_what_is_far_is_not() {
        for (wrong, want) in
            [("wiat", Some("wait")), ("ci-skip", Some("ci.skip")), ("merge_request.create", None), ("", None)]
        {
            assert_eq!(nearest(wrong, ["wait", "ci.skip"]), want, "{wrong}");
        }
    }
}
