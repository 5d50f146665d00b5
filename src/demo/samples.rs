//! The demo's sample repositories: a web server in an Alpine-style image with a test, and its manifests.

/// Files of the application.
pub(super) fn app() -> Vec<(&'static str, String)> {
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
        ("index.html", "<!doctype html><title>hello</title><h1>Hello from Slipway</h1>\n".into()),
        (
            "test.sh",
            "#!/bin/sh\nset -e\ngrep -q 'Hello' /www/index.html\necho 'the page says hello'\n".into(),
        ),
        (
            "slipway.toml",
            "# How this application is tested, and where its new image goes.\n\
             [test]\nrun = [\"/bin/sh\", \"/test.sh\"]\ntimeout = \"1m\"\n\n\
             [deploy.prod]\nrepo = \"ManifestRepo\"\npath = \"deployment.yaml\"\n"
                .into(),
        ),
        (
            "README.md",
            "# hello\n\nA page in an image. Change `index.html` and push: the cluster follows.\n".into(),
        ),
    ]
}

/// Files of the manifests, for that image, under that name.
pub(super) fn manifests(image: &str, name: &str) -> Vec<(&'static str, String)> {
    vec![
        (
            "deployment.yaml",
            format!(
                "apiVersion: apps/v1\n\
                 kind: Deployment\n\
                 metadata:\n  name: {name}\n\
                 spec:\n  replicas: 1\n  selector:\n    matchLabels:\n      app: {name}\n  template:\n    metadata:\n      labels:\n        app: {name}\n    spec:\n      \
                 automountServiceAccountToken: false\n      containers:\n        - name: web\n          image: {image}:latest # moved by every build\n          \
                 ports:\n            - containerPort: 8080\n          readinessProbe:\n            httpGet: {{path: /, port: 8080}}\n            periodSeconds: 1\n"
            ),
        ),
        (
            "service.yaml",
            format!(
                "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  selector:\n    app: {name}\n  ports:\n    - port: 80\n      targetPort: 8080\n"
            ),
        ),
        (
            "README.md",
            "# Manifests\n\nThe branch `main` of this repository is what runs in the cluster.\n".into(),
        ),
    ]
}
