//! What an `Authorization` header says of its sender, in all the forms in which programs send a token: one reader for Git,
//! pages and API. Nothing is looked up here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use slipway_core::Secret;
use slipway_core::token::TokenValue;

use crate::limits::CREDENTIAL_BYTES_MAX;

/// Names that programs send in the place of an account's, where the token alone says who they are.
const PLACEHOLDERS: [&str; 7] =
    ["x-access-token", "oauth2", "x-token-auth", "gitlab-ci-token", "private-token", "token", "git"];
/// What they send in the place of a password where the token is in the place of the account.
const NO_PASSWORDS: [&str; 2] = ["", "x-oauth-basic"];

/// What a request says of its sender.
#[derive(Clone, Debug)]
pub enum Claim {
    /// The account, if one is named, and the token.
    Token {
        /// As it was sent.
        account: Option<String>,
        /// The token's value.
        value: Secret,
    },
    /// Something that is neither.
    Unreadable,
}

/// Reads a header's value: `Basic` with account and token or with a token in the place of the account, `Bearer TOKEN`,
/// `token TOKEN`.
pub fn claim(header: &[u8]) -> Claim {
    read(header).unwrap_or(Claim::Unreadable)
}

fn read(header: &[u8]) -> Option<Claim> {
    let header = std::str::from_utf8(header).ok().filter(|text| text.len() <= CREDENTIAL_BYTES_MAX)?;
    let (scheme, rest) = header.trim_start().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token") {
        return Some(Claim::Token { account: None, value: Secret::new(rest) });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (account, password) = plain.split_once(':')?;
    if TokenValue::parse(account).is_some() && NO_PASSWORDS.contains(&password) {
        return Some(Claim::Token { account: None, value: Secret::new(account) });
    }
    let account = (!account.is_empty()).then(|| account.to_owned());
    Some(Claim::Token { account, value: Secret::new(password) })
}

/// True for a name that says nothing of who it is, unless an account has it.
pub(super) fn is_placeholder(name: &str) -> bool {
    PLACEHOLDERS.iter().any(|one| one.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_in_which_tokens_come() {
        let token = format!("slp_abcdefghijkl_{}", "s".repeat(40));
        let basic = |plain: &str| format!("Basic {}", STANDARD.encode(plain));
        let of = |header: &str| match claim(header.as_bytes()) {
            Claim::Token { account, value } if value.expose() == token => account.unwrap_or("-".into()),
            Claim::Token { .. } => "another value".into(),
            Claim::Unreadable => "unreadable".into(),
        };
        for (header, want) in [
            (basic(&format!("ann:{token}")), "ann"),
            (basic(&format!("x-access-token:{token}")), "x-access-token"),
            (basic(&format!(":{token}")), "-"),
            (basic(&format!("{token}:")), "-"),
            (basic(&format!("{token}:x-oauth-basic")), "-"),
            (format!("Bearer {token}"), "-"),
            (format!("bearer  {token} "), "-"),
            (format!("token {token}"), "-"),
            (format!("Token {token}"), "-"),
            (basic(&format!("{token}:hunter2")), "another value"),
            (basic(&token), "unreadable"),
            (format!("Digest {token}"), "unreadable"),
            (token.clone(), "unreadable"),
            ("Basic ????".into(), "unreadable"),
            (format!("Bearer {}", "a".repeat(CREDENTIAL_BYTES_MAX)), "unreadable"),
            (String::new(), "unreadable"),
        ] {
            assert_eq!(of(&header), want, "{header}");
        }
        assert!(!format!("{:?}", claim(format!("Bearer {token}").as_bytes())).contains("sss"));
    }
}
