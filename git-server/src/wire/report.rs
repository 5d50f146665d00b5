//! The report of a push: how the pack went, then one line a ref (gitprotocol-pack, "Report Status").

use slipway_core::Problem;

use super::pktline::{Band, SideBand, put, put_flush};
use super::text::one_line;

/// Writes the report. `unpack` is how the pack as a whole went; `answers` are the refs' names as sent, with what
/// became of each. Version 2 of the report has the same form where no ref was rewritten, and none ever is here.
pub(crate) fn put_report<'a>(
    band: SideBand,
    unpack: Result<(), &Problem>,
    answers: impl Iterator<Item = (&'a [u8], Result<(), &'a Problem>)>,
    out: &mut Vec<u8>,
) {
    let mut report = Vec::new();
    match unpack {
        Ok(()) => put(&mut report, &[b"unpack ok\n"]),
        Err(problem) => put(&mut report, &[b"unpack ", one_line(&problem.to_string()).as_bytes(), b"\n"]),
    }
    for (name, answer) in answers {
        match answer {
            Ok(()) => put(&mut report, &[b"ok ", name, b"\n"]),
            Err(problem) => put(&mut report, &[b"ng ", name, b" ", reason(problem).as_bytes(), b"\n"]),
        }
    }
    put_flush(&mut report);
    band.put(out, Band::Data, &report);
}

/// What fits behind `! [remote rejected] main -> main (…)`: what happened and what to do, without the last full stop; git's own
/// words, which are no sentences, alone.
fn reason(problem: &Problem) -> String {
    let line = one_line(&problem.what);
    if !line.ends_with('.') {
        return line.to_string();
    }
    let all = one_line(&problem.to_string());
    all.trim_end().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use slipway_core::ProblemKind;

    use super::*;

    #[test]
    fn a_report_names_each_ref() {
        let no = Problem::new(ProblemKind::Denied, "main is\nprotected.", "Ask.");
        let answers: [(&[u8], Result<(), &Problem>); 2] =
            [(b"refs/heads/a", Ok(())), (b"refs/heads/main", Err(&no))];
        let mut out = Vec::new();
        put_report(SideBand::None, Ok(()), answers.into_iter(), &mut out);
        assert_eq!(
            out,
            b"000eunpack ok\n0014ok refs/heads/a\n002eng refs/heads/main main is protected. Ask\n0000"
        );
        let mut banded = Vec::new();
        put_report(SideBand::Large, Ok(()), answers.into_iter(), &mut banded);
        assert_eq!(banded[..5], *format!("{:04x}\x01", out.len() + 5).as_bytes());
        assert_eq!(banded[5..], out);
    }
}
