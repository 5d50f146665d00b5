//! What builders would fetch, and ways to hide it.

use super::*;

fn read(text: &str) -> Dockerfile {
    let args = HashMap::from([("GIVEN".to_owned(), "host:5000/given".to_owned())]);
    Dockerfile::read(text, &args).expect("not tangled")
}

fn images(text: &str) -> Vec<String> {
    let found = read(text).images;
    found.into_iter().map(|f| format!("{} {} {}", f.line, f.by, f.what.replace(ANYTHING, "*"))).collect()
}

#[test]
fn images_are_found_with_their_lines() {
    let text = "# c\nARG BASE=host:5000/a\nFROM --platform=linux/amd64 ${BASE}:1 AS one\nRUN --mount=type=bind,from=host/b:2,target=/x true\nfrom alpine\nCOPY --from=one /a /b\nCOPY --chown=0 --from=host/c@sha256:00 /a /b\nONBUILD COPY --from=host/d /a /b\n";
    let want = [
        "3 FROM host:5000/a:1",
        "4 RUN --mount host/b:2",
        "5 FROM alpine",
        "6 COPY --from one",
        "7 COPY --from host/c@sha256:00",
        "8 COPY --from host/d",
    ];
    assert_eq!(images(text), want);
}

#[test]
fn variables_are_filled_in_as_builders_do() {
    for (arg, from, want) in [
        ("A=x", "$A/y", "x/y"),
        ("A=x", "${A}y", "xy"),
        ("A", "${A:-x}", "x"),
        ("A=", "${A:-x}", "x"),
        ("A=", "${A-x}", ""),
        ("A=z", "${A:-x}", "z"),
        ("A=z", "${A:+x}", "x"),
        ("B=1", "${A:-${B}2}", "12"),
        ("GIVEN=x", "$GIVEN/z", "host:5000/given/z"),
        ("A=xxhost/a", "${A#xx}", "*"),
        ("A=host/b", "${A/b/a}", "*"),
        ("A=1", "b:$TARGETARCH", "b:*"),
        ("A=\"ho\"'st'/a", "$A", "host/a"),
        ("A=h\\ost/a", "$A", "host/a"),
    ] {
        let got = images(&format!("ARG {arg}\nFROM {from}\n"));
        let want: Vec<String> = if want.is_empty() { vec![] } else { vec![format!("2 FROM {want}")] };
        assert_eq!(got, want, "{arg} {from}");
    }
    assert_eq!(images("ARG A=x\nARG B=$A/y\nFROM $B\n"), ["3 FROM x/y"]);
    assert_eq!(images("ARG A=x\nARG A=y\nFROM $A\n"), ["3 FROM *"]);
    assert_eq!(images("FROM x\nARG A=y\nCOPY --from=$A a b\n"), ["1 FROM x", "3 COPY --from *"]);
}

#[test]
fn hidden_images_are_found() {
    for text in [
        "FROM host/a",
        "\tfRoM\thost/a",
        "FROM \\\nhost/a",
        "FROM \\\n# comment\n\n  host/a",
        "FROM \\  \nhost/a",
        "FR\\\nOM host/a",
        "FROM\\\n host/a",
        "# escape=`\nFROM `\nhost/a",
        "FROM \"host/a\"",
        "FROM ho\\st/a",
        "FROM host\\\n/a",
        "FROM \\\\\nhost/a",
        "\u{feff}FROM host/a",
        "#!/bin/x\nFROM host/a",
        "FROM x\nCOPY --fr\\om=host/a /a /b",
        "FROM x\nCOPY \"--from=host/a\" /a /b",
        "FROM x\nCOPY --FROM=host/a /a /b",
        "FROM x\nRUN --mount=type=bind,FROM=host/a,target=/a true",
        "FROM x\nRUN --mount=type=bind,\"from=host/a\" true",
        "FROM x\nRUN --network=none \\\n  --mount=from=host/a true",
        "FROM x\nRUN <<EOF\nFROM host/a\nEOF",
        "FROM x\nRUN echo \\\\\nFROM host/a",
        "FROM x\r\nFROM host/a\r\n",
    ] {
        assert!(images(text).iter().any(|i| i.contains("host/a")), "{text:?}: {:?}", images(text));
    }
    assert_eq!(images("FROM x\n# FROM host/a\nRUN echo host/a\nLABEL a=host/a\n"), ["1 FROM x"]);
}

#[test]
fn a_frontend_is_found_in_every_way_of_naming_it() {
    for text in [
        "# syntax=evil/x\nFROM a",
        "#syntax = evil/x extra\nFROM a",
        "# escape=`\n# SYNTAX=evil/x\nFROM a",
        "// syntax=evil/x\nFROM a",
        "#!/usr/bin/env x\n# syntax=evil/x\n",
        "\u{feff}# syntax=evil/x\n",
        "{\"syntax\": \"evil/x\"}",
        "\n",
    ] {
        let got = read(text).syntax.map(|s| s.what);
        assert_eq!(got.as_deref(), (text != "\n").then_some("evil/x"), "{text:?}");
    }
    assert!(read("FROM a\n# syntax=evil/x\n").syntax.is_none());
    assert!(read("# a comment\n# syntax=evil/x\n").syntax.is_none());
    assert_eq!(read("{\"syntax\": \"evil/x\", ").syntax.expect("unknown").what, "unknown");
}

#[test]
fn addresses_are_found_and_paths_are_not() {
    for (add, wanted) in [
        ("ADD http://169.254.169.254/latest /x", true),
        ("ADD --checksum=sha256:00 HTTPS://h/x /x", true),
        ("ADD [\"http://h/x\", \"/x\"]", true),
        ("ADD [\"\\u0068ttp://h/x\", \"/x\"]", true),
        ("ADD git@h:a/b.git /x", true),
        ("ADD https://h/a.git#main /x", true),
        ("ADD github.com/a/b /x", true),
        ("ADD a $URL /x", true),
        ("ADD ${URL} /x", true),
        ("ADD ht$URL /x", true),
        ("ADD \\\n http://h /x", true),
        ("ONBUILD ADD http://h /x", true),
        ("ADD app-$VERSION.tar.gz /x", false),
        ("ADD ./dist/$NAME . /x", false),
        ("ADD a@b.txt rootfs.tar /", false),
        ("COPY http: /x", false),
        ("RUN curl http://h", false),
    ] {
        let found = read(&format!("FROM x\n{add}\n")).addresses;
        assert_eq!(!found.is_empty(), wanted, "{add}: {found:?}");
    }
}

#[test]
fn a_tangle_is_refused_and_not_followed_for_ever() {
    let text = "RUN \\\n".repeat(60_000);
    let begun = std::time::Instant::now();
    assert!(Dockerfile::read(&text, &HashMap::new()) == Err(TooTangled) || begun.elapsed().as_secs() < 60);
    let wide = format!("FROM {}\n", "${A:-".repeat(20_000));
    assert!(Dockerfile::read(&wide, &HashMap::new()).is_ok());
}

#[test]
fn labels_that_are_set_are_known() {
    let text =
        "FROM a\nLABEL org.opencontainers.image.source=\"https://x\" b=c\nLABEL old style\nlabel \\\n  d=e\n";
    let read = Dockerfile::read(text, &HashMap::new()).expect("read");
    for name in ["org.opencontainers.image.source", "b", "old", "d"] {
        assert!(read.labels(name), "{name}");
    }
    assert!(!read.labels("org.opencontainers.image.title"));
}
