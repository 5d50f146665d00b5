# Docker Engine, the registry on 127.0.0.1:5000 and the base images.
# shellcheck shell=bash

ENGINE_SOCKET=/var/run/docker.sock
REGISTRY=127.0.0.1:5000

engine_answers() { docker -H "$1" info >/dev/null 2>&1; }

# find_engine: sets ENGINE (its address) and ENGINE_OWNER: lab, there (somebody else's) or none.
find_engine() {
    ENGINE=${DOCKER_HOST:-unix://$ENGINE_SOCKET}
    if [ "${ENGINE#unix://}" -ef "$ENGINE_SOCKET" ]; then ENGINE=unix://$ENGINE_SOCKET; fi # /run and /var/run are one
    ENGINE_OWNER=none
    if ! command -v docker >/dev/null || ! engine_answers "$ENGINE"; then return 0; fi
    ENGINE_OWNER=there
    if [ "$ENGINE" = "unix://$ENGINE_SOCKET" ] && daemon_alive dockerd; then ENGINE_OWNER=lab; fi
}

engine_up() {
    command -v docker >/dev/null || packages docker:docker.io
    find_engine
    if [ "$ENGINE_OWNER" = none ]; then
        [ "$ENGINE" = "unix://$ENGINE_SOCKET" ] ||
            die "DOCKER_HOST=$ENGINE does not answer: start that engine, or unset DOCKER_HOST and the lab starts its own"
        need_root "starting a Docker Engine"
        packages dockerd:docker.io iptables:iptables
        step "Docker Engine" start_engine
        find_engine
    fi
    export DOCKER_HOST=$ENGINE
}

start_engine() {
    # an engine that hangs or is still coming up is not ours to replace
    if ! daemon_alive dockerd && dockerd_runs; then
        die "a dockerd runs here but does not answer on $ENGINE_SOCKET: wait for it, stop it, or set DOCKER_HOST"
    fi
    daemon_stop dockerd 30
    forget_dead_pids
    mkdir -p "$LAB/docker" "$RUN"
    install -m 755 "$HERE/lab.d/runc-wrapper" "$LAB/runc"
    echo '{}' >"$LAB/daemon.json" # and so not the machine's /etc/docker/daemon.json
    # Data and sockets of its own: what a stopped engine of this machine has in /var/lib/docker stays untouched.
    # --ip: a port that a container publishes is bound to loopback.
    daemon_start dockerd dockerd --config-file "$LAB/daemon.json" --host "unix://$ENGINE_SOCKET" \
        --data-root "$LAB/docker" --exec-root "$RUN/docker" --pidfile "$RUN/docker.pid" \
        --add-runtime "lab=$LAB/runc" --default-runtime lab --exec-opt native.cgroupdriver=cgroupfs \
        --oom-score-adjust 0 --ip 127.0.0.1 --mtu "$(route_mtu)" --log-level warn
    wait_for 60 dockerd engine_answers "unix://$ENGINE_SOCKET"
}

# To dockerd a killed process that nobody has buried yet (a container's pid 1 often does not) still runs, by its pid file.
forget_dead_pids() {
    local file
    for file in "$RUN/docker.pid" "$RUN/docker/containerd/containerd.pid"; do
        if [ -s "$file" ] && ! start_time "$(cat "$file")" >/dev/null; then rm -f "$file"; fi
    done
}

dockerd_runs() {
    local file pid
    while read -r file; do
        pid=${file//[!0-9]/}
        if start_time "$pid" >/dev/null; then return 0; fi # else it is dead, only not yet buried
    done < <(grep -lsx dockerd /proc/[0-9]*/comm)
    return 1
}

# A bridge with larger packets than the way out loses them in silence.
route_mtu() {
    local device
    device=$(awk '$2 == "00000000" { print $1; exit }' /proc/net/route)
    if [ -n "$device" ]; then cat "/sys/class/net/$device/mtu"; else echo 1500; fi
}

# The containerd and shims of our engine: all carry its socket folder in their arguments.
engine_helpers() {
    local file
    while read -r file; do
        if grep -qs ^containerd "${file%cmdline}comm"; then echo "${file//[!0-9]/}"; fi
    done < <(grep -lsa -- "$RUN/docker/" /proc/[0-9]*/cmdline)
}

engine_down() {
    [ -d "$LAB/docker" ] || return 0
    # An engine that was killed left containers running; only an engine can stop those in order.
    if ! daemon_alive dockerd && [ -n "$(engine_helpers)" ]; then start_engine; fi
    daemon_stop dockerd 30
    local pid
    for pid in $(engine_helpers); do kill -KILL "$pid" 2>/dev/null || true; done
    # after a kill its mounts are still there
    unmount_below "$RUN"
    unmount_below "$LAB/docker"
    rm -rf "$RUN"
    dockerd_runs || rm -f "$ENGINE_SOCKET"
}

# ---- registry

# registry_state: prints open, locked (wants a login), other (something that is no registry) or none.
registry_state() {
    local code
    code=$(curl -s -o /dev/null -m 5 -w '%{http_code}' "http://$REGISTRY/v2/" 2>/dev/null) || true
    case $code in
    200) echo open ;;
    401) echo locked ;;
    000 | '') echo none ;;
    *) echo other ;;
    esac
}

