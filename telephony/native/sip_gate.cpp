#include "sip_gate.hpp"

#include <atomic>
#include <cstring>
#include <deque>
#include <stdexcept>

#include <pjsua-lib/pjsua.h>

#include "monotonic.hpp"
#include "port_rest.hpp"
#include "rtp_lock.hpp"
#include "source_kinds.hpp"
#include "source_table.hpp"
#include "stream_gate.hpp"

extern "C" {
// The linker gives every call of pjsip_tpmgr_receive_packet to us (setup.py.in, --wrap).
pj_ssize_t __real_pjsip_tpmgr_receive_packet(pjsip_tpmgr *tpmgr, pjsip_rx_data *rdata);
pj_ssize_t __wrap_pjsip_tpmgr_receive_packet(pjsip_tpmgr *tpmgr, pjsip_rx_data *rdata);
}

namespace offhook {

GateLimits::GateLimits() { std::memset(this, 0, sizeof *this); }

GateCounts::GateCounts() { std::memset(this, 0, sizeof *this); }

namespace {

constexpr size_t BANS_KEPT = 64; // for whoever writes the log

GateLimits limits;
SourceTable table;
Bucket all_open = {};
std::deque<std::string> new_bans;
const pj_sockaddr *source_now = nullptr;
Kind kind_now = Kind::STRANGER;
bool is_stream_now = false;
std::atomic<bool> is_full_now(false), is_draining_now(false);
std::atomic<int> retry_after_now(5);
std::atomic<long> foreign(0), banned(0), oversize(0), malformed(0), unwanted(0), rate_limited(0), refused_full(0), bans(0),
    banned_now(0);

void strike_source(const pj_sockaddr &address) {
    int64_t now_ns = monotonic_ns();
    Source &source = table.of(address, now_ns);
    if (now_ns - source.strikes_from_ns > limits.strike_window_s * SECOND_NS) {
        source.strikes = 0;
        source.strikes_from_ns = now_ns;
    }
    if (++source.strikes < limits.strikes || source.banned_until_ns > now_ns) return;
    source.banned_until_ns = now_ns + limits.ban_s * SECOND_NS;
    source.strikes = 0;
    bans.fetch_add(1);
    char text[PJ_INET6_ADDRSTRLEN + 10];
    if (new_bans.size() < BANS_KEPT) new_bans.push_back(pj_sockaddr_print(&address, text, sizeof text, 0));
    endStreamsOf(address);
}

void strike_now() {
    if (kind_now == Kind::OPEN) strike_source(*source_now);
}

bool accepts_stream(const pj_sockaddr &source) {
    Kind kind = kindOf(source);
    if (kind == Kind::STRANGER) foreign.fetch_add(1);
    else if (kind == Kind::OPEN && table.isBanned(source, monotonic_ns())) banned.fetch_add(1);
    else return true;
    return false;
}

// Lines until the empty one; at the limit it stops counting.
bool has_too_many_headers(const char *packet, size_t size) {
    int lines = 0;
    for (size_t at = 0; at < size;) {
        const void *end = std::memchr(packet + at, '\n', size - at);
        if (end == nullptr) break;
        size_t length = size_t(static_cast<const char *>(end) - packet) - at;
        bool is_empty = length == 0 || (length == 1 && packet[at] == '\r');
        if (is_empty && lines > 0) break; // empty ones before the message keep NAT open
        if (!is_empty && ++lines > limits.max_headers + 1) return true;
        at += length + 1;
    }
    return false;
}

// Before anything is parsed.
bool may_enter(pjsip_rx_data *rdata) {
    if (kind_now == Kind::STRANGER) {
        foreign.fetch_add(1);
        return false;
    }
    if (kind_now == Kind::OPEN && table.isBanned(*source_now, monotonic_ns())) {
        banned.fetch_add(1);
        return false;
    }
    bool is_too_big = rdata->pkt_info.len >= limits.max_message_bytes ||
                      (!is_stream_now && has_too_many_headers(rdata->pkt_info.packet, size_t(rdata->pkt_info.len)));
    if (!is_too_big) return true;
    oversize.fetch_add(1);
    strike_now();
    if (is_stream_now) endStream(*source_now); // where its next message begins cannot be known
    return false;
}

void refuse(pjsip_rx_data *rdata) {
    pj_str_t name = pj_str(const_cast<char *>("Retry-After"));
    pj_str_t value = pj_str(const_cast<char *>(""));
    std::string seconds = std::to_string(retry_after_now.load());
    pj_strdup2(rdata->tp_info.pool, &value, seconds.c_str());
    pjsip_generic_string_hdr *header = pjsip_generic_string_hdr_create(rdata->tp_info.pool, &name, &value);
    pjsip_hdr list;
    pj_list_init(&list);
    pj_list_push_back(&list, reinterpret_cast<pjsip_hdr *>(header));
    pjsip_endpt_respond_stateless(pjsua_get_pjsip_endpt(), rdata, PJSIP_SC_SERVICE_UNAVAILABLE, nullptr, &list, nullptr);
    refused_full.fetch_add(1);
}

bool has_transaction(pjsip_rx_data *rdata) {
    const pjsip_method *method = &rdata->msg_info.msg->line.req.method;
    if (method->id == PJSIP_CANCEL_METHOD) method = pjsip_get_invite_method();
    pj_str_t key;
    if (pjsip_tsx_create_key(rdata->tp_info.pool, &key, PJSIP_ROLE_UAS, method, rdata) != PJ_SUCCESS) return false;
    pjsip_transaction *transaction = pjsip_tsx_layer_find_tsx2(&key, PJ_TRUE);
    if (transaction == nullptr) return false;
    pj_grp_lock_dec_ref(transaction->grp_lock);
    return true;
}

bool has_dialog(pjsip_rx_data *rdata) {
    return pjsip_ua_find_dialog(&rdata->msg_info.cid->id, &rdata->msg_info.to->tag, &rdata->msg_info.from->tag, PJ_FALSE) !=
           nullptr;
}

// What an open source may be answered: a call, and what belongs to one. The rest would tell a scanner that we are here.
// A host that we have asked knows it; but it calls us only if it is in one of the lists.
bool is_wanted(pjsip_rx_data *rdata, bool is_new) {
    if (kind_now == Kind::PEER) return true;
    pjsip_method_e method = rdata->msg_info.msg->line.req.method.id;
    bool is_call = method == PJSIP_INVITE_METHOD && is_new;
    if (kind_now == Kind::ASKED) return !is_call || isOpen(*source_now);
    if (is_call) return true;
    return has_transaction(rdata) || method == PJSIP_ACK_METHOD || (!is_new && has_dialog(rdata));
}

bool has_allowance(pjsip_rx_data *rdata) {
    if (has_transaction(rdata)) return true; // it repeats itself: the transaction answers
    int64_t now_ns = monotonic_ns();
    Source &source = table.of(*source_now, now_ns);
    bool is_open = kind_now == Kind::OPEN;
    bool has_own = is_open ? source.requests.take(limits.open_requests_per_s, limits.open_burst, now_ns)
                           : source.requests.take(limits.peer_requests_per_s, limits.peer_burst, now_ns);
    if (has_own && (!is_open || all_open.take(limits.open_total_per_s, limits.open_total_per_s, now_ns))) return true;
    rate_limited.fetch_add(1);
    if (is_open) {
        if (!has_own && now_ns - source.rate_strike_ns > SECOND_NS) {
            source.rate_strike_ns = now_ns;
            strike_now();
        }
    } else if (source.refusals.take(limits.peer_requests_per_s, limits.peer_burst, now_ns)) {
        refuse(rdata); // beyond that, silence: an answer costs more than it is worth
    }
    return false;
}

// Two values where only one can be meant, or a body that is shorter than announced: whoever reads it next may read
// another message than we did.
bool is_ambiguous(pjsip_rx_data *rdata) {
    const pjsip_msg *msg = rdata->msg_info.msg;
    int counts[6] = {0, 0, 0, 0, 0, 0};
    for (const pjsip_hdr *header = msg->hdr.next; header != &msg->hdr; header = header->next) {
        int place = header->type == PJSIP_H_FROM             ? 0
                    : header->type == PJSIP_H_TO             ? 1
                    : header->type == PJSIP_H_CALL_ID        ? 2
                    : header->type == PJSIP_H_CSEQ           ? 3
                    : header->type == PJSIP_H_MAX_FORWARDS   ? 4
                    : header->type == PJSIP_H_CONTENT_LENGTH ? 5
                                                             : -1;
        if (place >= 0 && ++counts[place] > 1) return true;
    }
    if (is_stream_now || rdata->msg_info.clen == nullptr) return false;
    const char *end = rdata->msg_info.msg_buf + rdata->msg_info.len;
    const char *body = static_cast<const char *>(memmem(rdata->msg_info.msg_buf, size_t(rdata->msg_info.len), "\r\n\r\n", 4));
    return rdata->msg_info.clen->len > (body != nullptr ? end - body - 4 : 0);
}

pj_bool_t on_request(pjsip_rx_data *rdata) {
    if (source_now == nullptr) return PJ_FALSE; // ours to ourselves, never seen on the network
    if (is_stream_now) noteMessage(*source_now);
    if (is_ambiguous(rdata)) {
        malformed.fetch_add(1);
        strike_now();
        if (kind_now == Kind::PEER && rdata->msg_info.msg->line.req.method.id != PJSIP_ACK_METHOD)
            pjsip_endpt_respond_stateless(pjsua_get_pjsip_endpt(), rdata, PJSIP_SC_BAD_REQUEST, nullptr, nullptr, nullptr);
        return PJ_TRUE;
    }
    if (is_stream_now && int(pj_list_size(&rdata->msg_info.msg->hdr)) > limits.max_headers) {
        oversize.fetch_add(1);
        strike_now();
        return PJ_TRUE;
    }
    pjsip_method_e method = rdata->msg_info.msg->line.req.method.id;
    bool is_new = rdata->msg_info.to->tag.slen == 0;
    if (!is_wanted(rdata, is_new)) {
        unwanted.fetch_add(1);
        strike_now();
        return PJ_TRUE;
    }
    if (!is_new || method == PJSIP_ACK_METHOD || method == PJSIP_CANCEL_METHOD) return PJ_FALSE;
    if (!has_allowance(rdata)) return PJ_TRUE;
    bool is_call = method == PJSIP_INVITE_METHOD, is_probe = method == PJSIP_OPTIONS_METHOD;
    bool is_refused = is_draining_now.load() || (is_probe && is_full_now.load()) || ((is_call || is_probe) && !portsLeft());
    if (!is_refused || has_transaction(rdata)) return PJ_FALSE;
    refuse(rdata);
    return PJ_TRUE;
}

pj_bool_t on_response(pjsip_rx_data *) {
    if (source_now != nullptr && is_stream_now) noteMessage(*source_now);
    return PJ_FALSE;
}

// Where we begin something, answers and what follows from them are wanted. A request within a call proves nothing: the
// far end chose where it goes.
pj_status_t on_sent(pjsip_tx_data *tdata) {
    const pjsip_msg *msg = tdata->msg;
    if (msg->type != PJSIP_REQUEST_MSG) return PJ_SUCCESS;
    pjsip_method_e method = msg->line.req.method.id;
    if (method != PJSIP_REGISTER_METHOD && method != PJSIP_INVITE_METHOD) return PJ_SUCCESS;
    const pjsip_to_hdr *to = static_cast<const pjsip_to_hdr *>(pjsip_msg_find_hdr(msg, PJSIP_H_TO, nullptr));
    if (to != nullptr && to->tag.slen == 0) noteAsked(tdata->tp_info.dst_addr);
    return PJ_SUCCESS;
}

void on_dropped(pjsip_tp_dropped_data *dropped) {
    if (dropped->status == PJ_SUCCESS || dropped->status == PJ_EIGNORED) return;
    malformed.fetch_add(1);
    if (source_now != nullptr) strike_now();
}

pjsip_module gate;
bool is_open = false;

} // namespace

void openGate(const std::vector<std::string> &peers, const std::vector<std::string> &open, const GateLimits &given) {
    setNetworks(peers, open);
    limits = given;
    table.clear();
    all_open = Bucket();
    forgetAsked();
    new_bans.clear();
    foreign = banned = oversize = malformed = unwanted = rate_limited = refused_full = bans = banned_now = 0;
    is_full_now = is_draining_now = false;
    StreamLimits streams = {limits.max_connections, limits.max_connections_per_source, limits.message_timeout_s * SECOND_NS};
    openStreamGate(streams, &accepts_stream);
    openRtpLocks(limits.rtp_learn_ms);
    openPortRest(limits.rtp_port_pairs, limits.rtp_port_rest_s);
    std::memset(&gate, 0, sizeof gate);
    gate.name = pj_str(const_cast<char *>("mod-offhook-gate"));
    gate.id = -1;
    gate.priority = PJSIP_MOD_PRIORITY_TRANSPORT_LAYER + 1;
    gate.on_rx_request = &on_request;
    gate.on_rx_response = &on_response;
    gate.on_tx_request = &on_sent;
    if (pjsip_endpt_register_module(pjsua_get_pjsip_endpt(), &gate) != PJ_SUCCESS)
        throw std::runtime_error("the SIP gate could not be put in place");
    pjsip_tpmgr_set_drop_data_cb(pjsip_endpt_get_tpmgr(pjsua_get_pjsip_endpt()), &on_dropped);
    is_open = true;
}

void setFull(bool is_full, int retry_after_s) {
    retry_after_now = retry_after_s;
    is_full_now = is_full;
}

void setDraining(bool is_draining) { is_draining_now = is_draining; }

void strike(const std::string &address) {
    pj_sockaddr source;
    pj_str_t text = pj_str(const_cast<char *>(address.c_str()));
    if (pj_sockaddr_parse(pj_AF_UNSPEC(), 0, &text, &source) != PJ_SUCCESS)
        throw std::invalid_argument("not an address: " + address);
    if (kindOf(source) == Kind::OPEN) strike_source(source);
}

void sweepGate() {
    sweepStreams();
    banned_now = table.numBanned(monotonic_ns());
}

std::string takeBan() {
    if (new_bans.empty()) return "";
    std::string address = new_bans.front();
    new_bans.pop_front();
    return address;
}

void setLogLevel(int level) { pj_log_set_level(level); }

GateCounts gateCounts() {
    GateCounts counts;
    counts.foreign = foreign;
    counts.banned = banned;
    counts.oversize = oversize;
    counts.malformed = malformed;
    counts.unwanted = unwanted;
    counts.rate_limited = rate_limited;
    counts.refused_full = refused_full;
    counts.bans = bans;
    counts.banned_now = banned_now;
    counts.connections = numStreams();
    counts.connections_refused = numStreamsRefused();
    counts.connections_timed_out = numStreamsTimedOut();
    counts.foreign_rtp_packets = foreignRtpPacketsOfAll();
    counts.ports_resting = numPortsResting();
    return counts;
}

const pj_sockaddr *sipSource() { return source_now; }

} // namespace offhook

pj_ssize_t __wrap_pjsip_tpmgr_receive_packet(pjsip_tpmgr *tpmgr, pjsip_rx_data *rdata) {
    using namespace offhook;
    if (!is_open) return rdata->pkt_info.len; // nobody is meant to be heard yet
    pj_sockaddr source; // by copy: what it points to may go with its connection
    pj_sockaddr_cp(&source, &rdata->pkt_info.src_addr);
    source_now = &source;
    kind_now = kindOf(source);
    is_stream_now = (rdata->tp_info.transport->flag & PJSIP_TRANSPORT_DATAGRAM) == 0;
    pj_ssize_t size = rdata->pkt_info.len, used = size;
    if (may_enter(rdata)) {
        used = __real_pjsip_tpmgr_receive_packet(tpmgr, rdata);
        if (is_stream_now) noteRest(source, used < size);
    }
    source_now = nullptr;
    return used;
}
