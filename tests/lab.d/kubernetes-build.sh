# Kubernetes' server binaries. No registry of packages has them, but Debian's source package carries everything vendored.
# shellcheck shell=bash

KUBE_VERSION=1.20.2 # what Debian 12's source package holds
KUBE_BUILD=$CACHE/kubernetes-$KUBE_VERSION-2 # the last number counts changes of the recipe below
KUBE_PARTS=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy)

# The vendored reflect2 1.0.1 writes over foreign memory when a Go from 1.18 on builds it: an API server made of it dies as soon as
# somebody defines a custom resource. Debian's package is 1.0.2, which knows those Gos.
REFLECT2=/usr/share/gocode/src/github.com/modern-go/reflect2

# kubernetes_binaries: sets KUBE_BIN to a folder with all of KUBE_PARTS.
kubernetes_binaries() {
    local given=${KUBEBUILDER_ASSETS:-}
    KUBE_BIN=$KUBE_BUILD
    if [ -n "$given" ] && has_parts "$given" && has_dockershim "$given"; then
        KUBE_BIN=$given
        return
    fi
    [ -z "$given" ] || say "KUBEBUILDER_ASSETS lacks what a node on a Docker Engine needs (${KUBE_PARTS[*]}, before 1.24): using our own build"
    if ! has_parts "$KUBE_BIN"; then
        packages dpkg-source:dpkg-dev /usr/bin/go:golang-go rsync:rsync jq:jq gcc:gcc make:make \
            "$REFLECT2/go_above_118.go:golang-github-modern-go-reflect2-dev"
        say "Kubernetes $KUBE_VERSION is built once, from Debian's source package: 5 to 8 minutes on two cores"
        step "Kubernetes $KUBE_VERSION from source" build_kubernetes
    fi
}

has_parts() {
    local part
    for part in "${KUBE_PARTS[@]}"; do
        if ! [ -x "$1/$part" ]; then return 1; fi
    done
}

# From 1.24 on a kubelet cannot drive a Docker Engine by itself.
has_dockershim() {
    local minor
    minor=$("$1/kubelet" --version | sed -n 's/^Kubernetes v1\.\([0-9]*\).*/\1/p')
    [ -n "$minor" ] && [ "$minor" -lt 24 ]
}

build_kubernetes() {
    local work=$CACHE/kubernetes.tmp
    rm -rf "$work"
    mkdir -p "$work/bin"
    cd "$work"
    fetch_source
    dpkg-source --no-check -x kubernetes_*.dsc source
    cd source
    rm vendor/github.com/modern-go/reflect2/*.{go,s}
    cp "$REFLECT2"/*.{go,s} vendor/github.com/modern-go/reflect2/
    # outside modules, Go wants the tree at its import path
    mkdir -p .go/src/k8s.io
    ln -sfn ../../.. .go/src/k8s.io/kubernetes
    # A Go of the machine's own may be too new for this source; Debian's is not.
    env -u GOFLAGS -u GOROOT -u MAKEFLAGS PATH="/usr/bin:$PATH" GOENV=off \
        GOPATH="$PWD/.go" GO111MODULE=off CGO_ENABLED=0 KUBE_GIT_VERSION=v$KUBE_VERSION \
        nice make WHAT="${KUBE_PARTS[*]/#/cmd/}"
    cd "$work/source/_output/local/go/bin"
    cp "${KUBE_PARTS[@]}" "$work/bin/"
    "$work/bin/kubelet" --version
    cd "$CACHE"
    publish "$work/bin" "$KUBE_BUILD"
    rm -rf "$work"
}

# The machine's apt configuration stays as it is: the source entries are our own copy of its binary ones, with lists of their own.
fetch_source() {
    local apt=$PWD/apt
    local private=(-o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts="$apt/sources.list.d"
        -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root)
    mkdir -p "$apt/sources.list.d" "$apt/lists/partial" "$apt/cache/archives/partial"
    source_entries "$apt"
    apt_update "${private[@]}"
    apt-get -q "${private[@]}" source --download-only kubernetes
    local found=(kubernetes_*.dsc)
    case ${found[0]} in
    kubernetes_1.20.*) ;;
    *) die "this distribution has no source package of Kubernetes 1.20 (Debian 12 has); give a cluster by KUBECONFIG instead" ;;
    esac
}

# source_entries FOLDER: writes a deb-src twin of every `deb` entry of this Debian release, in both formats that apt knows.
source_entries() {
    local release file
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:?}")
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        sed -nE "/^deb[[:space:]].*[[:space:]]($release|stable)(-[a-z]+)?[[:space:]]/s/^deb/deb-src/p" "$file" >>"$1/sources.list"
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        awk -v RS= -v ORS='\n\n' -v release="(^|\n)Suites:[^\n]*[ \t]($release|stable)([- \t\n]|\$)" \
            '$0 ~ release && /(^|\n)Types:[^\n]*deb([ \t\n]|$)/ { gsub(/(^|\n)Types:[^\n]*/, "\nTypes: deb-src"); print }' \
            "$file" >>"$1/sources.list.d/debian.sources"
    done
    grep -rqs deb-src "$1/sources.list" "$1/sources.list.d" ||
        die "apt's configuration has no entry of Debian $release to fetch Kubernetes' source from"
}
