#include "source_kinds.hpp"

#include <algorithm>
#include <cstring>
#include <deque>
#include <mutex>
#include <stdexcept>

#include "monotonic.hpp"
#include "source_table.hpp"

namespace offhook {

namespace {

struct Network {
    int family;
    unsigned bits;
    unsigned char address[16];
};

struct Asked {
    pj_sockaddr host;
    int64_t until_ns;
};

constexpr size_t ASKED_KEPT = 256;
constexpr int64_t ASKED_NS = 24 * 3600 * SECOND_NS; // longer than a registration or a call

std::vector<Network> peer_networks, open_networks; // changed by the SIP thread, under the mutex
std::mutex networks_mutex;
std::deque<Asked> asked; // the latest first

Network parse(const std::string &cidr) {
    size_t slash = cidr.rfind('/');
    if (slash == std::string::npos) throw std::invalid_argument("not a network: " + cidr);
    std::string host = cidr.substr(0, slash);
    Network network = {};
    network.family = host.find(':') == std::string::npos ? pj_AF_INET() : pj_AF_INET6();
    pj_str_t text = pj_str(const_cast<char *>(host.c_str()));
    if (pj_inet_pton(network.family, &text, network.address) != PJ_SUCCESS)
        throw std::invalid_argument("not a network: " + cidr);
    network.bits = unsigned(std::stoul(cidr.substr(slash + 1)));
    if (network.bits > (network.family == pj_AF_INET() ? 32u : 128u))
        throw std::invalid_argument("not a network: " + cidr);
    return network;
}

std::vector<Network> parse_all(const std::vector<std::string> &cidrs) {
    std::vector<Network> networks;
    for (const std::string &cidr : cidrs) networks.push_back(parse(cidr));
    return networks;
}

bool holds(const Network &network, const pj_sockaddr &source) {
    if (source.addr.sa_family != network.family) return false;
    const unsigned char *address = static_cast<const unsigned char *>(pj_sockaddr_get_addr(&source));
    unsigned bytes = network.bits / 8, rest = network.bits % 8;
    if (std::memcmp(address, network.address, bytes) != 0) return false;
    return rest == 0 || ((address[bytes] ^ network.address[bytes]) >> (8 - rest)) == 0;
}

bool in_any(const std::vector<Network> &networks, const pj_sockaddr &source) {
    return std::any_of(networks.begin(), networks.end(), [&](const Network &network) { return holds(network, source); });
}

bool was_asked(const pj_sockaddr &source) {
    auto known = std::find_if(asked.begin(), asked.end(), [&](const Asked &one) { return sameHost(one.host, source); });
    return known != asked.end() && known->until_ns > monotonic_ns();
}

} // namespace

Kind kindOf(const pj_sockaddr &source) {
    if (in_any(peer_networks, source)) return Kind::PEER;
    if (was_asked(source)) return Kind::ASKED;
    return in_any(open_networks, source) ? Kind::OPEN : Kind::STRANGER;
}

bool isOpen(const pj_sockaddr &source) { return in_any(open_networks, source); }

void setNetworks(const std::vector<std::string> &peers, const std::vector<std::string> &open) {
    std::vector<Network> new_peers = parse_all(peers), new_open = parse_all(open);
    std::lock_guard<std::mutex> lock(networks_mutex);
    peer_networks.swap(new_peers);
    open_networks.swap(new_open);
}

bool isPeer(const pj_sockaddr &source) {
    std::lock_guard<std::mutex> lock(networks_mutex);
    return in_any(peer_networks, source);
}

void noteAsked(const pj_sockaddr &host) {
    auto known = std::find_if(asked.begin(), asked.end(), [&](const Asked &one) { return sameHost(one.host, host); });
    if (known != asked.end()) asked.erase(known);
    else if (asked.size() >= ASKED_KEPT) asked.pop_back();
    Asked one = {};
    pj_sockaddr_cp(&one.host, &host);
    one.until_ns = monotonic_ns() + ASKED_NS;
    asked.push_front(one);
}

void forgetAsked() { asked.clear(); }

} // namespace offhook
