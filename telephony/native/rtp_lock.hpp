// Whose RTP a call hears: a short time of learning, then one source and one SSRC.
//
// We stand between PJSIP's UDP sockets and whatever is above them (stream or SRTP), and pass on what comes from
// the source that the call is locked to. Sources rank: the signalled address (SDP); its host at another port, as NAT
// leaves it; the host that SIP comes from, likewise; a listed peer, whose media may come from another host than it
// says; and, where the signalled address is a private one that cannot be meant, anybody. The first rank is heard at
// once and locks the call. The others must send five packets in a row, and are not heard until then. A lock yields to
// a better rank for the time of learning, and later to one that has five in a row while the locked source is silent;
// the locks of the last two ranks yield to a better one at any time.
#ifndef OFFHOOK_RTP_LOCK_HPP
#define OFFHOOK_RTP_LOCK_HPP

#include <cstdint>

#include <pjlib.h>
#include <pjmedia.h>

namespace offhook {

enum class Rank { STRANGER, BEHIND_NAT, PEER, SIP_HOST, SIGNALLED_HOST, SIGNALLED };

// The decision alone, packet by packet; no I/O. Addresses are IPv4 or IPv6 of one family.
class RtpLock {
  public:
    explicit RtpLock(bool (*is_peer)(const pj_sockaddr &source));
    // A stream begins or begins anew (re-INVITE): whom to expect. Without an address nothing is expected yet.
    void expect(const pj_sockaddr *signalled, const pj_sockaddr *sip_host, int64_t learn_ns, int64_t now_ns);
    // True if this packet may be heard; `moved` tells that the source has just been locked.
    bool admit(const pj_sockaddr &source, const unsigned char *packet, unsigned size, int64_t now_ns, bool &moved);
    bool admitControl(const pj_sockaddr &source) const; // RTCP: from the host that RTP comes from
    bool isLocked() const { return is_locked_; }

  private:
    struct Candidate {
        pj_sockaddr source;
        uint32_t ssrc;
        uint16_t sequence;
        int run; // packets in a row; 0: a free place
        int64_t at_ns;
        Rank rank;
    };
    enum { CANDIDATES = 4 };
    Rank rankOf(const pj_sockaddr &source) const;
    Candidate &candidateOf(const pj_sockaddr &source, Rank rank);
    static bool hasRun(Candidate &candidate, uint32_t ssrc, uint16_t sequence, int64_t now_ns);
    bool mayMove(const pj_sockaddr &source, Rank rank, uint32_t ssrc, uint16_t sequence, int64_t now_ns);
    bool admitSsrc(uint32_t ssrc, uint16_t sequence, int64_t now_ns);

    bool (*is_peer_)(const pj_sockaddr &source);
    pj_sockaddr signalled_, sip_host_, locked_;
    bool has_signalled_, has_sip_host_, is_locked_, is_private_;
    Rank locked_rank_;
    int64_t learn_ns_, learn_until_ns_;
    uint32_t ssrc_;
    int64_t heard_ns_; // the last packet of the locked SSRC
    Candidate candidates_[CANDIDATES], ssrc_candidate_;
};

void openRtpLocks(int learn_ms);
long foreignRtpPackets(int call_id); // refused since this call's ports were opened; SIP thread only
long foreignRtpPacketsOfAll();       // since the library began

} // namespace offhook
#endif
