//! What a render takes and what it refuses, in which words.

use super::*;

fn file(path: &str, text: &str) -> ManifestFile {
    ManifestFile { path: path.into(), bytes: text.as_bytes().to_vec() }
}

fn rendered(files: &[ManifestFile]) -> Vec<String> {
    render(files, &RenderLimits::default())
        .expect("renders")
        .iter()
        .map(|m| format!("{} {} {} {:?} {}", m.source(), m.api_version(), m.kind(), m.namespace(), m.name()))
        .collect()
}

fn refused(files: &[ManifestFile]) -> String {
    let errors = render(files, &RenderLimits::default()).expect_err("must be refused");
    errors.iter().map(|e| format!("{e}\n")).collect()
}

#[test]
fn several_documents_lists_and_json_become_manifests_with_their_lines() {
    let yaml = "# head\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: b\n  namespace: ns\n";
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: c}\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: d}\n";
    let json = r#"{"apiVersion":"v1","kind":"ConfigMapList","items":[{"metadata":{"name":"e"}}]}"#;
    let got = rendered(&[
        file("z.yml", list),
        file("a.yaml", yaml),
        file("m.json", json),
        file("README.md", "{{"),
        file(".github/x.yaml", "nonsense"),
    ]);
    assert_eq!(
        got,
        [
            "a.yaml:3 v1 ConfigMap None a",
            "a.yaml:8 apps/v1 Deployment Some(\"ns\") b",
            "m.json:1 v1 ConfigMap None e",
            "z.yml:4 v1 Service None c",
            "z.yml:7 v1 Secret None d",
        ]
    );
}

#[test]
fn scalars_are_read_as_kubernetes_reads_them() {
    let text = "apiVersion: v1\nkind: X\nmetadata: {name: a}\na: yes\nb: 0644\nc: 'yes'\nd: 1.10\ne: ~\nf: 8080:80\ng: 2024-01-02\nh: 0x10\non: 1\ni: !!str 12\nj: 1e3\nk: \"0644\"\n";
    let all = render(&[file("a.yaml", text)], &RenderLimits::default()).expect("renders");
    let object = Value::Object(all[0].object.clone());
    let want = serde_json::json!({"apiVersion":"v1","kind":"X","metadata":{"name":"a"},"a":true,"b":420,"c":"yes","d":1.1,
        "e":null,"f":"8080:80","g":"2024-01-02","h":16,"on":1,"i":"12","j":1000,"k":"0644"});
    assert_eq!(object, want);
}

#[test]
fn anchors_and_merge_keys_are_followed() {
    let text = "apiVersion: v1\nkind: X\nmetadata: {name: a, labels: &l {app: web}}\nspec: {selector: *l, more: {<<: *l, b: c}}\n";
    let all = render(&[file("a.yaml", text)], &RenderLimits::default()).expect("renders");
    assert_eq!(
        all[0].object["spec"],
        serde_json::json!({"selector":{"app":"web"},"more":{"app":"web","b":"c"}})
    );
}

