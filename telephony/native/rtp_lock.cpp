#include "rtp_lock.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>

#include <pjsua-lib/pjsua.h>
#include <pjsua-lib/pjsua_internal.h>

#include "monotonic.hpp"
#include "port_rest.hpp"
#include "sip_gate.hpp"
#include "source_kinds.hpp"
#include "source_table.hpp"

extern "C" {
// The linker gives every call of pjmedia_transport_udp_attach to us (setup.py.in, --wrap).
pj_status_t __real_pjmedia_transport_udp_attach(pjmedia_endpt *endpoint, const char *name, const pjmedia_sock_info *sockets,
                                                unsigned options, pjmedia_transport **transport);
pj_status_t __wrap_pjmedia_transport_udp_attach(pjmedia_endpt *endpoint, const char *name, const pjmedia_sock_info *sockets,
                                                unsigned options, pjmedia_transport **transport);
}

namespace offhook {

namespace {

constexpr int RUN_PACKETS = 5;                   // 100 ms
constexpr int64_t SILENCE_NS = SECOND_NS / 2;    // then another SSRC, or a better source, may take over
constexpr int64_t RUN_GAP_NS = SECOND_NS / 2;    // a run that pauses for longer begins anew
constexpr unsigned RTP_HEADER_BYTES = 12;

// RFC 1918, RFC 6598, link-local; RFC 4193 and link-local of IPv6.
bool is_private(const pj_sockaddr &address) {
    const unsigned char *b = static_cast<const unsigned char *>(pj_sockaddr_get_addr(&address));
    if (address.addr.sa_family == pj_AF_INET())
        return b[0] == 10 || (b[0] == 172 && (b[1] & 0xF0) == 16) || (b[0] == 192 && b[1] == 168) ||
               (b[0] == 169 && b[1] == 254) || (b[0] == 100 && (b[1] & 0xC0) == 64);
    return (b[0] & 0xFE) == 0xFC || (b[0] == 0xFE && (b[1] & 0xC0) == 0x80);
}

} // namespace

RtpLock::RtpLock(bool (*is_peer)(const pj_sockaddr &source))
    : is_peer_(is_peer), signalled_(), sip_host_(), locked_(), has_signalled_(false), has_sip_host_(false), is_locked_(false),
      is_private_(false), locked_rank_(Rank::STRANGER), learn_ns_(0), learn_until_ns_(0), ssrc_(0), heard_ns_(0),
      candidates_(), ssrc_candidate_() {}

void RtpLock::expect(const pj_sockaddr *signalled, const pj_sockaddr *sip_host, int64_t learn_ns, int64_t now_ns) {
    has_signalled_ = signalled != nullptr && pj_sockaddr_has_addr(signalled);
    if (has_signalled_) pj_sockaddr_cp(&signalled_, signalled);
    is_private_ = has_signalled_ && is_private(signalled_);
    if (sip_host != nullptr) {
        has_sip_host_ = true;
        pj_sockaddr_cp(&sip_host_, sip_host);
    }
    learn_ns_ = learn_ns;
    learn_until_ns_ = 0; // it begins with the first packet that is heard
    if (is_locked_) locked_rank_ = rankOf(locked_);
    ssrc_ = 0;
    heard_ns_ = 0;
    std::fill(candidates_, candidates_ + CANDIDATES, Candidate());
    ssrc_candidate_ = Candidate();
}

Rank RtpLock::rankOf(const pj_sockaddr &source) const {
    if (!has_signalled_) return Rank::STRANGER;
    if (pj_sockaddr_cmp(&source, &signalled_) == 0) return Rank::SIGNALLED;
    if (sameHost(source, signalled_)) return Rank::SIGNALLED_HOST;
    if (has_sip_host_ && sameHost(source, sip_host_)) return Rank::SIP_HOST;
    if (is_peer_(source)) return Rank::PEER;
    return is_private_ && !is_private(source) ? Rank::BEHIND_NAT : Rank::STRANGER;
}

// The source's place; a new one gets that of the lowest rank, and of these the one silent for longest.
RtpLock::Candidate &RtpLock::candidateOf(const pj_sockaddr &source, Rank rank) {
    Candidate *worst = candidates_;
    for (Candidate &one : candidates_) {
        if (one.run > 0 && pj_sockaddr_cmp(&one.source, &source) == 0) return one;
        if (std::make_pair(one.rank, one.at_ns) < std::make_pair(worst->rank, worst->at_ns)) worst = &one;
    }
    *worst = Candidate();
    pj_sockaddr_cp(&worst->source, &source);
    worst->rank = rank;
    return *worst;
}

bool RtpLock::hasRun(Candidate &candidate, uint32_t ssrc, uint16_t sequence, int64_t now_ns) {
    bool goes_on = candidate.run > 0 && candidate.ssrc == ssrc && uint16_t(candidate.sequence + 1) == sequence &&
                   now_ns - candidate.at_ns < RUN_GAP_NS;
    candidate.run = goes_on ? candidate.run + 1 : 1;
    candidate.ssrc = ssrc;
    candidate.sequence = sequence;
    candidate.at_ns = now_ns;
    return candidate.run >= RUN_PACKETS;
}

bool RtpLock::admitSsrc(uint32_t ssrc, uint16_t sequence, int64_t now_ns) {
    bool is_first = heard_ns_ == 0;
    if (!is_first && ssrc != ssrc_) {
        // A forger can send from the caller's address, not silence the caller.
        bool has_run = hasRun(ssrc_candidate_, ssrc, sequence, now_ns);
        if (!has_run || now_ns - heard_ns_ < SILENCE_NS) return false;
    }
    if (is_first) learn_until_ns_ = now_ns + learn_ns_;
    ssrc_ = ssrc;
    heard_ns_ = now_ns;
    return true;
}

bool RtpLock::mayMove(const pj_sockaddr &source, Rank rank, uint32_t ssrc, uint16_t sequence, int64_t now_ns) {
    if (rank == Rank::STRANGER || (is_locked_ && rank <= locked_rank_)) return false;
    bool is_learning = !is_locked_ || heard_ns_ == 0 || now_ns < learn_until_ns_;
    if (rank == Rank::SIGNALLED && is_learning) return true;
    bool has_run = hasRun(candidateOf(source, rank), ssrc, sequence, now_ns);
    bool is_silent = now_ns - heard_ns_ > SILENCE_NS;
    return has_run && (is_learning || is_silent || locked_rank_ <= Rank::PEER);
}

bool RtpLock::admit(const pj_sockaddr &source, const unsigned char *packet, unsigned size, int64_t now_ns, bool &moved) {
    moved = false;
    bool is_locked_source = is_locked_ && pj_sockaddr_cmp(&source, &locked_) == 0;
    Rank rank = rankOf(source);
    if (size < RTP_HEADER_BYTES || (packet[0] & 0xC0) != 0x80) {
        // DTLS and STUN: their own proofs say who speaks, once it can be the other side at all.
        return is_locked_source || (!is_locked_ && (!has_signalled_ || rank != Rank::STRANGER));
    }
    uint16_t sequence = uint16_t(packet[2] << 8 | packet[3]);
    uint32_t ssrc = uint32_t(packet[8]) << 24 | uint32_t(packet[9]) << 16 | uint32_t(packet[10]) << 8 | packet[11];
    if (is_locked_source) return admitSsrc(ssrc, sequence, now_ns);
    if (!mayMove(source, rank, ssrc, sequence, now_ns)) return false;
    if (!is_locked_ || heard_ns_ == 0) learn_until_ns_ = now_ns + learn_ns_;
    pj_sockaddr_cp(&locked_, &source);
    is_locked_ = moved = true;
    locked_rank_ = rank;
    ssrc_ = ssrc;
    heard_ns_ = now_ns;
    return true;
}

bool RtpLock::admitControl(const pj_sockaddr &source) const {
    if (is_locked_) return sameHost(source, locked_);
    return has_signalled_ && sameHost(source, signalled_);
}

namespace {

std::atomic<int> learn_ms_now(500);
std::atomic<long> foreign_of_all(0);

// One UDP transport's operations with ours in between, and what ours need. PJSIP's group lock frees it.
struct LockedTransport {
    LockedTransport() : op(), lock(&isPeer) {}
    pjmedia_transport_op op; // first: `transport->op` points here
    const pjmedia_transport_op *real = nullptr;
    pjmedia_transport *transport = nullptr;
    unsigned short rtp_port = 0;
    std::mutex mutex; // SIP thread and media threads
    RtpLock lock;
    pj_sockaddr sip_host = {};
    bool has_sip_host = false;
    std::atomic<long> foreign{0};
    void *user_data = nullptr;
    void (*rtp_cb)(void *, void *, pj_ssize_t) = nullptr;
    void (*rtp_cb2)(pjmedia_tp_cb_param *) = nullptr;
    void (*rtcp_cb)(void *, void *, pj_ssize_t) = nullptr;
};

void count_foreign(LockedTransport *self) {
    self->foreign.fetch_add(1, std::memory_order_relaxed);
    foreign_of_all.fetch_add(1, std::memory_order_relaxed);
}

void on_rtp(pjmedia_tp_cb_param *param) {
    LockedTransport *self = static_cast<LockedTransport *>(param->user_data);
    void *user_data;
    void (*rtp_cb)(void *, void *, pj_ssize_t);
    void (*rtp_cb2)(pjmedia_tp_cb_param *);
    bool moved = false, is_heard = true;
    {
        std::lock_guard<std::mutex> guard(self->mutex);
        if (param->size > 0 && param->src_addr != nullptr)
            is_heard = self->lock.admit(*param->src_addr, static_cast<const unsigned char *>(param->pkt),
                                        unsigned(param->size), monotonic_ns(), moved);
        user_data = self->user_data;
        rtp_cb = self->rtp_cb;
        rtp_cb2 = self->rtp_cb2;
    }
    if (!is_heard) {
        count_foreign(self);
        return;
    }
    if (rtp_cb2 != nullptr) {
        pjmedia_tp_cb_param up = *param;
        up.user_data = user_data;
        up.src_addr = nullptr; // the stream has a source lock of its own, which would not know of ours
        up.rem_switch = PJ_FALSE;
        (*rtp_cb2)(&up);
    } else if (rtp_cb != nullptr) {
        (*rtp_cb)(user_data, param->pkt, param->size);
    }
    param->rem_switch = moved; // our own packets follow
}

void on_rtcp(void *user_data, void *packet, pj_ssize_t size) {
    LockedTransport *self = static_cast<LockedTransport *>(user_data);
    pjmedia_transport_info info;
    pjmedia_transport_info_init(&info);
    self->real->get_info(self->transport, &info);
    bool is_heard = true;
    {
        std::lock_guard<std::mutex> guard(self->mutex);
        if (size > 0) is_heard = self->lock.admitControl(info.src_rtcp_name);
        user_data = self->user_data;
    }
    if (!is_heard) count_foreign(self);
    else if (self->rtcp_cb != nullptr) (*self->rtcp_cb)(user_data, packet, size);
}

pj_status_t attach(pjmedia_transport *transport, pjmedia_transport_attach_param *param) {
    LockedTransport *self = reinterpret_cast<LockedTransport *>(transport->op);
    pjmedia_transport_attach_param ours = *param;
    {
        std::lock_guard<std::mutex> guard(self->mutex);
        if (const pj_sockaddr *source = sipSource()) {
            pj_sockaddr_cp(&self->sip_host, source);
            self->has_sip_host = true;
        }
        self->lock.expect(&param->rem_addr, self->has_sip_host ? &self->sip_host : nullptr,
                          int64_t(learn_ms_now.load()) * (SECOND_NS / 1000), monotonic_ns());
        self->user_data = param->user_data;
        self->rtp_cb = param->rtp_cb;
        self->rtp_cb2 = param->rtp_cb2;
        self->rtcp_cb = param->rtcp_cb;
    }
    ours.user_data = self;
    ours.rtp_cb = nullptr;
    ours.rtp_cb2 = &on_rtp;
    ours.rtcp_cb = &on_rtcp;
    return self->real->attach2(transport, &ours);
}

void detach(pjmedia_transport *transport, void *) {
    LockedTransport *self = reinterpret_cast<LockedTransport *>(transport->op);
    self->real->detach(transport, self); // waits for callbacks
    std::lock_guard<std::mutex> guard(self->mutex);
    self->user_data = nullptr;
    self->rtp_cb = nullptr;
    self->rtp_cb2 = nullptr;
    self->rtcp_cb = nullptr;
}

pj_status_t destroy(pjmedia_transport *transport) {
    LockedTransport *self = reinterpret_cast<LockedTransport *>(transport->op);
    return self->real->destroy(transport); // `self` may be gone
}

void on_gone(void *member) {
    LockedTransport *self = static_cast<LockedTransport *>(member);
    portsReleased(self->rtp_port);
    delete self;
}

} // namespace

void openRtpLocks(int learn_ms) {
    learn_ms_now = learn_ms;
    foreign_of_all = 0;
}

long foreignRtpPackets(int call_id) {
    long foreign = 0;
    PJSUA_LOCK();
    const pjsua_call &call = pjsua_var.calls[call_id];
    for (unsigned i = 0; i < call.med_cnt; ++i) {
        const pjmedia_transport *transport = call.media[i].tp_orig;
        if (call.media[i].type == PJMEDIA_TYPE_AUDIO && transport != nullptr && transport->op->attach2 == &attach)
            foreign += reinterpret_cast<const LockedTransport *>(transport->op)->foreign.load();
    }
    PJSUA_UNLOCK();
    return foreign;
}

long foreignRtpPacketsOfAll() { return foreign_of_all.load(); }

} // namespace offhook

