//! The sample application and manifests that the scenario pushes.

/// A web server in a few lines of busybox, with a test.
pub(crate) fn app(page: &str) -> Vec<(&'static str, String)> {
    vec![
        (
            "Dockerfile",
            "FROM alpine:3.20\n\
             RUN mkdir -p /www\n\
             ADD index.html /www/index.html\n\
             ADD test.sh /test.sh\n\
             EXPOSE 8080\n\
             CMD [\"/bin/busybox\", \"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n"
                .into(),
        ),
        ("index.html", format!("{page}\n")),
        ("test.sh", "#!/bin/sh\nset -e\ngrep -q page /www/index.html\necho the page is there\n".into()),
        ("secret.txt", "not for the image\n".into()),
        (".dockerignore", "secret.txt\n".into()),
    ]
}

/// slipway.toml with a test, and a bump of `manifests`.
pub(crate) fn spec(manifests: &str) -> String {
    format!(
        "[test]\nrun = [\"/bin/sh\", \"/test.sh\"]\ntimeout = \"1m\"\n\n\
         [deploy.prod]\nrepo = \"{manifests}\"\npath = \"deployment.yaml\"\n"
    )
}

/// A Deployment and a Service, with comments that a minimal edit must keep.
pub(crate) fn manifests(image: &str) -> Vec<(&'static str, String)> {
    vec![
        (
            "deployment.yaml",
            format!(
                "# The web server.\n\
                 apiVersion: apps/v1\n\
                 kind: Deployment\n\
                 metadata:\n  name: hello\n\
                 spec:\n  replicas: 1\n  selector:\n    matchLabels: {{app: hello}}\n  template:\n    metadata:\n      labels: {{app: hello}}\n    spec:\n      \
                 automountServiceAccountToken: false\n      terminationGracePeriodSeconds: 1\n      containers:\n        - name: hello\n          image: {image}:latest # moved by builds\n          \
                 ports:\n            - containerPort: 8080\n"
            ),
        ),
        (
            "service.yaml",
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: hello\nspec:\n  selector: {app: hello}\n  ports:\n    - port: 80\n      targetPort: 8080\n"
                .into(),
        ),
    ]
}

/// As the harness takes files.
pub(crate) fn borrowed<'a>(files: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    files.iter().map(|(path, content)| (*path, content.as_str())).collect()
}
