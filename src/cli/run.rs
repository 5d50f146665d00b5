//! Carries out a verb: asks the API and shows the answer.

use serde_json::Value;
use slipway_core::{Problem, ProblemKind};

use super::client::{Answer, Client};
use super::escapes::Escapes;
use super::request::{Files, Request, Shows, request};
use super::{BuildVerb, Cli, Verb};
use super::{doctor, output, registries, results, wait};

/// Where a verb runs: what it may read, where it prints.
pub(crate) struct Session<'a> {
    pub(crate) client: Client,
    pub(crate) files: &'a mut (dyn Files + Send),
    pub(crate) out: &'a mut (dyn Out + Send),
}

/// Where text goes. Writes what it is given, waits where the reader is slow.
#[async_trait::async_trait]
pub(crate) trait Out {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Problem>;

    /// Returns once nobody reads it any more, where that can be told before something is written.
    async fn left(&mut self) {
        std::future::pending().await
    }
}

/// Runs a verb that the API carries out. True if all is well; false where the answer itself says that something is not
/// (the doctor, a registry's trial).
pub(crate) async fn run(cli: Cli, session: Session<'_>) -> Result<bool, Problem> {
    let json = cli.global.json;
    if let Verb::Doctor { repair } = cli.verb {
        return doctor::run(repair, json, session).await;
    }
    if let Verb::Build(BuildVerb::Wait { repo, build }) = &cli.verb {
        return wait::run(repo, build, json, session).await;
    }
    let Some(request) = request(cli.verb, session.files)? else {
        return Err(Problem::new(
            ProblemKind::Invalid,
            "This verb runs only in a shell on the server's host.",
            "Log in there and run it.",
        ));
    };
    let answer = session.client.send(&request).await?;
    match request.shows {
        Shows::Stream => return stream(answer, session.out, <[u8]>::to_vec).await.map(|()| true),
        Shows::Log => {
            let mut escapes = Escapes::default();
            return stream(answer, session.out, |piece| escapes.clean(piece)).await.map(|()| true);
        }
        _ => {}
    }
    let answer = answer.json().await?;
    session.out.write(shown(&request, &answer, json).as_bytes()).await?;
    Ok(!matches!(request.shows, Shows::Trial) || answer["ok"] == true)
}

/// Why a verb that only tells ends before its time.
pub(super) fn client_left() -> Problem {
    Problem::new(ProblemKind::Cancelled, "The client left.", "Nothing needs to be done.")
}

async fn stream(
    mut answer: Answer,
    out: &mut (dyn Out + Send),
    mut clean: impl FnMut(&[u8]) -> Vec<u8> + Send,
) -> Result<(), Problem> {
    loop {
        // What is followed may say nothing for hours.
        let chunk = tokio::select! {
            chunk = answer.chunk() => chunk?,
            () = out.left() => return Err(client_left()),
        };
        let Some(chunk) = chunk else { return Ok(()) };
        out.write(&clean(&chunk)).await?;
    }
}

fn shown(request: &Request, answer: &Value, json: bool) -> String {
    if json {
        let all = match &request.shows {
            Shows::Rows(key, _) => &answer[*key],
            _ => answer,
        };
        return format!("{}\n", serde_json::to_string_pretty(all).unwrap_or_default());
    }
    match &request.shows {
        Shows::Sentence(sentence) => format!("{sentence}\n{}", output::notes(answer)),
        Shows::Adoptable => output::adoptable(answer),
        Shows::Rows(key, columns) => {
            output::table(answer[*key].as_array().map(Vec::as_slice).unwrap_or_default(), columns)
        }
        Shows::Record => output::record(answer),
        Shows::Maintained => output::maintained(answer),
        Shows::Text("diff") => output::diff(answer["diff"].as_str().unwrap_or_default()),
        Shows::Text(key) => format!("{}\n", answer[*key].as_str().unwrap_or_default().trim_end_matches('\n')),
        Shows::Steps => results::steps(answer),
        Shows::Checks => output::checks(answer),
        Shows::Trial => registries::steps(answer),
        Shows::Stream | Shows::Log => String::new(),
    }
}
