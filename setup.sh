#!/usr/bin/env bash
# Make .venv with this package in it; `setup.sh test` adds what the tests need, Debian packages included.
# Runs as root on Debian and Ubuntu; elsewhere install Python 3.11 with venv, and for the tests the
# programs below, yourself. Running it again is harmless.
set -euo pipefail
cd "$(dirname "$0")"

# Peers the package is compared with, and what test images are made of.
peers=(
    bubblewrap buildah busybox-static containerd crun curl debootstrap docker-cli docker-registry docker.io
    iproute2 nftables podman runc skopeo uidmap umoci
)
# Programs that change the host's packet filter beside it.
filters=(dbus-daemon firewalld iptables)
# File systems that share blocks, which copies of volumes are tested on; what throughput is measured with.
disks=(btrfs-progs iperf3 xfsprogs)
# What builds are tested with: compilers of programs, an emulator, repositories, agents.
builds=(gcc git libc6-dev libpython3-dev openssh-client qemu-user-static)
# Shells that complete the command line.
shells=(fish zsh)
# What the virtual machine with cgroup v2 only is made of.
guest=(e2fsprogs linux-image-cloud-amd64 qemu-system-x86)

install_debian_packages() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    local wanted=() name
    for name in "$@"; do
        # Names differ between releases; the kernel is only fetched, by the test that boots it.
        [ "$name" = linux-image-cloud-amd64 ] && continue
        apt-cache show "$name" >/dev/null 2>&1 && wanted+=("$name")
    done
    # No daemon starts because of us: the tests start those they need, on data of their own.
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    apt-get install -qq -y --no-install-recommends "${wanted[@]}" </dev/null >/dev/null
}

find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "setup.sh: Python 3.11 or newer is needed" >&2
    return 1
}

python=$(find_python)
if [ "${1-}" = test ]; then
    install_debian_packages "${peers[@]}" "${filters[@]}" "${disks[@]}" "${builds[@]}" "${shells[@]}" "${guest[@]}"
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    install_debian_packages python3-venv
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
if [ "${1-}" = test ]; then
    .venv/bin/python -m pip install --quiet --editable '.[dev]'
    # An editable install compiles nothing, and the engine's helper, which writes no files, would do it
    # whenever it starts.
    .venv/bin/python -m compileall -q pycontainer
else
    .venv/bin/python -m pip install --quiet .
fi
