//! `slipway doctor`: the server's own checks, and then the round of all repositories, part by part.

use serde_json::{Value, json};
use slipway_core::Problem;

use super::output;
use super::request::{Shows, call, send};
use super::run::Session;

/// Asks, shows what comes as it comes, and says whether all is well.
pub(super) async fn run(repair: bool, as_json: bool, session: Session<'_>) -> Result<bool, Problem> {
    let Session { client, out, .. } = session;
    let mut report = client.send(&call("GET", "/doctor", Shows::Checks)).await?.json().await?;
    if !as_json {
        out.write(output::checks(&report).as_bytes()).await?;
    }
    let mut after = Value::Null;
    loop {
        let path = match &after {
            Value::Null => "/doctor/repositories".to_owned(),
            id => format!("/doctor/repositories?after={id}"),
        };
        let part = if repair {
            send("POST", "/doctor/repositories", json!({"after": after}), Shows::Checks)
        } else {
            call("GET", path, Shows::Checks)
        };
        let part = client.send(&part).await?.json().await?;
        let is_last = part["next"].is_null();
        if !as_json {
            let how_far = format!("{} of {} repositories looked at\n", part["looked"], part["total"]);
            let mark = if is_last { "ok  " } else { "…   " };
            out.write(format!("{}{mark} {how_far}", output::checks(&part)).as_bytes()).await?;
        }
        if let (Some(all), Some(more)) = (report["checks"].as_array_mut(), part["checks"].as_array()) {
            all.extend(more.iter().cloned());
        }
        if is_last {
            break;
        }
        after = part["next"].clone();
    }
    let well = report["checks"].as_array().into_iter().flatten().all(|check| check["ok"] == true);
    report["ok"] = well.into();
    if as_json {
        let text = format!("{}\n", serde_json::to_string_pretty(&report).unwrap_or_default());
        out.write(text.as_bytes()).await?;
    }
    Ok(well)
}
