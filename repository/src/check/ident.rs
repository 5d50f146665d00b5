//! Who made a commit or a tag, and when: the form of such a line. Pure.

use super::{Flaw, Rule, flawed};

/// A sign and four digits.
const ZONE_BYTES: usize = 5;

/// `Name <email> seconds zone`
pub(super) fn ident(who: &[u8], role: &str) -> Result<(), Flaw> {
    form(who, role)?;
    // Old programs wrote zones of other lengths.
    let zone = who.rsplit(|&b| b == b' ').next().unwrap_or_default();
    if zone.len() != ZONE_BYTES {
        return flawed(Rule::OddTimezone, format!("its {role}'s time zone has not four digits"));
    }
    Ok(())
}

fn form(who: &[u8], role: &str) -> Result<(), Flaw> {
    let Some(open) = who.iter().position(|&b| b == b'<') else {
        return flawed(Rule::MissingEmail, format!("its {role} has no email"));
    };
    if who[..open].contains(&b'>') {
        return flawed(Rule::BadName, format!("its {role}'s name has a '>'"));
    }
    if open == 0 {
        return flawed(Rule::MissingNameBeforeEmail, format!("its {role} has no space before the email"));
    }
    if who[open - 1] != b' ' {
        return flawed(Rule::MissingSpaceBeforeEmail, format!("its {role} has no space before the email"));
    }
    let email = &who[open + 1..];
    let close = email.iter().position(|&b| b == b'>' || b == b'<').filter(|&i| email[i] == b'>');
    let Some(close) = close else {
        return flawed(Rule::BadEmail, format!("its {role}'s email is not valid"));
    };
    let Some(rest) = email[close + 1..].strip_prefix(b" ") else {
        return flawed(Rule::MissingSpaceBeforeDate, format!("its {role} has no date"));
    };
    date(rest, role)
}

/// `seconds zone`
fn date(rest: &[u8], role: &str) -> Result<(), Flaw> {
    // Some programs wrote more than one space, and git reads over them.
    let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let rest = &rest[blanks..];
    let Some(space) = rest.iter().position(|&b| b == b' ') else {
        return flawed(Rule::BadDate, format!("its {role}'s date has no time zone"));
    };
    let (seconds, zone) = (&rest[..space], &rest[space + 1..]);
    if seconds.is_empty() || !seconds.iter().all(u8::is_ascii_digit) {
        return flawed(Rule::BadDate, format!("its {role}'s date is not a number"));
    }
    if seconds.len() > 1 && seconds[0] == b'0' {
        return flawed(Rule::ZeroPaddedDate, format!("its {role}'s date starts with a zero"));
    }
    let fits = std::str::from_utf8(seconds).ok().and_then(|s| s.parse::<i64>().ok()).is_some();
    if !fits {
        return flawed(Rule::BadDateOverflow, format!("its {role}'s date is too large"));
    }
    let digits = zone.strip_prefix(b"+").or_else(|| zone.strip_prefix(b"-")).unwrap_or_default();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return flawed(Rule::BadTimezone, format!("its {role}'s time zone is not valid"));
    }
    Ok(())
}
