// What we remember of each source address: its allowance, its strikes, its ban. SIP thread only.
//
// The table has a fixed size: a flood from forged addresses pushes out the least recently heard ones, those that
// are banned last of all, and takes no memory. Its hash is keyed by chance, so that nobody can choose addresses
// that meet in one row. An IPv6 source is its /64: whoever has one address of it has them all.
#ifndef OFFHOOK_SOURCE_TABLE_HPP
#define OFFHOOK_SOURCE_TABLE_HPP

#include <cstdint>
#include <vector>

#include <pjlib.h>

namespace offhook {

// Tokens that come back with time; the time of the last look is kept with them.
struct Bucket {
    double tokens;
    int64_t at_ns;
    bool take(double rate_per_s, double burst, int64_t now_ns);
};

struct Source {
    unsigned char address[16];
    bool is_used;
    int64_t heard_ns;
    Bucket requests, refusals;
    int strikes;
    int64_t strikes_from_ns, rate_strike_ns, banned_until_ns;
};

bool sameHost(const pj_sockaddr &a, const pj_sockaddr &b); // whatever their ports

class SourceTable {
  public:
    SourceTable();
    void clear();
    Source &of(const pj_sockaddr &address, int64_t now_ns); // found or made; valid until the next call
    bool isBanned(const pj_sockaddr &address, int64_t now_ns) const;
    long numBanned(int64_t now_ns) const;

  private:
    enum { ROWS = 2048, WAYS = 8 };
    size_t rowOf(const unsigned char *key) const;
    std::vector<Source> sources_;
    uint64_t hash_key_;
};

} // namespace offhook
#endif
