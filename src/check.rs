//! `slipway check [DIR]`: slipway.toml of a work tree, in the words that a push would be told. Asks no server.

use std::path::Path;

use slipway_core::ceilings::{Beyond, Ceilings};
use slipway_core::limits::SPEC_BYTES_MAX;
use slipway_core::spec::{BuildSpec, Spec};
use slipway_core::{Problem, ProblemKind};

/// What a push of that folder would be built by: a sentence.
///
/// # Errors
/// What is wrong with its slipway.toml, or that it has no Dockerfile where that says.
pub(crate) fn run(folder: &Path) -> Result<String, Problem> {
    let file = folder.join("slipway.toml");
    let (spec, what) = match std::fs::read(&file) {
        Ok(bytes) if bytes.len() as u64 > SPEC_BYTES_MAX => {
            let what = format!("slipway.toml has more than {SPEC_BYTES_MAX} bytes.");
            return Err(Problem::new(ProblemKind::TooLarge, what, "Make it shorter."));
        }
        Ok(bytes) => (Spec::parse(&bytes)?, "slipway.toml is valid"),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && folder.is_dir() => {
            (Spec::default(), "There is no slipway.toml, and the defaults hold")
        }
        Err(e) => {
            let what = format!("{} cannot be read: {e}.", file.display());
            return Err(Problem::new(ProblemKind::Invalid, what, "Name the root of a work tree."));
        }
    };
    let notes: String = Ceilings::of_tests().refuses_of(&spec).into_iter().map(note).collect();
    if spec.parts().is_empty() {
        let (dockerfile, context) = built(folder, &spec.build, what)?;
        return Ok(format!("{what}: {dockerfile} is built, with the context {context}.\n{notes}"));
    }
    let mut said = format!("{what}: {} images are built.\n", spec.parts().len());
    for part in spec.parts() {
        let (dockerfile, context) = built(folder, &part.spec.build, what)?;
        let tags: Vec<&str> = part.spec.push.tags.iter().map(|tag| tag.template.as_str()).collect();
        said +=
            &format!("{}: {dockerfile}, with the context {context}; tags {}\n", part.name, tags.join(", "));
    }
    Ok(said + &notes)
}

/// What the binding and the server's settings decide, which are not asked here.
fn note(Beyond { what, cure }: Beyond) -> String {
    format!("note: {what}, unless an owner has said otherwise. {cure}\n")
}

/// The Dockerfile and the context of one image.
fn built<'a>(folder: &Path, build: &'a BuildSpec, what: &str) -> Result<(String, &'a str), Problem> {
    let found = build.find_dockerfile(|path| Ok::<_, Problem>(folder.join(path).is_file()))?;
    let dockerfile = found.ok_or_else(|| {
        let what = format!("{what}, but there is no {}.", build.dockerfiles().join(" and no "));
        let cure = "Add it, or set build.context or build.dockerfile in slipway.toml to where it is.";
        Problem::new(ProblemKind::Invalid, what, cure)
    })?;
    Ok((dockerfile, &build.context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_tree_is_checked_as_a_push_would_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        let problem = || run(folder.path()).expect_err("refused").to_string();
        assert!(
            problem()
                .starts_with("There is no slipway.toml, and the defaults hold, but there is no Dockerfile")
        );
        write("Dockerfile", "FROM scratch\n");
        assert!(run(folder.path()).expect("fine").ends_with("Dockerfile is built, with the context ..\n"));
        write("slipway.toml", "[build]\ncontext = \"svc\"\n");
        assert!(problem().contains("no svc/Dockerfile and no svc/Containerfile"), "{}", problem());
        write("svc/Containerfile", "FROM scratch\n");
        let said = run(folder.path()).expect("fine");
        assert_eq!(said, "slipway.toml is valid: svc/Containerfile is built, with the context svc.\n");
        write("slipway.toml", "[biuld]\n");
        assert!(
            problem().starts_with("slipway.toml:1:2: unknown key `biuld`; did you mean `build`?"),
            "{}",
            problem()
        );
        let gone = run(&folder.path().join("gone")).expect_err("refused");
        assert!(gone.what.contains("cannot be read"), "{gone}");
    }
}
