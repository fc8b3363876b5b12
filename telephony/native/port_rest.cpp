#include "port_rest.hpp"

#include <cstdint>
#include <deque>
#include <mutex>
#include <unordered_map>

#include <errno.h>

#include <pjlib.h>

#include "monotonic.hpp"

extern "C" {
// The linker gives every call of pj_sock_bind to us (setup.py.in, --wrap).
pj_status_t __real_pj_sock_bind(pj_sock_t sock, const pj_sockaddr_t *address, int length);
pj_status_t __wrap_pj_sock_bind(pj_sock_t sock, const pj_sockaddr_t *address, int length);
}

namespace offhook {

namespace {

std::mutex mutex;
int num_pairs_now = 0;
int64_t rest_ns = 0;
int num_taken = 0;
std::unordered_map<unsigned short, int64_t> resting_until; // by RTP port
std::deque<unsigned short> in_order;                       // the one that rests longest first

void wake(int64_t now_ns) {
    while (!in_order.empty()) {
        auto at = resting_until.find(in_order.front());
        if (at != resting_until.end() && at->second > now_ns) return;
        if (at != resting_until.end()) resting_until.erase(at);
        in_order.pop_front();
    }
}

bool is_resting(unsigned short port) {
    std::lock_guard<std::mutex> lock(mutex);
    wake(monotonic_ns());
    return resting_until.count(port) != 0;
}

} // namespace

void openPortRest(int num_pairs, int rest_s) {
    std::lock_guard<std::mutex> lock(mutex);
    num_pairs_now = num_pairs;
    rest_ns = rest_s * SECOND_NS;
    num_taken = 0;
    resting_until.clear();
    in_order.clear();
}

void portsTaken(unsigned short) {
    std::lock_guard<std::mutex> lock(mutex);
    ++num_taken;
}

void portsReleased(unsigned short rtp_port) {
    std::lock_guard<std::mutex> lock(mutex);
    --num_taken;
    if (rest_ns == 0) return;
    int64_t now_ns = monotonic_ns();
    wake(now_ns);
    if (resting_until.count(rtp_port) == 0) in_order.push_back(rtp_port);
    resting_until[rtp_port] = now_ns + rest_ns;
}

bool portsLeft() {
    std::lock_guard<std::mutex> lock(mutex);
    wake(monotonic_ns());
    return num_taken + int(resting_until.size()) < num_pairs_now;
}

long numPortsResting() {
    std::lock_guard<std::mutex> lock(mutex);
    wake(monotonic_ns());
    return long(resting_until.size());
}

} // namespace offhook

// PJSIP takes the next port of its range that can be bound; one that rests cannot.
pj_status_t __wrap_pj_sock_bind(pj_sock_t sock, const pj_sockaddr_t *address, int length) {
    if (offhook::is_resting(pj_sockaddr_get_port(address))) return PJ_STATUS_FROM_OS(EADDRINUSE);
    return __real_pj_sock_bind(sock, address, length);
}
