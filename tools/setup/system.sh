# The system's part of run.sh: which packages are missing, and apt-get where it may. Sourced, not run.

backports_list=/etc/apt/sources.list.d/vkrun-backports.list

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null)" = installed ]
}

has_loader() {
    installed libvulkan1 || { has ldconfig && ldconfig -p | grep -q 'libvulkan\.so\.1'; }
}

# Whether one of the folders where Vulkan's loader looks has such a file.
has_vulkan_file() {
    for folder in /usr/share /usr/local/share /etc "${XDG_DATA_HOME:-${HOME:-/nowhere}/.local/share}"; do
        for file in "$folder/vulkan/"$1; do
            [ ! -r "$file" ] || return 0
        done
    done
    return 1
}

has_driver() {
    [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] || has_vulkan_file 'icd.d/*.json'
}

has_header() {
    [ -r "/usr/include/$1" ] || [ -r "/usr/local/include/$1" ]
}

on_debian() {
    [ -r /etc/os-release ] && (. /etc/os-release && [ "${ID:-}" = debian ])
}

on_bookworm() {
    [ -r /etc/os-release ] && (. /etc/os-release && [ "${VERSION_CODENAME:-}" = bookworm ])
}

# Debian 12's own Mesa, 22.3.6: its llvmpipe ends the loops of a shader silently after 65,535 iterations.
mesa_is_too_old() {
    on_bookworm && installed mesa-vulkan-drivers &&
        dpkg --compare-versions "$(dpkg-query -W -f '${Version}' mesa-vulkan-drivers)" lt 23
}

# The Debian name of a part of the chosen Python: python3-venv for the system's own, python3.12-venv for another.
python_package() {
    if [ "$base_python" = /usr/bin/python3 ]; then
        echo "python3-$1"
    else
        "$base_python" -c "import sys; print('python%d.%d-$1' % sys.version_info[:2])"
    fi
}

lacks_venv() {
    ! "$base_python" -c 'import ensurepip, venv' > /dev/null 2>&1
}

lacks_headers() {
    ! "$base_python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' 2> /dev/null
}

# Without these vkrun cannot run at all.
missing_needed() {
    has_loader || echo libvulkan1
    if ! has_driver || mesa_is_too_old; then echo mesa-vulkan-drivers; fi
    has glslangValidator || echo glslang-tools
    if [ ! -x "$python" ] && lacks_venv; then python_package venv; fi
}

# Without these it runs, but shaders are not validated, kp is not built, or tests of the validation layer or of the
# server's page do not run.
missing_wanted() {
    has spirv-val || echo spirv-tools
    if [ "$kind" = dev ] && ! has_vulkan_file 'explicit_layer.d/*validation*.json'; then
        echo vulkan-validationlayers
    fi
    if [ "$kind" = dev ] && ! has clang++; then echo clang; fi # which runs the shaders as Metal has them
    # for the test of the server's page; Ubuntu has it as a snap only
    if [ "$kind" = dev ] && on_debian; then has chromium || echo chromium; fi
    if [ -n "${VKRUN_NO_KP:-}" ] || cmp -s "$root/tools/setup/build_kp.sh" "$stamps/kp"; then return; fi
    has_header vulkan/vulkan.hpp || echo libvulkan-dev
    has_header fmt/core.h || echo libfmt-dev
    has cmake || echo cmake
    has make || echo make
    has g++ || echo g++
    if lacks_headers; then python_package dev; fi
}

# apt-get as root, or through sudo where that asks for no password.
may_apt() {
    [ -z "${VKRUN_NO_APT:-}" ] && has apt-get && has dpkg-query && { [ "$(id -u)" = 0 ] || sudo -n true 2> /dev/null; }
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@"
}

update_lists() {
    if [ -z "${lists_updated:-}" ]; then
        try apt update || say "apt-get update failed; going on with the package lists that are there"
        lists_updated=1
    fi
}

# Words on one line, without some of them.
without() {
    for word in $1; do
        [ "$word" = "$2" ] || printf '%s ' "$word"
    done
}

