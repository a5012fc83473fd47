# Small helpers of run.sh: messages, the log, the lock. Sourced, not run.

say() {
    printf 'vkrun setup: %s\n' "$*" >&2
}

die() {
    say "$*"
    exit 1
}

has() {
    command -v "$1" > /dev/null 2>&1
}

# Runs a command into the log; on failure shows the log's end and stops.
logged() {
    try "$@" || die "failed: $* (the whole log: $log)"
}

# Runs a command into the log; on failure shows the log's end and returns 1.
try() {
    printf '\n$ %s\n' "$*" >> "$log"
    "$@" >> "$log" 2>&1 9>&- && return
    tail -n 15 "$log" | sed 's/^/    /' >&2
    return 1
}

# Runs what it is given when this shell ends, however it ends.
at_exit() {
    endings="$1; ${endings:-}"
    trap "$endings" EXIT
    trap 'exit 130' INT TERM
}

# One setup at a time in a checkout. The lock goes when this shell ends, however it ends.
lock() {
    if has flock; then
        exec 9> "$1"
        flock -n 9 || { say "waiting for another setup in this checkout"; flock 9; }
        return
    fi
    until mkdir "$1.d" 2> /dev/null; do
        kill -0 "$(cat "$1.d/pid" 2> /dev/null)" 2> /dev/null || rm -rf "$1.d"
        sleep 1
    done
    echo $$ > "$1.d/pid"
    at_exit 'rm -rf "'"$1"'.d"'
}
