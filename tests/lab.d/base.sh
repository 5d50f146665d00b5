# Shared ground of tests/lab: where things are, how progress is shown, how a process is started, found again and stopped.
# shellcheck shell=bash

export HOME=${HOME:-~} # some CI jobs have none
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/slipway # expensive results: binaries, image archives
LAB=$CACHE/lab                                # state of the running parts: pid files, certificates, data
LOGS=$CACHE/logs
RUN=/run/slipway-lab # sockets: their paths must stay short (108 bytes), which a cache folder cannot promise

say() { printf 'lab: %s\n' "$*"; }

# die SENTENCE [LOG]: the sentence, the end of the log that explains it, the end.
die() {
    printf 'lab: FAILED: %s\n' "$1" >&2
    if [ -n "${2:-}" ] && grep -qsv '^lab: FAILED' "$2"; then
        printf '%s\n' "---- last lines of $2" >&2
        grep -v '^lab: FAILED' "$2" | tail -n 20 >&2
    fi
    exit 1
}

# Only one up or down at a time; the second waits. Daemons do not inherit the lock (see daemon_start).
take_lock() {
    mkdir -p "$CACHE"
    chmod 700 "$CACHE"
    exec 9>"$CACHE/lock"
    flock -n 9 || { say "waiting for another tests/lab" && flock 9; }
}

need_root() {
    [ "$(id -u)" = 0 ] || die "$1 needs root: run tests/lab as root, or provide it yourself (DOCKER_HOST, a registry on 127.0.0.1:5000, KUBECONFIG)"
}

# step TEXT FUNCTION [ARG…]: runs FUNCTION with its output in a log and prints one line with the seconds it took.
# It runs in a background subshell because bash ignores `set -e` in anything that is tested with && or ||; `wait` is tested instead.
step() {
    local text=$1 began=$SECONDS log worker rc=0
    shift
    mkdir -p "$LOGS"
    log=$LOGS/step-$1.log
    set -m # a process group of its own, so that Ctrl-C ends the step with all that it runs (daemons have left the group)
    (
        set -e +m
        "$@"
    ) >"$log" 2>&1 </dev/null &
    worker=$!
    set +m
    heartbeat "$text" "$worker" &
    local heart=$!
    # shellcheck disable=SC2064
    trap "kill -TERM -- -$worker $heart 2>/dev/null; exit 130" INT TERM
    wait "$worker" || rc=$?
    kill "$heart" 2>/dev/null || true
    wait "$heart" 2>/dev/null || true
    trap - INT TERM
    if [ "$rc" != 0 ]; then
        local why
        why=$(sed -n 's/^lab: FAILED: //p' "$log" | tail -n 1)
        # a daemon's own log says more than the step's
        die "$text: ${why:-failed after $((SECONDS - began)) s}" "$(sed -n 's/^lab: log: //p' "$log" | tail -n 1 | grep . || echo "$log")"
    fi
    printf 'lab: %-58s %4d s\n' "$text" "$((SECONDS - began))"
}

# Long steps say every minute that they live: CI systems end jobs that fall silent.
heartbeat() {
    local minutes=0 sleeper
    trap 'kill "$sleeper" 2>/dev/null; exit 0' TERM
    while kill -0 "$2" 2>/dev/null; do
        sleep 60 9>&- &
        sleeper=$!
        wait "$sleeper" || return 0
        minutes=$((minutes + 1))
        say "$1: still at it after $minutes min"
    done
}

# Start time in clock ticks since boot: with the pid it names one process for good, however often pids are reused.
start_time() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    stat=${stat##*) }                # drop "pid (name)": the name may hold spaces
    [ "${stat%% *}" != Z ] || return 1 # a zombie is not running
    # shellcheck disable=SC2086
    set -- $stat
    echo "${20}"
}

# daemon_start NAME COMMAND…: starts COMMAND in its own session, with no file of ours but its log, and notes pid and start time.
daemon_start() {
    local name=$1 pid
    shift
    mkdir -p "$LAB" "$LOGS"
    # the log before this start tells why the last one died
    if [ -s "$LOGS/$name.log" ]; then mv "$LOGS/$name.log" "$LOGS/$name.log.1"; fi
    (
        close_inherited
        exec setsid "$@"
    ) >"$LOGS/$name.log" 2>&1 </dev/null &
    pid=$!
    echo "$pid $(start_time "$pid" || echo 0)" >"$LAB/$name.pid"
}

# A daemon that holds a pipe of the caller would keep a CI job waiting for ever.
close_inherited() {
    local fd
    for fd in "/proc/$BASHPID/fd/"*; do
        fd=${fd##*/}
        if [ "$fd" -gt 2 ]; then eval "exec $fd>&-" 2>/dev/null || true; fi
    done
}

# daemon_pid NAME: prints the pid if the process that we started still runs.
daemon_pid() {
    local pid began
    [ -s "$LAB/$1.pid" ] || return 1
    read -r pid began <"$LAB/$1.pid"
    [ "$(start_time "$pid")" = "$began" ] || return 1
    echo "$pid"
}

daemon_alive() { daemon_pid "$1" >/dev/null; }

# daemon_stop NAME [SECONDS]: asks, waits, insists.
daemon_stop() {
    local pid tries=$((${2:-10} * 10))
    if pid=$(daemon_pid "$1"); then
        kill -TERM "$pid" 2>/dev/null || true
        while daemon_alive "$1" && [ "$tries" -gt 0 ]; do
            sleep 0.1
            tries=$((tries - 1))
        done
        if daemon_alive "$1"; then kill -KILL "$pid" 2>/dev/null || true; fi
    fi
    rm -f "$LAB/$1.pid"
}

# wait_for SECONDS NAME COMMAND…: until COMMAND succeeds; fails at once when the daemon NAME has died.
wait_for() {
    local deadline=$((SECONDS + $1)) name=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ! daemon_alive "$name"; then
            echo "lab: log: $LOGS/$name.log"
            die "$name ended right after its start"
        fi
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "lab: log: $LOGS/$name.log"
            die "$name runs but was not ready in time ($*)"
        fi
        sleep 0.2
    done
}

# publish TEMP FINAL: a finished result appears whole or not at all.
publish() {
    mkdir -p "$(dirname "$2")"
    rm -rf "$2"
    mv -T "$1" "$2"
}

# unmount_below FOLDER: a kubelet and an engine mount their own folder on itself, and things of their containers in it.
unmount_below() {
    local mount
    while read -r mount; do
        umount "$mount" || umount -l "$mount"
    done < <(awk -v folder="$1" '$2 == folder || index($2, folder "/") == 1 { print $2 }' /proc/mounts | tac)
}
