#!/usr/bin/env bash
# Build the native SIP extension (offhook_pjsua2) and install it, or take it from the cache.
#
#   build.sh PYTHON release|assertions [TARGET_DIR]
#
# PYTHON is the interpreter to build for; without TARGET_DIR the wheel goes into its site-packages.
# PJSIP comes from the tarball named by OFFHOOK_PJPROJECT_TARBALL, else from Debian's asterisk source package, which
# carries the current one. Wheels are kept in ${XDG_CACHE_HOME:-~/.cache}/offhook, keyed by the hash of tarball and
# native sources, the Python version, and whether assertions are compiled in.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
python=$1 variant=$2 target=${3:-}
case $python in /*) ;; *) python=$PWD/$python ;; esac
cache=${XDG_CACHE_HOME:-$HOME/.cache}/offhook
sources=(build.sh dtls.sed setup.py.in config_site.h offhook_pjsua2.i py_buffers.hpp ring_port.hpp ring_port.cpp opus_leg.hpp
    opus_leg.cpp opus_port.hpp opus_port.cpp sip_gate.hpp sip_gate.cpp source_table.hpp source_table.cpp
    source_kinds.hpp source_kinds.cpp stream_gate.hpp stream_gate.cpp rtp_lock.hpp rtp_lock.cpp
    port_rest.hpp port_rest.cpp monotonic.hpp)
work=

fail() {
    printf 'pjsua2: %s\n' "$@" >&2
    exit 1
}

cleanup() { [ -z "$work" ] || rm -rf "$work"; }
trap cleanup EXIT

# Leaves the newest pjproject tarball of Debian's asterisk source package in $cache, by way of the mirror that apt uses.
download_tarball() {
    command -v apt-get >/dev/null || fail "apt-get is missing, so PJSIP's source cannot be fetched." \
        "Set OFFHOOK_PJPROJECT_TARBALL to a pjproject tarball (2.17 or later)."
    local dir=$work/apt mirror
    mkdir -p "$dir/lists/partial" "$dir/archives/partial"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -v security | sort -u | head -n 1)
    [ -n "$mirror" ] || fail "apt has no package mirror configured, so PJSIP's source cannot be fetched." \
        "Configure one, or set OFFHOOK_PJPROJECT_TARBALL to a pjproject tarball (2.17 or later)."
    echo "deb-src $mirror sid main" >"$dir/sid.list"
    local options=(-o "Dir::Etc::SourceList=$dir/sid.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$dir/lists"
        -o "Dir::Cache::Archives=$dir/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=)
    echo "pjsua2: fetching Debian's asterisk source package, for the PJSIP inside"
    (cd "$dir" && apt-get -qq "${options[@]}" update && apt-get -qq "${options[@]}" --download-only source asterisk) \
        >"$work/apt.log" 2>&1 || {
        tail -n 5 "$work/apt.log" >&2
        fail "the source package 'asterisk' of Debian sid could not be fetched (see above)." \
            "Check the network, or set OFFHOOK_PJPROJECT_TARBALL to a pjproject tarball (2.17 or later)."
    }
    mv "$dir"/asterisk_*.orig-Xpjproject.tar.* "$cache/"
}

find_tarball() {
    if [ -n "${OFFHOOK_PJPROJECT_TARBALL:-}" ]; then
        tarball=$OFFHOOK_PJPROJECT_TARBALL
        [ -r "$tarball" ] || fail "OFFHOOK_PJPROJECT_TARBALL names '$tarball', which cannot be read; correct the path."
        return
    fi
    tarball=$(ls -t "$cache"/asterisk_*.orig-Xpjproject.tar.* 2>/dev/null | head -n 1 || true)
    if [ -z "$tarball" ]; then
        download_tarball
        tarball=$(ls -t "$cache"/asterisk_*.orig-Xpjproject.tar.* | head -n 1)
    fi
}

# Debian strips bdimad_dev.c. Our SDP does not name the library. An offer that names one format twice is refused, where
# PJSIP would write past its list of formats (or, with assertions, end the program). A media transport that a stream is
# attached to keeps the address of its last packet: PJSIP would clear it while another thread may be comparing it, which
# ends the program, too. Every piece of garbage on the SIP port is told to us, not only what the parser can name a fault
# of. What is wrong with DTLS, and what is done about it, stands in dtls.sed.
patch_source() {
    sed -i 's/ bdimad_dev\.o//' pjmedia/build/Makefile
    local sdp=pjmedia/src/pjmedia/endpoint.c
    sed -i 's/STR_SDP_NAME = { "pjmedia", 7 }/STR_SDP_NAME = { "-", 1 }/' "$sdp"
    grep -q 'STR_SDP_NAME = { "-", 1 }' "$sdp" || fail "$sdp is not the code that our patch knows; PJSIP 2.17 fits."
    local neg=pjmedia/src/pjmedia/sdp_neg.c
    sed -i 's/pj_assert(j != answer->desc\.fmt_count);/if (j >= answer->desc.fmt_count) return PJMEDIA_SDPNEG_NOANSCODEC;/' "$neg"
    grep -q 'if (j >= answer->desc.fmt_count) return' "$neg" || fail "$neg is not the code that our patch knows; PJSIP 2.17 fits."
    local udp=pjmedia/src/pjmedia/transport_udp.c
    [ "$(grep -c 'pj_bzero(&udp->rtc\?p_src_addr' "$udp")" = 2 ] || fail "$udp is not the code that our patch knows; PJSIP 2.17 fits."
    sed -i '/pj_bzero(&udp->rtc\?p_src_addr/d' "$udp"
    local transport=pjsip/src/pjsip/sip_transport.c
    sed -i 's/if (tmp\.slen && mgr->tp_drop_data_cb)/if (mgr->tp_drop_data_cb)/' "$transport"
    ! grep -q 'tmp\.slen && mgr->tp_drop_data_cb' "$transport" && grep -q 'syntax error' "$transport" ||
        fail "$transport is not the code that our patch knows; PJSIP 2.17 fits."
    local dtls=pjmedia/src/pjmedia/transport_srtp_dtls.c
    sed -i -f "$here/dtls.sed" "$dtls"
    [ "$(grep -c 'offhook: ' "$dtls")" = 6 ] && [ "$(grep -c 'packet, whole_records(\|while (ds->ossl_wbio' "$dtls")" = 2 ] &&
        [ "$(grep -c '{ DTLS_UNLOCK(ds); goto on_return; }' "$dtls")" = 2 ] && grep -A 1 'nego_started\[idx\] = PJ_TRUE' "$dtls" | grep -q DTLS_UNLOCK ||
        fail "$dtls is not the code that our patch knows; PJSIP 2.17 fits."
    cp "$here/config_site.h" pjlib/include/pj/config_site.h
}

compile() {
    local flags="-O2 -g1 -fPIC" assertions=1
    if [ "$variant" = release ]; then flags="$flags -DNDEBUG" assertions=0; fi
    ./configure CFLAGS="$flags" LIBS=-lspeexdsp --enable-epoll --disable-video --disable-sound --disable-v4l2 \
        --disable-sdl --disable-ffmpeg --disable-vpx --disable-openh264 --disable-libyuv --disable-libwebrtc \
        --disable-upnp --disable-speex-aec --disable-speex-codec --disable-ilbc-codec --disable-gsm-codec \
        --disable-g7221-codec --disable-silk --disable-lyra --disable-bcg729 --disable-opencore-amr \
        --with-external-srtp --with-external-speex --enable-speex-resample
    make -j"$(nproc)" lib
    cd pjsip-apps/src/swig/python
    for file in "${sources[@]}"; do cp "$here/$file" "${file%.in}"; done
    swig -I. -I.. -I../../../../{pjlib,pjlib-util,pjmedia,pjsip,pjnath}/include -c++ -w312,401 -threads -python \
        -module offhook_pjsua2 -o offhook_pjsua2_wrap.cpp offhook_pjsua2.i
    OFFHOOK_ASSERTIONS=$assertions OFFHOOK_PJ_VERSION=$version \
        "$python" -m pip wheel -q --no-build-isolation --no-deps -w "$work/out" .
}

[ "$variant" = release ] || [ "$variant" = assertions ] || fail "the second argument is 'release' or 'assertions'"
mkdir -p "$cache"
work=$(mktemp -d)
find_tarball
key=$(cat "$tarball" "${sources[@]/#/$here/}" | sha256sum | cut -c 1-16)
store=$cache/wheels/$key-$("$python" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')-$variant
installed=${target:-$("$python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')}
stamp=$installed/.offhook_pjsua2
if [ "$(cat "$stamp" 2>/dev/null)" = "$store" ] && [ -e "$installed/offhook_pjsua2.py" ]; then
    exit 0
fi

if ! ls "$store"/*.whl >/dev/null 2>&1; then
    mkdir "$work/tree"
    tar -xf "$tarball" -C "$work/tree" --strip-components 1 || fail "'$tarball' is not a tar file; fetch it anew."
    cd "$work/tree"
    version=$(sed -n 's/^export PJ_VERSION_\(MAJOR\|MINOR\) *:= *//p' version.mak 2>/dev/null | paste -sd .) || true
    [ -n "$version" ] || fail "'$tarball' holds no pjproject tree; fetch it anew."
    echo "pjsua2: building PJSIP $version ($variant) from $(basename "$tarball"), sha256 $(sha256sum <"$tarball" | cut -c 1-64)"
    patch_source
    compile >"$work/build.log" 2>&1 || {
        cp "$work/build.log" "$cache/build-failed.log"
        tail -n 15 "$work/build.log" >&2
        fail "the build failed (above: its last lines; all of it: $cache/build-failed.log)." \
            "Needed: a C++ compiler, swig, pkg-config, and the -dev packages that deploy/setup.sh lists."
    }
    mkdir -p "$store"
    mv "$work"/out/*.whl "$store/"
    echo "pjsua2: built in $SECONDS s"
fi
cd "$here"
"$python" -m pip install -q --no-deps --force-reinstall ${target:+--target "$target" --upgrade} "$store"/*.whl
printf '%s' "$store" >"$stamp"
