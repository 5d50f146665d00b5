//! The forms that the bump knows, and what it leaves.

use super::*;
use crate::context::tests::Made;

const IMAGE: &str = "r.io:5000/team/app";

fn digest(c: char) -> Digest {
    Digest::parse(&format!("sha256:{}", c.to_string().repeat(64))).expect("digest")
}

/// `IMG` is the image, `OLD` a reference to an older one, `NEW` the pinned reference, `DIG` the new digest.
fn filled(text: &str) -> String {
    text.replace("NEW", "IMG:abc@DIG")
        .replace("OLD", "IMG:old")
        .replace("IMG", IMAGE)
        .replace("DIG", digest('d').as_str())
}

fn paths(texts: &[&str]) -> Vec<FieldPath> {
    texts.iter().map(|text| FieldPath::parse(text).expect(text)).collect()
}

fn looked(file: &str, text: &str, fields: &[&str], leave: &[&str]) -> (Found, String) {
    let (fields, leave, digest) = (paths(fields), paths(leave), digest('d'));
    let wanted = Wanted { image: IMAGE, tag: "abc", digest: &digest, fields: &fields, leave: &leave };
    let found = look(text, wanted, file);
    let after = edit::apply(text, found.edits.clone());
    (found, after)
}

/// One text and what becomes of it; doing it again changes nothing, and nothing is left.
fn check_in(file: &str, before: &str, after: &str) {
    let (before, after) = (filled(before), filled(after));
    let (found, got) = looked(file, &before, &[], &[]);
    assert_eq!(got, after, "of {before:?}");
    assert!(found.used && found.left.is_empty(), "{before:?}: {found:?}");
    let (again, got) = looked(file, &after, &[], &[]);
    assert_eq!(got, after, "a second time");
    assert!(again.used && again.edits.is_empty(), "{after:?}: {again:?}");
}

fn check(before: &str, after: &str) {
    check_in("d.yaml", before, after);
}

