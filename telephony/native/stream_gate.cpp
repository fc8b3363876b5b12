#include "stream_gate.hpp"

#include <atomic>
#include <cstring>
#include <unordered_map>

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "monotonic.hpp"
#include "source_table.hpp"

extern "C" {
// The linker gives every call of pj_sock_accept to us (setup.py.in, --wrap).
pj_status_t __real_pj_sock_accept(pj_sock_t server, pj_sock_t *accepted, pj_sockaddr_t *address, int *length);
pj_status_t __wrap_pj_sock_accept(pj_sock_t server, pj_sock_t *accepted, pj_sockaddr_t *address, int *length);
}

namespace offhook {

namespace {

struct Stream {
    pj_sockaddr peer;
    int64_t accepted_ns, incomplete_ns; // 0: nothing waits
    bool has_spoken;
};

constexpr int REFUSALS_AT_ONCE = 64; // then the other sockets have their turn

StreamLimits limits;
AcceptsFrom accepts_from = nullptr;
std::unordered_map<int, Stream> streams; // by descriptor
std::atomic<long> num_streams(0), refused(0), timed_out(0);

bool has_peer(int fd, const pj_sockaddr &peer) {
    pj_sockaddr now;
    socklen_t length = sizeof now;
    std::memset(&now, 0, sizeof now);
    if (getpeername(fd, reinterpret_cast<sockaddr *>(&now), &length) != 0) return false;
    return pj_sockaddr_cmp(&now, &peer) == 0;
}

void forget_closed() {
    for (auto at = streams.begin(); at != streams.end();)
        at = has_peer(at->first, at->second.peer) ? std::next(at) : streams.erase(at);
    num_streams = long(streams.size());
}

bool has_room(const pj_sockaddr &peer) {
    int of_source = 0;
    for (const auto &one : streams) of_source += sameHost(one.second.peer, peer);
    return int(streams.size()) < limits.connections && of_source < limits.connections_per_source;
}

bool admit(int fd, const pj_sockaddr &peer) {
    if (!accepts_from(peer)) return false;
    if (!has_room(peer)) {
        forget_closed();
        if (!has_room(peer)) {
            refused.fetch_add(1);
            return false;
        }
    }
    Stream stream = {};
    pj_sockaddr_cp(&stream.peer, &peer);
    stream.accepted_ns = monotonic_ns();
    streams[fd] = stream;
    num_streams = long(streams.size());
    return true;
}

Stream *stream_of(const pj_sockaddr &peer) {
    for (auto &one : streams)
        if (pj_sockaddr_cmp(&one.second.peer, &peer) == 0) return &one.second;
    return nullptr;
}

} // namespace

void openStreamGate(const StreamLimits &given, AcceptsFrom accepts) {
    limits = given;
    accepts_from = accepts;
    streams.clear();
    num_streams = refused = timed_out = 0;
}

void noteMessage(const pj_sockaddr &peer) {
    if (Stream *stream = stream_of(peer)) stream->has_spoken = true;
}

void noteRest(const pj_sockaddr &peer, bool is_incomplete) {
    Stream *stream = stream_of(peer);
    if (stream == nullptr) return; // a connection that we made
    if (!is_incomplete) stream->incomplete_ns = 0;
    else if (stream->incomplete_ns == 0) stream->incomplete_ns = monotonic_ns();
}

void endStream(const pj_sockaddr &peer) {
    for (const auto &one : streams)
        if (pj_sockaddr_cmp(&one.second.peer, &peer) == 0 && has_peer(one.first, peer)) shutdown(one.first, SHUT_RDWR);
}

void endStreamsOf(const pj_sockaddr &source) {
    for (const auto &one : streams)
        if (sameHost(one.second.peer, source) && has_peer(one.first, one.second.peer)) shutdown(one.first, SHUT_RDWR);
}

void sweepStreams() {
    forget_closed();
    int64_t too_old = monotonic_ns() - limits.message_ns;
    for (const auto &one : streams) {
        bool is_silent = !one.second.has_spoken && one.second.accepted_ns < too_old;
        bool is_stuck = one.second.incomplete_ns != 0 && one.second.incomplete_ns < too_old;
        if (!is_silent && !is_stuck) continue;
        timed_out.fetch_add(1);
        shutdown(one.first, SHUT_RDWR);
    }
}

long numStreams() { return num_streams.load(); }

long numStreamsRefused() { return refused.load(); }

long numStreamsTimedOut() { return timed_out.load(); }

} // namespace offhook

pj_status_t __wrap_pj_sock_accept(pj_sock_t server, pj_sock_t *accepted, pj_sockaddr_t *address, int *length) {
    if (offhook::accepts_from == nullptr || address == nullptr)
        return __real_pj_sock_accept(server, accepted, address, length);
    int room = *length;
    for (int i = 0; i < offhook::REFUSALS_AT_ONCE; ++i) {
        *length = room;
        // Any failure is told as "nobody there": PJSIP would try another one again without end, descriptors or not.
        if (__real_pj_sock_accept(server, accepted, address, length) != PJ_SUCCESS) break;
        if (offhook::admit(int(*accepted), *static_cast<pj_sockaddr *>(address))) return PJ_SUCCESS;
        close(int(*accepted));
    }
    *accepted = PJ_INVALID_SOCKET;
    return PJ_STATUS_FROM_OS(EWOULDBLOCK);
}