pj_status_t __wrap_pjmedia_transport_udp_attach(pjmedia_endpt *endpoint, const char *name, const pjmedia_sock_info *sockets,
                                                unsigned options, pjmedia_transport **transport) {
    using namespace offhook;
    pj_status_t status = __real_pjmedia_transport_udp_attach(endpoint, name, sockets, options, transport);
    if (status != PJ_SUCCESS) return status;
    LockedTransport *self = new (std::nothrow) LockedTransport();
    pjmedia_transport *made = *transport;
    if (self == nullptr) {
        pjmedia_transport_close(made);
        *transport = nullptr;
        return PJ_ENOMEM;
    }
    self->real = made->op;
    self->op = *made->op;
    self->op.attach2 = &attach;
    self->op.detach = &detach;
    self->op.destroy = &destroy;
    self->transport = made;
    pj_sockaddr bound; // `sockets` tells what is published, behind NAT another port
    int length = sizeof bound;
    if (pj_sock_getsockname(sockets->rtp_sock, &bound, &length) == PJ_SUCCESS) self->rtp_port = pj_sockaddr_get_port(&bound);
    if (const pj_sockaddr *source = sipSource()) {
        pj_sockaddr_cp(&self->sip_host, source);
        self->has_sip_host = true;
    }
    portsTaken(self->rtp_port);
    pj_grp_lock_add_handler(made->grp_lock, nullptr, self, &on_gone);
    made->op = &self->op;
    return PJ_SUCCESS;
}
