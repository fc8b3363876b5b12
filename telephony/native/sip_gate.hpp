// Who may speak SIP to us, and what a probe is told while every line is taken. Runs before PJSIP spends anything.
#ifndef OFFHOOK_SIP_GATE_HPP
#define OFFHOOK_SIP_GATE_HPP

#include <string>
#include <vector>

namespace offhook {

// Drop every SIP message whose source lies in none of `cidrs` ("192.0.2.0/24"). Once per library life, after
// libInit and before the first transport. Throws std::invalid_argument for a text that is no network.
void openGate(const std::vector<std::string> &cidrs);

// Let other networks in from now on, and those that are not listed no longer; live calls of theirs end by timeout
// alone. Sip thread only. Throws as `openGate`, changing nothing.
void setPeers(const std::vector<std::string> &cidrs);

// While full, an OPTIONS outside a dialog is answered 503 with Retry-After instead of 200.
void setFull(bool is_full, int retry_after_s);

// PJSIP prints to standard output until it has been configured; 0 keeps it quiet. Before libCreate.
void setLogLevel(int level);

long gateForeign();   // messages dropped because their source is not allowed
long gateMalformed(); // datagrams and stream pieces that are no SIP

} // namespace offhook
#endif
