#!/usr/bin/env bash
# Start an image as a cluster would, where no container engine runs, and call it once.
#
#   deploy/try_image.sh NAME
#
# Read-only but for /tmp and its volumes, as its own user without any right, on a network of its own. It must
# become ready, pass its own health check, say something to a caller, and end by itself when it is told to.
# Needs root, and apt-get install buildah util-linux iproute2.
set -euo pipefail

say() { printf 'image: %s\n' "$*"; }

fail() {
    printf 'image: %s\n' "$@" >&2
    [ ! -s "${log:-}" ] || tail -n 20 "$log" >&2
    exit 1
}

# One word of the image's configuration per line.
configured() { buildah inspect --type image --format "{{range $2}}{{println .}}{{end}}" "$1" | sed '/^$/d'; }

if [ "${1:-}" != --inside ]; then
    name=${1:?deploy/try_image.sh NAME}
    export BUILDAH_ISOLATION=chroot # as in build_image.sh
    work=$(mktemp -d) container=
    trap '[ -z "$container" ] || buildah rm "$container" >/dev/null; rm -rf "$work"' EXIT
    configured "$name" .OCIv1.Config.Env >"$work/env"
    { configured "$name" .OCIv1.Config.Entrypoint && configured "$name" .OCIv1.Config.Cmd; } >"$work/command"
    buildah inspect --type image --format '{{with .Docker.Config.Healthcheck}}{{range .Test}}{{println .}}{{end}}{{end}}' \
        "$name" | sed '1d; /^$/d' >"$work/health" # but for the word CMD
    buildah inspect --type image --format '{{range $place, $_ := .OCIv1.Config.Volumes}}{{println $place}}{{end}}' \
        "$name" >"$work/volumes"
    [ -s "$work/health" ] || fail "$name has no health check: build it by --format docker"
    container=$(buildah from "$name")
    root=$(buildah mount "$container")
    unshare --mount --net --pid --fork --kill-child "$0" --inside "$root" "$work"
    exit
fi

root=$2 work=$3 log=$3/log
mapfile -t env <"$work/env"
mapfile -t command <"$work/command"
mapfile -t health <"$work/health"
as_user=(chroot "$root" setpriv --reuid=offhook --regid=offhook --clear-groups --bounding-set=-all --no-new-privs
    env -i "${env[@]}" HOME=/home/offhook)

# Wait until a command succeeds; $1 is how many seconds that may take, $2 what it would mean.
within_s() {
    local left=$1 what=$2
    shift 2
    until "${as_user[@]}" "$@" >/dev/null 2>&1; do
        kill -0 "$server" 2>/dev/null || fail "it ended before it $what; it said:"
        [ "$left" -gt 0 ] || fail "it never $what; it said:"
        left=$((left - 1))
        sleep 1
    done
    say "it $what after $((SECONDS - began)) s"
}

ip link set lo up
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
while read -r place; do mount -t tmpfs -o uid=990,gid=990 tmpfs "$root$place"; done <"$work/volumes"
! "${as_user[@]}" touch /opt/offhook/here 2>/dev/null || fail "its user may write to what it runs"

began=$SECONDS
"${as_user[@]}" OFFHOOK_WORKER__SLOTS=1 "${command[@]}" >"$log" 2>&1 &
server=$!
within_s 300 "was ready" python3 -c '
import http.client
asked = http.client.HTTPConnection("127.0.0.1", 8080)
asked.request("GET", "/readyz")
raise SystemExit(asked.getresponse().status != 200)'
within_s 3 "passed its health check" "${health[@]}"
"${as_user[@]}" offhook call sip:order@127.0.0.1:5060 --duration 8 || fail "a caller heard nothing; it said:"
kill -TERM "$server"
wait "$server" || fail "it did not end by itself ($?); it said:"
say "it ended by itself"
