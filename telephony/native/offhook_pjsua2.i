// pjsua2 with our native audio port and SIP gate in one extension; the module is named on SWIG's command line.
%{
#include "opus_port.hpp"
#include "ring_port.hpp"
#include "rtp_lock.hpp"
#include "sip_gate.hpp"
#include "source_kinds.hpp"
#include <stdexcept>
%}

// These two use Python's C API; PJSIP's own interface would let them run without the GIL.
%nothreadallow std::vector<unsigned char>::assign_from_bytes;
%nothreadallow std::vector<unsigned char>::copy_to_bytearray;

%include "pjsua2.i"

%define ARGUMENT_ERRORS(name)
%exception name {
    try {
        $action
    } catch (const std::exception &error) {
        SWIG_PYTHON_THREAD_BEGIN_BLOCK;
        PyErr_SetString(PyExc_ValueError, error.what());
        SWIG_PYTHON_THREAD_END_BLOCK;
        SWIG_fail;
    }
}
%enddef
ARGUMENT_ERRORS(offhook::RingPort::readFrame)
ARGUMENT_ERRORS(offhook::RingPort::write)
ARGUMENT_ERRORS(offhook::TickClock::TickClock)
ARGUMENT_ERRORS(offhook::openGate)
ARGUMENT_ERRORS(offhook::setNetworks)
ARGUMENT_ERRORS(offhook::strike)
ARGUMENT_ERRORS(offhook::OpusPort::putPacket)
ARGUMENT_ERRORS(offhook::OpusListener::putPacket)
ARGUMENT_ERRORS(offhook::OpusListener::pullTick)
ARGUMENT_ERRORS(offhook::OpusSpeaker::encodeTick)

// They only copy a few kB or read an atomic, and most of them touch Python objects.
%nothreadallow offhook::RingPort::readFrame;
%nothreadallow offhook::RingPort::write;
%nothreadallow offhook::RingPort::clear;
%nothreadallow offhook::RingPort::queued;
%nothreadallow offhook::RingPort::setBound;
%nothreadallow offhook::RingPort::counters;
%nothreadallow offhook::OpusPort::putPacket;
%nothreadallow offhook::OpusPort::takePacket;
%nothreadallow offhook::OpusPort::expectLoss;
%nothreadallow offhook::OpusPort::packetCounters;
%nothreadallow offhook::OpusListener::putPacket;
%nothreadallow offhook::OpusListener::pullTick;
%nothreadallow offhook::OpusListener::counters;
%nothreadallow offhook::OpusSpeaker::encodeTick;
%nothreadallow offhook::TickClock::fd;
%nothreadallow offhook::TickClock::tick;
%nothreadallow offhook::TickClock::tickTime;

namespace offhook {

class TickClock : public pj::AudioMedia {
  public:
    TickClock();
    void open() throw(pj::Error);
    int fd() const;
    unsigned long long tick() const;
    double tickTime() const;
};

class RingPort : public pj::AudioMedia {
  public:
    RingPort();
    void open(const std::string &name) throw(pj::Error);
    void start();
    void stop();
    PyObject *readFrame(PyObject *heard, PyObject *played, unsigned phase);
    long write(PyObject *pcm);
    long clear();
    long queued() const;
    void setBound(long samples);
    PyObject *counters() const;
};

class OpusPort : public RingPort {
  public:
    OpusPort();
    void open(const std::string &name) throw(pj::Error);
    void start();
    void stop();
    bool putPacket(unsigned rtp_timestamp, PyObject *packet);
    PyObject *takePacket();
    void expectLoss(int percent);
    PyObject *packetCounters() const;
};

class OpusListener {
  public:
    OpusListener();
    void open() throw(pj::Error);
    void putPacket(unsigned rtp_timestamp, PyObject *packet);
    void pullTick(PyObject *out);
    PyObject *counters() const;
};

class OpusSpeaker {
  public:
    OpusSpeaker();
    PyObject *encodeTick(PyObject *pcm);
    void expectLoss(int percent);
    int lookahead() const;
};

struct GateLimits {
    GateLimits();
    int max_message_bytes, max_headers;
    double peer_requests_per_s, peer_burst;
    double open_requests_per_s, open_burst;
    double open_total_per_s;
    int strikes, strike_window_s, ban_s;
    int max_connections, max_connections_per_source, message_timeout_s;
    int rtp_learn_ms, rtp_port_pairs, rtp_port_rest_s;
};

struct GateCounts {
    GateCounts();
    long foreign, banned, oversize, malformed, unwanted, rate_limited, refused_full;
    long bans, banned_now;
    long connections, connections_refused, connections_timed_out;
    long foreign_rtp_packets, ports_resting;
};

long foreignRtpPackets(int call_id);
void openGate(const std::vector<std::string> &peers, const std::vector<std::string> &open, const GateLimits &limits);
void setNetworks(const std::vector<std::string> &peers, const std::vector<std::string> &open);
void setFull(bool is_full, int retry_after_s);
void setDraining(bool is_draining);
void strike(const std::string &address);
void sweepGate();
std::string takeBan();
void setLogLevel(int level);
GateCounts gateCounts();

} // namespace offhook
