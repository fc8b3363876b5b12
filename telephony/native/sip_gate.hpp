// Who may speak SIP to us, how much, and what a probe is told while every line is taken. SIP thread only, but for the
// counts.
//
// Four kinds of sources. Peers are listed by the operator: they are answered, and never banned, for over UDP anybody
// can forge their address and would have us cut them off. Hosts that we have registered at or called ourselves are
// answered likewise, but do not call us. Open networks may call, too, but who they are is not known: they are given
// less, told nothing but what a call needs, and banned after some strikes. All others are strangers: not parsed, not
// answered.
#ifndef OFFHOOK_SIP_GATE_HPP
#define OFFHOOK_SIP_GATE_HPP

#include <string>
#include <vector>

#include <pjlib.h>

namespace offhook {

struct GateLimits {
    GateLimits();
    int max_message_bytes, max_headers;
    double peer_requests_per_s, peer_burst; // new requests (outside a dialog) of one source
    double open_requests_per_s, open_burst;
    double open_total_per_s;                // of all open sources together
    int strikes, strike_window_s, ban_s;
    int max_connections, max_connections_per_source, message_timeout_s;
    int rtp_learn_ms, rtp_port_pairs, rtp_port_rest_s;
};

struct GateCounts {
    GateCounts();
    long foreign, banned, oversize, malformed, unwanted, rate_limited, refused_full; // messages, by what became of them
    long bans, banned_now;
    long connections, connections_refused, connections_timed_out;
    long foreign_rtp_packets, ports_resting;
};

// Let `peers` and `open` ("192.0.2.0/24") in, and nobody else. Once per library life, after libInit and before the
// first transport. Throws std::invalid_argument for a text that is no network.
void openGate(const std::vector<std::string> &peers, const std::vector<std::string> &open, const GateLimits &limits);

// While full, an OPTIONS outside a dialog is answered 503 with Retry-After instead of 200.
void setFull(bool is_full, int retry_after_s);

// While draining, every new request is: calls that are there go on.
void setDraining(bool is_draining);

// A strike against the source ("192.0.2.7"), for what only those above can see, like a wrong password.
void strike(const std::string &address);

void sweepGate(); // once a second: connections that say nothing

// The address of a source that has been banned, once for each ban; "" if there is no other.
std::string takeBan();

// PJSIP prints to standard output until it has been configured; 0 keeps it quiet. Before libCreate.
void setLogLevel(int level);

GateCounts gateCounts(); // any thread

// Where the SIP message that is being handled came from; null outside of that.
const pj_sockaddr *sipSource();

} // namespace offhook
#endif
