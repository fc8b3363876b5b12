#!/usr/bin/env bash
# Build the image where no container engine runs, by buildah without namespaces, ask it `offhook check`, and,
# where it needs no GPU, call it once (try_image.sh).
#
#   deploy/build_image.sh [cpu|cuda] [NAME]
#
# Needs root, and apt-get install buildah. NAME is offhook or offhook-cuda. Read from the environment:
#   OFFHOOK_BASE                 the image to begin with; `debootstrap` makes one from Debian's packages, where no
#                                registry of images is reached (needs debootstrap)
#   OFFHOOK_TORCH_INDEX          package index of torch: a CPU-only one for cpu
#   OFFHOOK_PJPROJECT_TARBALL    PJSIP's source at the top of the repository
#   OFFHOOK_NATIVE_CACHE         where deploy/setup.sh on this release of Debian keeps the SIP extensions that it
#                                has compiled (~/.cache/offhook): one of these sources is taken, and none compiled
#   OFFHOOK_BUILD_FLAGS          more flags of `buildah bud`, like -v /etc/pip.conf:/etc/pip.conf:ro for a mirror, and
#                                -v /usr/local/share/ca-certificates:/usr/local/share/ca-certificates:ro for its
#                                certificate (not the bundle in /etc/ssl: installing ca-certificates writes that)
#   STORAGE_DRIVER               vfs, where overlay mounts are forbidden: each step is then a copy of the image
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'image: %s\n' "$*"; }

fail() {
    printf 'image: %s\n' "$@" >&2
    exit 1
}

needs() {
    command -v "$1" >/dev/null || fail "$1 is missing. As root, run: apt-get install $1"
}

target=${1:-cpu}
case $target in
    cpu) name=${2:-offhook} ;;
    cuda) name=${2:-offhook-cuda} ;;
    *) fail "unknown target '$target'; use cpu or cuda" ;;
esac
[ -z "${OFFHOOK_NATIVE_CACHE:-}" ] || ls "$OFFHOOK_NATIVE_CACHE"/wheels/*-release/*.whl >/dev/null 2>&1 ||
    fail "OFFHOOK_NATIVE_CACHE names '$OFFHOOK_NATIVE_CACHE', which holds no compiled extension; unset it."
needs buildah
[ "$(id -u)" = 0 ] || fail "chroot needs root: run it by sudo, or use docker build"

export BUILDAH_ISOLATION=chroot # no namespaces, which a container around us may forbid
work=$(mktemp -d) container=
cleanup() {
    [ -z "$container" ] || buildah rm "$container" >/dev/null
    rm -rf "$work"
}
trap cleanup EXIT

base=${OFFHOOK_BASE:-docker.io/library/debian:12-slim}
if [ "$base" = debootstrap ]; then
    base=localhost/debian-bookworm
    if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
        needs debootstrap
        say "making $base from Debian's packages"
        debootstrap --variant=minbase bookworm "$work/root" >"$work/log" 2>&1 ||
            fail "debootstrap failed:" "$(tail -n 3 "$work/log")"
        rm -f "$work"/root/var/cache/apt/archives/*.deb
        made=$(buildah from scratch)
        buildah copy -q "$made" "$work/root" / >/dev/null
        buildah commit -q --rm "$made" "$base" >/dev/null
    fi
fi

offered=()
if [ -n "${OFFHOOK_NATIVE_CACHE:-}" ]; then
    mkdir -p "$work/native/wheels"
    cp -r "$OFFHOOK_NATIVE_CACHE"/wheels/*-release "$work/native/wheels/"
    cp "$OFFHOOK_NATIVE_CACHE"/asterisk_*.orig-Xpjproject.tar.* "$work/native/" 2>/dev/null || true
    offered=(--build-context native="$work/native")
fi

say "building $name ($target) on $base" # docker's format has the health check, OCI's has none
# shellcheck disable=SC2086
buildah bud --format docker -f deploy/Dockerfile --ignorefile deploy/Dockerfile.dockerignore \
    --target "$target" -t "$name" \
    --build-arg OFFHOOK_BASE="$base" \
    --build-arg OFFHOOK_TORCH_INDEX="${OFFHOOK_TORCH_INDEX:-}" \
    --build-arg OFFHOOK_PJPROJECT_TARBALL="${OFFHOOK_PJPROJECT_TARBALL:-}" \
    "${offered[@]}" ${OFFHOOK_BUILD_FLAGS:-} .

container=$(buildah from "$name")
say "$name has $(du -sh "$(buildah mount "$container")" | cut -f 1), and runs as $(buildah run "$container" -- id -un)"
if [ "$target" = cuda ]; then # a machine that builds has no GPU: all but the model is asked for
    buildah run --env OFFHOOK_WORKER__ENGINE=standin "$container" -- offhook check
else
    buildah run "$container" -- offhook check
    deploy/try_image.sh "$name"
fi