#[test]
fn references_are_moved_and_nothing_else() {
    for (before, after) in [
        ("image: IMG", "image: NEW"),
        ("image: OLD # ours\n", "image: NEW # ours\n"),
        ("- image: \"OLD\"\r\n", "- image: \"NEW\"\r\n"),
        ("- name: x\n  image:   'IMG:1@sha256:00'", "- name: x\n  image:   'NEW'"),
        ("image: IMG@sha256:ab\n", "image: NEW\n"),
        ("image:\tOLD\n", "image:\tNEW\n"),
        ("image : OLD\n", "image : NEW\n"),
        ("\"image\": OLD\n", "\"image\": NEW\n"),
        ("? image\n: OLD\n", "? image\n: NEW\n"),
        ("image:\n  OLD\n", "image:\n  NEW\n"),
        ("{ name: x, image: OLD, y: z }\n", "{ name: x, image: NEW, y: z }\n"),
        ("a: {image: IMG}\nb: [{image: \"OLD\"}]\n", "a: {image: NEW}\nb: [{image: \"NEW\"}]\n"),
        (
            "{\"image\":\"IMG\",\"x\":{\"image\": \"IMG:2\"}}",
            "{\"image\":\"NEW\",\"x\":{\"image\": \"NEW\"}}",
        ),
        ("{\n\t\"image\": \"OLD\"\n}\n", "{\n\t\"image\": \"NEW\"\n}\n"),
        ("{\"image\": \"r.io:5000\\/team\\/app:1\"}", "{\"image\": \"NEW\"}"),
        (
            "# image: OLD\nimage: other\n---\nimage: IMG\n...\n---\n  image: IMG:2\n",
            "# image: OLD\nimage: other\n---\nimage: NEW\n...\n---\n  image: NEW\n",
        ),
        ("\u{feff}image: OLD\n", "\u{feff}image: NEW\n"),
        ("é: ü\nimage: OLD # ö\n", "é: ü\nimage: NEW # ö\n"),
        ("image: !!str OLD\n", "image: !!str NEW\n"),
        (
            "spec:\n  containers:\n  - name: a\n    image: OLD\n  initContainers:\n  - {name: b, image: OLD}\n",
            "spec:\n  containers:\n  - name: a\n    image: NEW\n  initContainers:\n  - {name: b, image: NEW}\n",
        ),
        (
            "spec:\n  jobTemplate: {spec: {template: {spec: {containers: [{image: OLD}]}}}}\n",
            "spec:\n  jobTemplate: {spec: {template: {spec: {containers: [{image: NEW}]}}}}\n",
        ),
        ("volumes:\n- image:\n    reference: OLD\n", "volumes:\n- image:\n    reference: NEW\n"),
        (
            "services:\n  web:\n    image: OLD\n    build: .\n",
            "services:\n  web:\n    image: NEW\n    build: .\n",
        ),
        (
            "spec:\n  workerImage: OLD\n  sidecarImage: IMG\n",
            "spec:\n  workerImage: NEW\n  sidecarImage: NEW\n",
        ),
        ("env:\n- name: WORKER\n  value: \"OLD\"\n", "env:\n- name: WORKER\n  value: \"NEW\"\n"),
        ("args: [\"--worker-image=OLD\", --x]\n", "args: [\"--worker-image=NEW\", --x]\n"),
        ("args:\n- --a=OLD,other:1\n", "args:\n- --a=NEW,other:1\n"),
        ("url: docker://OLD\n", "url: docker://NEW\n"),
        ("images: [OLD, other:1]\n", "images: [NEW, other:1]\n"),
        ("images:\n- IMG\n", "images:\n- NEW\n"),
        ("image: &img OLD\n", "image: &img NEW\n"),
        ("x: &img OLD\ny:\n  image: *img\n", "x: &img NEW\ny:\n  image: *img\n"),
        ("x: &img IMG\ny:\n  image: *img\n", "x: &img NEW\ny:\n  image: *img\n"),
        ("a: &c\n  image: OLD\nb:\n  <<: *c\n  name: x\n", "a: &c\n  image: NEW\nb:\n  <<: *c\n  name: x\n"),
        (
            "metadata:\n  annotations:\n    last: '{\"image\":\"OLD\"}'\n",
            "metadata:\n  annotations:\n    last: '{\"image\":\"NEW\"}'\n",
        ),
        (
            "spec:\n  source:\n    kustomize:\n      images: [\"app=OLD\"]\n",
            "spec:\n  source:\n    kustomize:\n      images: [\"app=NEW\"]\n",
        ),
        ("a: |\n  text\nimage: OLD\n", "a: |\n  text\nimage: NEW\n"),
        ("image: OLD\nimagePullPolicy: Always", "image: NEW\nimagePullPolicy: Always"),
    ] {
        check(before, after);
    }
}

#[test]
fn what_has_the_digest_stays_as_it_is() {
    for text in [
        "image: IMG:other@DIG\n",
        "image: IMG@DIG\n",
        "images:\n- name: IMG\n  newTag: older\n  digest: DIG\n",
        "image:\n  repository: IMG\n  tag: older\n  digest: DIG\n",
        "image:\n  repository: IMG\n  tag: older@DIG\n",
    ] {
        let text = filled(text);
        let (found, after) = looked("kustomization.yaml", &text, &[], &[]);
        assert!(found.used && found.left.is_empty(), "{text}: {found:?}");
        assert_eq!(after, text);
    }
}

