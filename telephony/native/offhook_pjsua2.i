// pjsua2 with our native audio port and SIP gate in one extension; the module is named on SWIG's command line.
%{
#include "ring_port.hpp"
#include "sip_gate.hpp"
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

// They only copy a few kB or read an atomic, and most of them touch Python objects.
%nothreadallow offhook::RingPort::readFrame;
%nothreadallow offhook::RingPort::write;
%nothreadallow offhook::RingPort::clear;
%nothreadallow offhook::RingPort::queued;
%nothreadallow offhook::RingPort::setBound;
%nothreadallow offhook::RingPort::counters;
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

long foreignRtpPackets(int call_id);
void openGate(const std::vector<std::string> &cidrs);
void setFull(bool is_full, int retry_after_s);
void setLogLevel(int level);
long gateForeign();
long gateMalformed();

} // namespace offhook
