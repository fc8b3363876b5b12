#include "source_table.hpp"

#include <algorithm>
#include <cstring>
#include <random>

namespace offhook {

namespace {

void key_of(const pj_sockaddr &address, unsigned char *key) {
    std::memset(key, 0, 16);
    const unsigned char *bytes = static_cast<const unsigned char *>(pj_sockaddr_get_addr(&address));
    if (address.addr.sa_family == pj_AF_INET()) {
        key[0] = 1; // no IPv6 network of the Internet begins so
        std::memcpy(key + 8, bytes, 4);
    } else {
        std::memcpy(key, bytes, 8);
    }
}

} // namespace

bool Bucket::take(double rate_per_s, double burst, int64_t now_ns) {
    tokens = at_ns == 0 ? burst : std::min(burst, tokens + rate_per_s * double(now_ns - at_ns) * 1e-9);
    at_ns = now_ns;
    if (tokens < 1) return false;
    tokens -= 1;
    return true;
}

bool sameHost(const pj_sockaddr &a, const pj_sockaddr &b) {
    return a.addr.sa_family == b.addr.sa_family &&
           std::memcmp(pj_sockaddr_get_addr(&a), pj_sockaddr_get_addr(&b), pj_sockaddr_get_addr_len(&a)) == 0;
}

SourceTable::SourceTable() : sources_(), hash_key_(0) {}

void SourceTable::clear() {
    sources_.assign(size_t(ROWS) * WAYS, Source());
    std::random_device chance;
    hash_key_ = (uint64_t(chance()) << 32 | chance()) | 1;
}

size_t SourceTable::rowOf(const unsigned char *key) const {
    uint64_t halves[2];
    std::memcpy(halves, key, 16);
    uint64_t mixed = hash_key_;
    for (uint64_t half : halves) {
        mixed ^= half;
        mixed *= 0x9E3779B97F4A7C15ull; // the golden ratio's fraction, odd: a multiplicative hash
        mixed ^= mixed >> 29;
        mixed *= hash_key_;
        mixed ^= mixed >> 32;
    }
    return size_t(mixed % ROWS) * WAYS;
}

Source &SourceTable::of(const pj_sockaddr &address, int64_t now_ns) {
    unsigned char key[16];
    key_of(address, key);
    Source *row = &sources_[rowOf(key)], *worst = row;
    for (Source *one = row; one < row + WAYS; ++one) {
        if (one->is_used && std::memcmp(one->address, key, 16) == 0) {
            one->heard_ns = now_ns;
            return *one;
        }
        bool is_worse = !one->is_used || std::make_pair(one->banned_until_ns > now_ns, one->heard_ns) <
                                             std::make_pair(worst->banned_until_ns > now_ns, worst->heard_ns);
        if (worst->is_used && is_worse) worst = one;
    }
    *worst = Source();
    std::memcpy(worst->address, key, 16);
    worst->is_used = true;
    worst->heard_ns = now_ns;
    return *worst;
}

bool SourceTable::isBanned(const pj_sockaddr &address, int64_t now_ns) const {
    unsigned char key[16];
    key_of(address, key);
    const Source *row = &sources_[rowOf(key)];
    for (const Source *one = row; one < row + WAYS; ++one)
        if (one->is_used && one->banned_until_ns > now_ns && std::memcmp(one->address, key, 16) == 0) return true;
    return false;
}

long SourceTable::numBanned(int64_t now_ns) const {
    return std::count_if(sources_.begin(), sources_.end(),
                         [now_ns](const Source &one) { return one.is_used && one.banned_until_ns > now_ns; });
}

} // namespace offhook