#[test]
fn kustomizations_get_tag_and_digest() {
    for (before, after) in [
        (
            "images:\n- name: app # ours\n  newName: IMG\n  newTag: \"1\"\nx: y\n",
            "images:\n- name: app # ours\n  newName: IMG\n  newTag: \"abc\"\n  digest: DIG\nx: y\n",
        ),
        (
            "images: # pinned\n  - newTag: 1 # old\n    name: IMG\n    digest: sha256:00\n  - name: other\n    newTag: 2\n",
            "images: # pinned\n  - newTag: abc # old\n    name: IMG\n    digest: DIG\n  - name: other\n    newTag: 2\n",
        ),
        ("images:\n- name: IMG", "images:\n- name: IMG\n  newTag: abc\n  digest: DIG\n"),
        ("images:\r\n- name: IMG\r\n", "images:\r\n- name: IMG\r\n  newTag: abc\r\n  digest: DIG\r\n"),
        ("images: [{name: IMG, newTag: old}]\n", "images: [{name: IMG, newTag: abc, digest: DIG}]\n"),
        (
            "{\"images\": [{\"name\": \"IMG\"}]}",
            "{\"images\": [{\"name\": \"IMG\", \"newTag\": \"abc\", \"digest\": \"DIG\"}]}",
        ),
        ("images:\n- name: IMG\n  newTag:\n", "images:\n- name: IMG\n  newTag: abc\n  digest: DIG\n"),
        (
            "images:\n- name: IMG\n  newTag: &t \"1\"\n- name: x\n  newTag: *t\n",
            "images:\n- name: IMG\n  newTag: &t \"abc\"\n  digest: DIG\n- name: x\n  newTag: *t\n",
        ),
        ("images:\n- name: IMG\n  newTag: *t\n", "images:\n- name: IMG\n  newTag: abc\n  digest: DIG\n"),
        (
            "kind: Kustomization\nspec:\n  images:\n  - name: IMG\n    newTag: v1\n",
            "kind: Kustomization\nspec:\n  images:\n  - name: IMG\n    newTag: abc\n    digest: DIG\n",
        ),
        (
            "images:\n  -\n    name: IMG\n    newTag: v1\n",
            "images:\n  -\n    name: IMG\n    newTag: abc\n    digest: DIG\n",
        ),
    ] {
        check_in("base/kustomization.yaml", before, after);
    }
    // The entry that renames our name to another is not ours.
    let text = filled("images:\n- name: IMG\n  newName: elsewhere\n");
    let (found, after) = looked("kustomization.yaml", &text, &[], &[]);
    assert!(!found.used && found.left.is_empty() && after == text);
}

#[test]
fn parts_get_tag_and_digest() {
    for (before, after) in [
        ("image:\n  repository: IMG\n  tag: old\n", "image:\n  repository: IMG\n  tag: abc\n"),
        (
            "image:\n  repository: IMG\n  tag: \"1.0\" # x\n  pullPolicy: Always\n",
            "image:\n  repository: IMG\n  tag: \"abc\" # x\n  pullPolicy: Always\n",
        ),
        (
            "image:\n  registry: r.io:5000\n  repository: team/app\n  tag: v1\n  digest: \"\"\n",
            "image:\n  registry: r.io:5000\n  repository: team/app\n  tag: abc\n  digest: \"DIG\"\n",
        ),
        (
            "image: {registry: r.io:5000, repository: team/app, tag: 1}\n",
            "image: {registry: r.io:5000, repository: team/app, tag: abc}\n",
        ),
        ("image:\n  tag:\n  repository: IMG\n", "image:\n  tag: abc\n  repository: IMG\n"),
        ("image:\n  repository: IMG\n", "image:\n  repository: IMG\n  tag: abc\n"),
        ("image: {repository: IMG}\n", "image: {repository: IMG, tag: abc}\n"),
        ("image:\n  repository: IMG\n  digest: sha256:00\n", "image:\n  repository: IMG\n  digest: DIG\n"),
        ("image: IMG\ntag: v1\n", "image: IMG\ntag: abc\n"),
        ("image: IMG\nimageTag: v1\n", "image: IMG\nimageTag: abc\n"),
        ("imageRepository: IMG\nimageTag: v1\n", "imageRepository: IMG\nimageTag: abc\n"),
        (
            "workerImage: IMG\nworkerTag: v1\nother: x\nmore: y\n",
            "workerImage: IMG\nworkerTag: abc\nother: x\nmore: y\n",
        ),
        ("images:\n- name: IMG\n  tag: v1\n", "images:\n- name: IMG\n  tag: abc\n"),
        ("image:\n  repository: IMG\n  tag: v1@sha256:00\n", "image:\n  repository: IMG\n  tag: abc@DIG\n"),
        (
            "spec:\n  values:\n    image: {repository: IMG, tag: v1}\n",
            "spec:\n  values:\n    image: {repository: IMG, tag: abc}\n",
        ),
        ("t: &t v1\nimage: {repository: IMG, tag: *t}\n", "t: &t v1\nimage: {repository: IMG, tag: abc}\n"),
        (
            "image: {repository: IMG, tag: v1, sidecar: OLD}\n",
            "image: {repository: IMG, tag: abc, sidecar: NEW}\n",
        ),
        ("r: &r IMG\nimage: {repository: *r, tag: v1}\n", "r: &r IMG\nimage: {repository: *r, tag: abc}\n"),
        (
            "{\"image\": {\"repository\": \"IMG\", \"tag\": null}}",
            "{\"image\": {\"repository\": \"IMG\", \"tag\": \"abc\"}}",
        ),
    ] {
        check(before, after);
    }
}