install_system() {
    needed=$(missing_needed | tr '\n' ' ')
    wanted=$(missing_wanted | tr '\n' ' ')
    if [ -z "$needed$wanted" ]; then
        return
    fi
    if ! may_apt; then
        explain_missing
        return
    fi
    update_lists
    case $needed in
        *mesa-vulkan-drivers*)
            if on_bookworm; then
                install_mesa_bookworm
                needed=$(without "$needed" mesa-vulkan-drivers)
            fi
            ;;
    esac
    if [ -n "$needed" ]; then
        say "installing with apt-get: $needed"
        # shellcheck disable=SC2086 # words
        logged apt install --no-install-recommends $needed
    fi
    if [ -n "$wanted" ]; then
        say "installing with apt-get: $wanted"
        # shellcheck disable=SC2086 # words
        try apt install --no-install-recommends $wanted || install_each "$wanted"
    fi
}

# One that cannot be had keeps no other away.
install_each() {
    for package in $1; do
        try apt install --no-install-recommends "$package" || say "going on without: $package"
    done
}

explain_missing() {
    if only_old_mesa; then
        say "Mesa is older than 23: long prompts may go wrong on its software driver; bookworm-backports has a newer one"
        needed=
    elif [ -n "$needed" ]; then
        say "missing: $needed"
    fi
    if [ -n "$wanted" ]; then
        say "missing, but not needed to run: $wanted"
    fi
    if [ -z "$needed$wanted" ] || [ -n "${VKRUN_NO_APT:-}" ]; then
        return
    fi
    say "these are Debian's and Ubuntu's names; install them as root, for instance with"
    say "    apt-get install $needed$wanted"
    if [ -n "$needed" ]; then
        die "then call again (VKRUN_NO_APT=1 goes on without them)"
    fi
}

only_old_mesa() {
    [ "$needed" = "mesa-vulkan-drivers " ] && has_driver
}

install_mesa_bookworm() {
    say "installing Mesa's Vulkan drivers from bookworm-backports: in Debian 12's own Mesa 22.3, the software driver"
    say "ends the loops of a shader silently after 65,535 iterations, and models would answer wrongly"
    add_backports
    if try apt install --no-install-recommends -t bookworm-backports mesa-vulkan-drivers; then
        return
    fi
    as_root rm -f "$backports_list"
    if has_driver; then
        say "going on with the Mesa that is installed: long prompts may go wrong on the software driver"
        return
    fi
    say "no backports: installing Debian 12's own Mesa; long prompts may go wrong on the software driver"
    logged apt update
    logged apt install --no-install-recommends mesa-vulkan-drivers
}

# The backports stand on the mirror that this machine uses for Debian itself.
add_backports() {
    if apt-get indextargets --format '$(RELEASE)' 'Created-By: Packages' | grep -qx bookworm-backports; then
        return
    fi
    mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        sed -n 's/^bookworm //p' | head -n 1)
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    option=
    [ ! -r "$keyring" ] || option="[signed-by=$keyring] "
    say "adding $backports_list"
    printf 'deb %s%s bookworm-backports main\n' "$option" "$mirror" | as_root tee "$backports_list" > /dev/null
    try apt update || say "apt-get update failed with the backports"
}

# Python from the distribution, where its default is too old (Ubuntu 22.04 has 3.10, and 3.11 beside it) or absent.
install_python() {
    found=$(python3 --version 2>&1) || found="no python3"
    if may_apt; then
        update_lists
        for version in 3 3.13 3.12 3.11; do
            if candidate_is_new_enough "$version"; then
                say "vkrun needs Python 3.11 or newer, found $found; installing python$version with apt-get"
                logged apt install --no-install-recommends "python$version" "python$version-venv"
                return
            fi
        done
    fi
    die "vkrun needs Python 3.11 or newer, found $found: install one (Ubuntu 22.04: python3.11 and python3.11-venv)" \
        "and call again, or say which to use: VKRUN_PYTHON=/path/to/python3.12"
}

candidate_is_new_enough() {
    candidate_version=$(apt-cache policy "python$1" 2> /dev/null | sed -n 's/^ *Candidate: //p')
    [ -n "$candidate_version" ] && [ "$candidate_version" != "(none)" ] &&
        dpkg --compare-versions "$candidate_version" ge 3.11~
}
