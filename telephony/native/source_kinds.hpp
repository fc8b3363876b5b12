// Who a SIP source is to us: by the operator's lists, and by whom we have asked ourselves. SIP thread only, but for
// `isPeer`.
#ifndef OFFHOOK_SOURCE_KINDS_HPP
#define OFFHOOK_SOURCE_KINDS_HPP

#include <string>
#include <vector>

#include <pjlib.h>

namespace offhook {

// ASKED: a host that is no peer, but that we have registered at or called ourselves.
enum class Kind { PEER, ASKED, OPEN, STRANGER };

Kind kindOf(const pj_sockaddr &source);

bool isOpen(const pj_sockaddr &source); // in the list of open networks, whatever else it is

bool isPeer(const pj_sockaddr &source); // listed as one; any thread

// Let other networks ("192.0.2.0/24") in from now on, and those that are not listed no longer; live calls of theirs
// end by timeout alone. Throws std::invalid_argument for a text that is no network, changing nothing.
void setNetworks(const std::vector<std::string> &peers, const std::vector<std::string> &open);

void noteAsked(const pj_sockaddr &host); // we begin something there: its answers are wanted

void forgetAsked();

} // namespace offhook
#endif