#[test]
fn what_is_not_the_image_is_left_alone() {
    for text in [
        "image: r.io:5000/team/apple:1\n",
        "image: xr.io:5000/team/app:1\n",
        "image: r.io:5000/team/app/sub:1\n",
        "image: r.io:5000/team\n",
        "image: team/app:1\n",
        "image:\n  repository: team/app\n  tag: v1\n",
        "image:\n  registry: other\n  repository: team/app\n  tag: v1\n",
        "kind: ImageRepository\nspec:\n  image: IMG\n",
        "# OLD\nimage: other\n",
        "",
    ] {
        let text = filled(text);
        let (found, after) = looked("d.yaml", &text, &[], &[]);
        assert!(!found.used && found.left.is_empty() && found.noted.is_empty(), "{text}: {found:?}");
        assert_eq!(after, text);
    }
}

#[test]
fn what_refers_to_the_image_and_is_not_written_is_named() {
    for (text, place) in [
        ("data:\n  run.sh: |\n    docker run OLD\n", "data.\"run.sh\""),
        ("data:\n  text: >-\n    docker run OLD\n", "data.text"),
        ("a: \"\\u0041 OLD\"\n", "a"),
        ("image: |\n  OLD\n", "image"),
    ] {
        let text = filled(text);
        let (found, after) = looked("d.yaml", &text, &[], &[]);
        assert_eq!(found.left.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), [place], "{text}");
        assert_eq!(after, text);
        let (found, _) = looked("d.yaml", &text, &[], &[place]);
        assert!(found.left.is_empty(), "{text}: it shall stay");
    }
    let broken = filled("image: OLD\n  x: [\n");
    let (found, _) = looked("d.yaml", &broken, &[], &[]);
    assert_eq!((found.left.len(), found.left[0].line), (1, 1));
    let (found, _) = looked("d.yaml", &filled("note: about IMG here\n"), &[], &[]);
    assert!(found.left.is_empty() && found.noted.len() == 1, "{found:?}");
}

#[test]
fn expressions_of_templates_are_never_touched() {
    for text in [
        "image: \"IMG:{{ .Values.tag }}\"\n",
        "image: IMG:{{ .Values.tag }}\n",
        "{{- if .Values.on }}\nimage: \"IMG:{{ .Values.tag | default \"OLD\" }}\"\n{{- end }}\n",
        "image: ${IMAGE:-OLD}\n",
        "image: IMG:${TAG}\n",
        "args: [\"--image=IMG:$(TAG)\"]\n",
        "image: \"{{ .r }}IMG:v1\"\n",
        "{{ range .x }}\n- image: IMG:{{ . }}\n  {{ toYaml .y | indent 2 }}\n{{ end }}\n",
        "a: {{ b }}\n{{ c }}: [\nimage: IMG:{{ d }}\n",
    ] {
        let text = filled(text);
        let (found, after) = looked("templates/d.yaml", &text, &[], &[]);
        assert_eq!(after, text);
        assert!(!found.used && found.left.is_empty() && !found.noted.is_empty(), "{text}: {found:?}");
    }
    check(
        "{{- if .Values.on }}\nname: {{ .Release.Name }}\nimage: OLD\n{{- end }}\n",
        "{{- if .Values.on }}\nname: {{ .Release.Name }}\nimage: NEW\n{{- end }}\n",
    );
}