registry_open() { [ "$(registry_state)" = open ]; }

registry_up() {
    packages curl:curl
    case $(registry_state) in
    open) return ;;
    locked) die "the registry on $REGISTRY wants a login; the tests need an open one there" ;;
    other) die "something that is no registry answers on $REGISTRY; stop it, the tests need that address" ;;
    esac
    packages docker-registry:docker-registry
    step "registry on $REGISTRY" start_registry
}

start_registry() {
    daemon_stop registry
    mkdir -p "$LAB/registry"
    cat >"$LAB/registry.yml" <<YML
version: 0.1
log: { level: warn }
storage:
  filesystem: { rootdirectory: "$LAB/registry" }
  delete: { enabled: true }
http: { addr: "$REGISTRY" }
YML
    daemon_start registry docker-registry serve "$LAB/registry.yml"
    wait_for 20 registry registry_open
}

# ---- base images: nothing can be pulled from outside, and tests must not depend on it

images_up() {
    local image
    [ -s "$CACHE/images/pause-local.tar" ] || packages gcc:gcc /usr/include/stdio.h:libc6-dev
    for image in alpine:3.20 pause:local; do
        docker image inspect "$image" >/dev/null 2>&1 || step "image $image" load_image "$image"
    done
}

# In an engine that is not ours the real image is tried first, and what we put there is noted, to be removed again.
load_image() {
    local archive=$CACHE/images/${1/:/-}.tar
    if [ "$ENGINE_OWNER" = there ] && [ "$1" = alpine:3.20 ] && timeout 60 docker pull --quiet "$1"; then return; fi
    if ! [ -s "$archive" ]; then
        rm -rf "$CACHE/image.tmp"
        mkdir -p "$CACHE/image.tmp/root"
        case $1 in
        alpine:*) make_alpine "$CACHE/image.tmp/root" ;;
        pause:*) make_pause "$CACHE/image.tmp/root" ;;
        esac
        docker save "$1" >"$CACHE/image.tmp/archive"
        publish "$CACHE/image.tmp/archive" "$archive"
        rm -rf "$CACHE/image.tmp"
    fi
    docker load --quiet --input "$archive"
    if [ "$ENGINE_OWNER" = there ]; then mkdir -p "$LAB" && echo "$1" >>"$LAB/images-added"; fi
}

# make_alpine ROOT: what sample Dockerfiles call alpine:3.20 is one static busybox with all its applets.
# Debian's lacks wget's timeout and crashes on its option -T: scripts for this image say `timeout 5 wget …` instead.
make_alpine() {
    local root=$1 applet
    (
        cd "$CACHE/image.tmp"
        apt-get download -q busybox-static || { apt_update && apt-get download -q busybox-static; }
        dpkg-deb -x busybox-static_*.deb busybox
    )
    mkdir -p "$root"/{bin,sbin,dev,etc,home,proc,root,run,sys,tmp,usr/bin,usr/sbin,usr/local/bin,var/log,var/www}
    chmod 1777 "$root/tmp"
    install -m 755 "$CACHE/image.tmp/busybox/bin/busybox" "$root/bin/busybox"
    for applet in $("$root/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    ln -s /bin/busybox "$root/usr/bin/env" # scripts start with it
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65533:\nnobody:x:65534:\n' >"$root/etc/group"
    printf 'NAME="busybox in the place of Alpine"\nID=alpine\nVERSION_ID=3.20.0\n' >"$root/etc/os-release"
    echo 3.20.0 >"$root/etc/alpine-release"
    tar -C "$root" --owner=0 --group=0 --numeric-owner -c . | docker import \
        --change 'CMD ["/bin/sh"]' --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - alpine:3.20
}

# make_pause ROOT: the process that keeps a pod's network alive, reaps its orphans and ends when asked.
make_pause() {
    cat >"$CACHE/image.tmp/pause.c" <<'C'
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void leave(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0) {} }
int main(void) {
    signal(SIGTERM, leave);
    signal(SIGINT, leave);
    signal(SIGCHLD, reap);
    for (;;) pause();
}
C
    gcc -static -Os -s -o "$1/pause" "$CACHE/image.tmp/pause.c"
    tar -C "$1" --owner=0 --group=0 --numeric-owner -c . | docker import --change 'ENTRYPOINT ["/pause"]' - pause:local
}

# Takes back what was put into somebody else's engine.
images_down() {
    local image
    [ -s "$LAB/images-added" ] || return 0
    find_engine
    while read -r image; do
        [ "$ENGINE_OWNER" != there ] || docker rmi "$image" >/dev/null 2>&1 || say "left in the engine, in use: image $image"
    done <"$LAB/images-added"
    rm -f "$LAB/images-added"
}
