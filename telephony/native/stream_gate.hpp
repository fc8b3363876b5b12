// Connections to the SIP port: how many a source may have, and how long it may say nothing whole. SIP thread only.
//
// The connections are PJSIP's. We note each as it is accepted (TCP and TLS alike, before any handshake), and end one
// by shutting its socket down: PJSIP then finds it closed and tidies up itself.
#ifndef OFFHOOK_STREAM_GATE_HPP
#define OFFHOOK_STREAM_GATE_HPP

#include <cstdint>

#include <pjlib.h>

namespace offhook {

struct StreamLimits {
    int connections, connections_per_source;
    int64_t message_ns; // a connection's first message, and the rest of any, must be here by then
};

typedef bool (*AcceptsFrom)(const pj_sockaddr &source);

void openStreamGate(const StreamLimits &limits, AcceptsFrom accepts);
void noteMessage(const pj_sockaddr &peer);                    // a whole SIP message came
void noteRest(const pj_sockaddr &peer, bool is_incomplete);   // a message's beginning is, or is not, waiting
void endStream(const pj_sockaddr &peer);
void endStreamsOf(const pj_sockaddr &source);                 // of this host, whatever their ports
void sweepStreams();                                          // once a second
long numStreams();
long numStreamsRefused(); // over a limit, at once
long numStreamsTimedOut();

} // namespace offhook
#endif