#[test]
fn fields_of_slipway_toml_are_written_whatever_stands_there() {
    for (before, fields, after) in [
        (
            "spec:\n  values:\n    image: elsewhere/app:1\n",
            "spec.values.image",
            "spec:\n  values:\n    image: NEW\n",
        ),
        ("app:\n  tag: v1\n", "app.tag", "app:\n  tag: abc\n"),
        ("app:\n  digest:\n", "app.digest", "app:\n  digest: DIG\n"),
        ("list:\n- {v: x}\n- {v: y}\n", "list[*].v", "list:\n- {v: NEW}\n- {v: NEW}\n"),
        ("list: [{v: x}, {v: y}]\n", "list[1].v", "list: [{v: x}, {v: NEW}]\n"),
        (
            "data:\n  run.sh: |\n    docker run OLD\n    # IMG\n",
            "data.\"run.sh\"",
            "data:\n  run.sh: |\n    docker run NEW\n    # NEW\n",
        ),
        ("version: '7'\n", "version", "version: 'abc'\n"),
        // What is known already, named once more.
        ("image: {repository: IMG, tag: v1}\n", "image.tag", "image: {repository: IMG, tag: abc}\n"),
        (
            "values: {image: {repository: IMG, tag: v1}}\n",
            "values.image",
            "values: {image: {repository: IMG, tag: abc}}\n",
        ),
        (
            "images: [{name: IMG, newTag: v1}]\n",
            "images[*].newTag",
            "images: [{name: IMG, newTag: abc, digest: DIG}]\n",
        ),
    ] {
        let (found, got) = looked("d.yaml", &filled(before), &[fields], &[]);
        assert_eq!(got, filled(after));
        assert!(found.used && found.left.is_empty() && found.fields.contains(&0), "{before}: {found:?}");
    }
    let (found, _) = looked("d.yaml", "a: b\n", &["a.c"], &[]);
    assert!(found.fields.is_empty());
    let (found, _) = looked("d.yaml", "a: {b: c}\n", &["a"], &[]);
    assert_eq!(found.left.len(), 1);
}

fn planned(files: &Made, path: &str, fields: &[&str]) -> Result<Plan, HookError> {
    let place = Place {
        repo: RepoName::parse("manifests").expect("name"),
        commit: Oid::ZERO_SHA1,
        path: path.into(),
        image: IMAGE.into(),
        fields: paths(fields),
        leave: vec![],
    };
    plan_in(files, &place, "abc", &digest('d'))
}

fn made() -> Made {
    let file = |made: Made, path: &str, text: &str| made.file(path, &filled(text));
    let made = file(Made::default(), "deployment.yaml", "spec:\n  - image: OLD\n");
    let made = file(made, "base/a.yml", "image: IMG\n");
    let made = file(made, "base/b.json", "{\"image\": \"IMG:2\"}\n");
    let made = file(made, "base/notes.md", "image: IMG:3\n");
    file(made, "base/other.yaml", "image: r.io:5000/team/apple:3\n")
}

#[test]
fn a_folder_is_edited_as_a_whole_and_only_manifests() {
    let below = planned(&made(), "base/", &[]).expect("plan").edits;
    let names: Vec<&str> = below.iter().map(|e| e.path.as_str()).collect();
    assert_eq!(names, ["base/a.yml", "base/b.json"]);
    assert_eq!(planned(&made(), ".", &[]).expect("plan").edits.len(), 3);
    let pinned = Made::default().file("d.yaml", &filled("image: NEW\n"));
    assert!(planned(&pinned, "d.yaml", &[]).expect("plan").edits.is_empty());
}

