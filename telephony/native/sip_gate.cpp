#include "sip_gate.hpp"

#include <atomic>
#include <cstring>
#include <stdexcept>

#include <pjsua-lib/pjsua.h>

namespace offhook {

namespace {

struct Network {
    int family;
    unsigned bits;
    unsigned char address[16];
};

std::vector<Network> networks; // read and written by the sip thread alone, which polls every transport
std::atomic<bool> is_full_now(false);
std::atomic<int> retry_after_now(5);
std::atomic<long> foreign(0), malformed(0);

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

bool holds(const Network &network, const pj_sockaddr &source) {
    if (source.addr.sa_family != network.family) return false;
    const unsigned char *address = static_cast<const unsigned char *>(pj_sockaddr_get_addr(&source));
    unsigned bytes = network.bits / 8, rest = network.bits % 8;
    if (std::memcmp(address, network.address, bytes) != 0) return false;
    return rest == 0 || ((address[bytes] ^ network.address[bytes]) >> (8 - rest)) == 0;
}

bool is_allowed(const pjsip_rx_data *rdata) {
    for (const Network &network : networks)
        if (holds(network, rdata->pkt_info.src_addr)) return true;
    foreign.fetch_add(1);
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
}

pj_bool_t on_request(pjsip_rx_data *rdata) {
    if (!is_allowed(rdata)) return PJ_TRUE;
    bool is_probe = rdata->msg_info.msg->line.req.method.id == PJSIP_OPTIONS_METHOD && rdata->msg_info.to != nullptr &&
                    rdata->msg_info.to->tag.slen == 0;
    if (!is_probe || !is_full_now.load()) return PJ_FALSE;
    refuse(rdata);
    return PJ_TRUE;
}

pj_bool_t on_response(pjsip_rx_data *rdata) { return is_allowed(rdata) ? PJ_FALSE : PJ_TRUE; }

void on_dropped(pjsip_tp_dropped_data *dropped) {
    if (dropped->status != PJ_SUCCESS && dropped->status != PJ_EIGNORED) malformed.fetch_add(1);
}

pjsip_module gate;

} // namespace

void setPeers(const std::vector<std::string> &cidrs) {
    std::vector<Network> parsed;
    for (const std::string &cidr : cidrs) parsed.push_back(parse(cidr));
    networks.swap(parsed);
}

void openGate(const std::vector<std::string> &cidrs) {
    setPeers(cidrs);
    foreign = malformed = 0;
    is_full_now = false;
    std::memset(&gate, 0, sizeof gate);
    gate.name = pj_str(const_cast<char *>("mod-offhook-gate"));
    gate.id = -1;
    gate.priority = PJSIP_MOD_PRIORITY_TRANSPORT_LAYER + 1;
    gate.on_rx_request = &on_request;
    gate.on_rx_response = &on_response;
    if (pjsip_endpt_register_module(pjsua_get_pjsip_endpt(), &gate) != PJ_SUCCESS)
        throw std::runtime_error("the SIP gate could not be put in place");
    pjsip_tpmgr_set_drop_data_cb(pjsip_endpt_get_tpmgr(pjsua_get_pjsip_endpt()), &on_dropped);
}

void setFull(bool is_full, int retry_after_s) {
    retry_after_now = retry_after_s;
    is_full_now = is_full;
}

void setLogLevel(int level) { pj_log_set_level(level); }

long gateForeign() { return foreign.load(); }

long gateMalformed() { return malformed.load(); }

} // namespace offhook
