#!/bin/sh
# Sets up this checkout on Debian and Ubuntu: system packages, .venv, the package in it, kp. Only what is missing.
#   run.sh core    for tools/vkrun          run.sh dev    for tools/test: also the tools of development
# VKRUN_NO_APT=1   leave the system's packages alone
# VKRUN_NO_KP=1    do not build kp: no kompute backend
# VKRUN_PYTHON     the interpreter to use
set -eu

kind=${1:-core}
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
venv=$root/.venv
stamps=$venv/.vkrun
python=$venv/bin/python

mkdir -p "$root/build"
log=$root/build/setup.log
. "$root/tools/setup/lib.sh"
. "$root/tools/setup/system.sh"
PATH=$PATH:/usr/sbin:/sbin # for ldconfig
unset PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_USER PIP_REQUIRE_VIRTUALENV
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1

# The first Python that is new enough: the caller's, else what PATH has (a version manager's shim may not even run).
find_python() {
    for candidate in ${VKRUN_PYTHON:+"$VKRUN_PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' > /dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# The environment is remade when it is absent, broken, or belongs to another place (a checkout that was moved).
make_venv() {
    if [ -r "$stamps/root" ] && [ "$(cat "$stamps/root")" != "$root" ]; then
        rm -rf "$venv"
    fi
    if "$python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' > /dev/null 2>&1; then
        return
    fi
    say "making .venv with $("$base_python" --version 2>&1)"
    if "$base_python" -c 'import ensurepip, venv' > /dev/null 2>&1; then
        logged "$base_python" -m venv --clear "$venv"
    elif has uv; then
        logged uv venv --quiet --clear --seed --python "$base_python" "$venv"
    elif "$base_python" -m virtualenv --version > /dev/null 2>&1; then
        logged "$base_python" -m virtualenv --clear "$venv"
    else
        die "$base_python cannot make virtual environments; install $(python_package venv)"
    fi
}

install_package() {
    if cmp -s "$root/pyproject.toml" "$stamps/$kind"; then
        return
    fi
    extras=
    [ "$kind" != dev ] || extras='[dev]'
    say "installing vkrun$extras and what it needs into .venv"
    logged "$python" -m pip install -e "$root$extras"
    if [ "$kind" = dev ]; then
        cp "$root/pyproject.toml" "$stamps/core"
    fi
    link_for_types
    cp "$root/pyproject.toml" "$stamps/$kind"
}

# The root is the package, under whatever name the checkout has: this gives the type checker the name vkrun.
link_for_types() {
    mkdir -p "$stamps/types"
    ln -sfn ../../.. "$stamps/types/vkrun"
}

# kp is optional: without it everything but the kompute backend works. A failure is tried again by tools/test only. It
# is built while pip installs the package: this is mostly one core's work, as that is.
begin_kp() {
    kp_builds=
    if [ -n "${VKRUN_NO_KP:-}" ] || cmp -s "$root/tools/setup/build_kp.sh" "$stamps/kp"; then
        return
    fi
    if [ "$kind" = core ] && cmp -s "$root/tools/setup/build_kp.sh" "$stamps/kp-failed"; then
        return
    fi
    say "building kp for the kompute backend (a minute or two)"
    rm -rf "$root/build/kp"
    # a session of its own where there is such a thing, so that all of it can be ended
    $(command -v setsid) sh "$root/tools/setup/build_kp.sh" "$python" "$root/build/kp" > "$stamps/kp.log" 2>&1 9>&- &
    kp_builds=$!
    at_exit 'stop_kp'
}

end_kp() {
    [ -n "$kp_builds" ] || return 0
    kp_built=0
    wait "$kp_builds" || kp_built=$?
    kp_builds=
    if [ "$kp_built" = 0 ] && install_kp >> "$stamps/kp.log" 2>&1; then
        rm -rf "$stamps/kp-failed" "$root/build/kp"
        cp "$root/tools/setup/build_kp.sh" "$stamps/kp"
        return
    fi
    cp "$root/tools/setup/build_kp.sh" "$stamps/kp-failed"
    say "kp could not be built: $(grep -v '^ *$' "$stamps/kp.log" | tail -n 1)"
    say "everything but the kompute backend works; the whole story is in .venv/.vkrun/kp.log"
}

stop_kp() {
    [ -z "$kp_builds" ] || kill -- "-$kp_builds" 2> /dev/null || kill "$kp_builds" 2> /dev/null || :
}

install_kp() {
    "$python" -m pip install --no-deps --force-reinstall "$root"/build/kp/kp-*.whl
}

is_ready() {
    [ -r "$stamps/root" ] && [ "$(cat "$stamps/root")" = "$root" ] && cmp -s "$root/pyproject.toml" "$stamps/$kind" &&
        { [ -n "${VKRUN_NO_KP:-}" ] || cmp -s "$root/tools/setup/build_kp.sh" "$stamps/kp"; }
}

lock "$root/build/setup.lock"
if is_ready; then
    exit 0
fi
: > "$log"
if ! base_python=$(find_python); then
    install_python
    base_python=$(find_python) || die "no Python 3.11 or newer on PATH"
fi
install_system
make_venv
mkdir -p "$stamps"
begin_kp
install_package
end_kp
printf '%s\n' "$root" > "$stamps/root"