#[test]
fn not_everything_is_never_success() {
    assert!(matches!(planned(&made(), "base/other.yaml", &[]), Err(HookError::NothingToBump { .. })));
    assert!(matches!(planned(&made(), "gone", &[]), Err(HookError::NoManifest { .. })));
    assert!(matches!(planned(&Made::default(), ".", &[]), Err(HookError::NothingToBump { .. })));
    assert!(matches!(planned(&made(), ".", &["x.y"]), Err(HookError::NoField { .. })));
    let mut half = made();
    for i in 0..8 {
        half = half.file(&format!("c{i}.yaml"), &filled("data:\n  a: |\n    OLD\n"));
    }
    let problem = planned(&half, ".", &[]).expect_err("places are left");
    assert!(matches!(problem, HookError::ReferencesLeft { .. }));
    let told = slipway_core::Problem::from(problem).what;
    assert!(
        told.contains("c0.yaml:3 data.a, it stands in a block of text") && told.contains("and 3 more"),
        "{told}"
    );
    let template = Made::default().file("t.yaml", &filled("image: IMG:{{ .Values.tag }}\n"));
    let told = slipway_core::Problem::from(planned(&template, ".", &[]).expect_err("nothing")).what;
    assert!(told.contains("t.yaml:1 image, a template fills it in"), "{told}");
}

#[test]
fn no_text_makes_it_panic() {
    for text in [
        "image",
        "image:",
        "\"image",
        "{image: \"",
        "images:\n-",
        "é image: é",
        "- image: '",
        "? - image\n",
        "&a *a",
        "{{",
        "}}{{",
        "image: {{\n}}",
        "!!x image: *y",
        "\u{feff}",
        "a: |\n",
        "[[[[{",
    ] {
        for text in [format!("{text}\n{IMAGE}"), format!("{IMAGE}{text}"), text.replace("image", IMAGE)] {
            let _ = looked("d.yaml", &text, &["image", "*", "[*]"], &[]);
        }
    }
    let deep = format!("{}{IMAGE}:1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(looked("d.yaml", &deep, &[], &[]).0.left.len(), 1);
}

#[test]
fn a_part_that_shall_stay_stays() {
    for (text, leave) in [
        ("image: {repository: IMG, tag: v1}\n", "image.tag"),
        ("images: [{name: IMG, newTag: v1}]\n", "images[0].newTag"),
        ("images: [{name: IMG, newTag: v1}]\n", "images"),
    ] {
        let text = filled(text);
        let (found, after) = looked("kustomization.yaml", &text, &[], &[leave]);
        assert!(!found.used && after == text, "{text}: {found:?}");
    }
}

#[test]
fn names_of_files_and_keys_make_no_lines_and_no_heap_of_words() {
    let keys = format!("\"{}\\n\": [{}]\n", "k".repeat(100_000), "\"a IMG:1 \\u0041\", ".repeat(5_000));
    let made = Made::default().file("a\nb\u{1b}[2J.yaml", &filled(&keys));
    let told = slipway_core::Problem::from(planned(&made, ".", &[]).expect_err("left")).what;
    assert!(told.len() < 4_000 && !told.contains(['\n', '\u{1b}']) && told.contains("at least"), "{told}");
}

/// Somebody who may write manifests makes nobody wait.
#[test]
fn a_large_file_takes_no_more_than_its_length() {
    let repeated = |text: &str| filled(text).repeat((1 << 18) / filled(text).len());
    for text in [
        repeated("a: IMG\n"),
        repeated("aImage: IMG\n"),
        repeated("xImage: y\n"),
        repeated("{{}}"),
        repeated("{{ "),
        repeated("${"),
        repeated("{{x}}: IMG:{{y}}\n"),
        repeated("- OLD\n"),
        format!("a: {}", repeated("OLD ")),
        format!("a: &a [{}]", repeated("*a,")),
        repeated("&a a: *a\n"),
        repeated("? "),
    ] {
        // Work that grows faster than the text would take longer than a test may.
        let (_, after) = looked("d.yaml", &text, &["x.y", "*"], &["z"]);
        assert!(!after.is_empty());
    }
}
