//! Whether a live object has what is wanted, as the API server compares: what it leaves out, what it writes otherwise. Pure.

use serde_json::Value;

/// Fields whose values, or whose entries' values, are quantities.
const QUANTITIES: [&str; 12] = [
    "limits",
    "requests",
    "hard",
    "capacity",
    "default",
    "defaultRequest",
    "max",
    "min",
    "maxLimitRequestRatio",
    "overhead",
    "sizeLimit",
    "divisor",
];

/// True if `live` has everything that `wanted` says. Lists must agree in length: one that grew is told to the server. What
/// is empty may be left out, and in kinds of Kubernetes itself (`built_in`) a quantity may be written otherwise.
pub(crate) fn covers(live: &Value, wanted: &Value, built_in: bool) -> bool {
    Eyes { built_in }.cover(Some(live), wanted, false)
}

struct Eyes {
    built_in: bool,
}

impl Eyes {
    fn cover(&self, live: Option<&Value>, wanted: &Value, is_quantity: bool) -> bool {
        let Some(live) = live.filter(|l| !l.is_null()) else { return is_empty(wanted) };
        match (live, wanted) {
            (Value::Object(l), Value::Object(w)) => w.iter().all(|(key, wanted)| {
                let named = self.built_in && QUANTITIES.contains(&key.as_str());
                self.cover(l.get(key), wanted, named || (is_quantity && !wanted.is_object()))
            }),
            (Value::Array(l), Value::Array(w)) => {
                l.len() == w.len() && l.iter().zip(w).all(|(l, w)| self.cover(Some(l), w, is_quantity))
            }
            // A null asks for nothing, or for a default.
            (_, Value::Null) => true,
            (l, w) if l == w => true,
            (l, w) => is_quantity && matches!((quantity(l), quantity(w)), (Some(l), Some(w)) if l == w),
        }
    }
}

/// What a server does not keep: nothing, and collections of nothing.
fn is_empty(wanted: &Value) -> bool {
    match wanted {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

/// A Kubernetes quantity as a whole number of 10^-9, or as it is where it is more than that can hold. `None` for what is none.
fn quantity(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(n) => n.to_string(),
        _ => return None,
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (mul, div) = scale(suffix)?;
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && part.is_empty()) || !part.bytes().chain(whole.bytes()).all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let digits: i128 = format!("0{whole}{part}").parse().ok()?;
    let below = 10i128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let nanos = digits.checked_mul(mul)?.checked_mul(1_000_000_000)?;
    let over = below.checked_mul(div)?;
    (nanos % over == 0).then_some(if negative { -(nanos / over) } else { nanos / over })
}

/// What a suffix multiplies and divides by.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let binary = |n: u32| Some((1i128 << (10 * n), 1));
    let decimal = |n: u32| Some((10i128.pow(3 * n), 1));
    let below = |n: u32| Some((1, 10i128.pow(3 * n)));
    match suffix {
        "" => Some((1, 1)),
        "n" => below(3),
        "u" => below(2),
        "m" => below(1),
        "k" => decimal(1),
        "M" => decimal(2),
        "G" => decimal(3),
        "T" => decimal(4),
        "P" => decimal(5),
        "E" => decimal(6),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10i128.checked_pow(exponent.unsigned_abs()).filter(|_| exponent.abs() <= 18)?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_compare_by_what_they_are() {
        for (a, b) in [
            (json!("1000m"), json!("1")),
            (json!("1024Mi"), json!("1Gi")),
            (json!("0.5"), json!("500m")),
            (json!(2), json!("2")),
            (json!("1e3"), json!("1k")),
            (json!("1.5Gi"), json!("1536Mi")),
            (json!("-1"), json!("-1000m")),
            (json!("100000u"), json!("100m")),
        ] {
            assert!(quantity(&a).is_some() && quantity(&a) == quantity(&b), "{a} {b}");
        }
        assert_ne!(quantity(&json!("1M")), quantity(&json!("1Mi")));
        for none in
            [json!("x"), json!(""), json!("1x"), json!("1.2.3"), json!(true), json!("1e99"), json!(".")]
        {
            assert_eq!(quantity(&none), None, "{none}");
        }
    }

    #[test]
    fn what_the_server_writes_otherwise_or_leaves_out_is_no_change() {
        let live = json!({"spec": {"c": [{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}], "n": 3}});
        let same = |wanted: Value, built_in| covers(&live, &wanted, built_in);
        let wanted =
            json!({"spec": {"c": [{"resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}}}], "n": 3}});
        assert!(same(wanted.clone(), true));
        assert!(!same(wanted, false), "a custom kind's text is a text");
        assert!(same(
            json!({"spec": {"tolerations": [], "affinity": {}, "x": null, "n": null, "y": {"z": []}}}),
            true
        ));
        assert!(!same(json!({"spec": {"n": 4}}), true));
        assert!(
            !same(json!({"spec": {"new": 0}}), true),
            "a nought may be a default or a change: the server is asked"
        );
        assert!(!same(json!({"spec": {"c": []}}), true), "a list that was emptied");
        let config = json!({"data": {"cpu": "1"}});
        assert!(!covers(&config, &json!({"data": {"cpu": "1000m"}}), true), "only quantities");
    }
}