#[test]
fn errors_name_file_line_and_column() {
    let bad = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n bad: [\n";
    let got = refused(&[file("deploy/a.yaml", bad)]);
    assert!(got.starts_with("deploy/a.yaml:5:") || got.starts_with("deploy/a.yaml:6:"), "{got}");
    let twice = "apiVersion: v1\nkind: ConfigMap\nkind: Secret\nmetadata: {name: a}\n";
    let got = refused(&[file("a.yaml", twice)]);
    assert!(got.starts_with("a.yaml:3:1: ") && got.contains("kind"), "{got}");
    let got = refused(&[file("a.json", "{\n \"apiVersion\": v1}")]);
    assert!(got.starts_with("a.json:2:"), "{got}");
}

#[test]
fn what_is_no_manifest_is_refused_with_a_sentence() {
    let cases = [
        ("kustomization.yaml", "resources: [a.yaml]", "Kustomize files are not rendered yet"),
        ("Chart.yaml", "name: x", "Helm charts are not rendered yet"),
        ("values.yaml", "replicas: 2\n", "values.yaml:1:1: this is no Kubernetes manifest"),
        ("a.yaml", "hello", "a text where a Kubernetes object is wanted"),
        ("a.yaml", "kind: X\nmetadata: {name: a}", "the X has no apiVersion"),
        ("a.yaml", "apiVersion: v1\nkind: X\nmetadata: {name: 12}", "is a number; quote it"),
        ("a.yaml", "apiVersion: v1\nkind: X\nmetadata: {generateName: a-}", "generateName"),
        ("a.yaml", "apiVersion: v1\nkind: X\nmetadata: {name: ../../x}", "cannot be the name"),
        (
            "a.yaml",
            "apiVersion: v1\nkind: X\nmetadata: {name: a, namespace: ../x}",
            "cannot be the namespace",
        ),
        ("a.yaml", "apiVersion: v1/../x\nkind: X\nmetadata: {name: a}", "cannot be an apiVersion"),
        ("a.yaml", "apiVersion: v1\nkind: X\nmetadata: {name: a, labels: {v: 1.0}}", "quote it"),
        ("a.yaml", "a: {{ .Values.x }}", "helm template"),
    ];
    for (path, text, want) in cases {
        let got = refused(&[file(path, text)]);
        assert!(got.contains(want), "{path} {text:?}: {got}");
    }
}

#[test]
fn an_object_described_twice_is_refused_with_both_places() {
    let one = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let got = refused(&[file("b.yaml", one), file("a.yaml", one)]);
    assert_eq!(got, "b.yaml:1: ConfigMap a is already described at a.yaml:1\n");
}

#[test]
fn a_bomb_of_aliases_or_depth_is_stopped_soon() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..12 {
        let p = i - 1;
        bomb.push_str(&format!(
            "a{i}: &a{i} [*a{p},*a{p},*a{p},*a{p},*a{p},*a{p},*a{p},*a{p},*a{p},*a{p}]\n"
        ));
    }
    let started = std::time::Instant::now();
    refused(&[file("a.yaml", &bomb)]);
    refused(&[file("a.yaml", &"[".repeat(100_000))]);
    refused(&[file("a.yaml", &format!("a: {}", "- ".repeat(5_000)))]);
    refused(&[file("a.json", &"[".repeat(100_000))]);
    refused(&[file("a.yaml", "a: &a\n  b: *a\n")]);
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[test]
fn each_bound_is_told_by_its_number() {
    let one = |i: usize| {
        file(&format!("{i}.yaml"), &format!("apiVersion: v1\nkind: X\nmetadata: {{name: a{i}}}\n"))
    };
    let files: Vec<_> = (0..4).map(one).collect();
    let small = RenderLimits { files_max: 3, ..RenderLimits::default() };
    let tell = |limits: RenderLimits| render(&files, &limits).expect_err("too much")[0].to_string();
    assert!(tell(small).contains("3 are allowed"));
    assert!(tell(RenderLimits { file_bytes_max: 10, ..RenderLimits::default() }).contains("10 are allowed"));
    assert!(tell(RenderLimits { bytes_max: 60, ..RenderLimits::default() }).contains("over 60 bytes"));
    assert!(tell(RenderLimits { objects_max: 2, ..RenderLimits::default() }).contains("more than 2 objects"));
}

#[test]
fn bytes_that_are_no_text_are_refused_by_line() {
    let bad = ManifestFile { path: "a.yaml".into(), bytes: b"a: b\n\xff\xfe".to_vec() };
    assert_eq!(refused(&[bad]), "a.yaml:2: the file is not UTF-8 text\n");
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_a_render_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = render(&[ManifestFile { path: "a.yaml".into(), bytes: bytes.clone() }], &RenderLimits::default());
        let _ = render(&[ManifestFile { path: "a.json".into(), bytes }], &RenderLimits::default());
    }
}
