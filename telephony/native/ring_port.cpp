#include "ring_port.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include <sys/eventfd.h>
#include <unistd.h>

#include <pjsua-lib/pjsua.h>

#include "monotonic.hpp"
#include "py_buffers.hpp"

namespace offhook {

namespace {

constexpr uint64_t TX_MASK = TX_SAMPLES - 1;

} // namespace

void BridgePort::add(const std::string &name) {
    // The pool and the port live as long as the library: the bridge may still call in when Python has let go.
    pj_pool_t *pool = pjsua_pool_create("offhook", 4000, 4000);
    pj_str_t pj_name;
    pj_strdup2_with_null(pool, &pj_name, name.c_str());
    pj_status_t status = pjmedia_port_info_init(&port_.info, &pj_name, PJMEDIA_SIG_CLASS_PORT_AUD('O', 'H'), RATE_HZ, 1,
                                                16, TICK_SAMPLES);
    if (status != PJ_SUCCESS) throw pj::Error(status, "pjmedia_port_info_init", "", __FILE__, __LINE__);
    port_.port_data.pdata = this;
    port_.get_frame = &BridgePort::get;
    port_.put_frame = &BridgePort::put;
    registerMediaPort2(&port_, pool);
}

pj_status_t BridgePort::get(pjmedia_port *port, pjmedia_frame *frame) {
    static_cast<BridgePort *>(port->port_data.pdata)->pull(static_cast<int16_t *>(frame->buf));
    frame->size = TICK_SAMPLES * sizeof(int16_t);
    frame->type = PJMEDIA_FRAME_TYPE_AUDIO;
    return PJ_SUCCESS;
}

pj_status_t BridgePort::put(pjmedia_port *port, pjmedia_frame *frame) {
    bool is_audio = frame->type == PJMEDIA_FRAME_TYPE_AUDIO && frame->size == TICK_SAMPLES * sizeof(int16_t);
    static_cast<BridgePort *>(port->port_data.pdata)
        ->push(is_audio ? static_cast<const int16_t *>(frame->buf) : nullptr, frame->timestamp.u64);
    return PJ_SUCCESS;
}

TickClock::TickClock() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)), tick_(0), at_ns_(0) {
    if (fd_ < 0) throw std::runtime_error("no file descriptor left for the audio clock; raise `ulimit -n`");
}

TickClock::~TickClock() { close(fd_); }

void TickClock::open() { add("offhook-tick"); }

double TickClock::tickTime() const { return double(at_ns_.load(std::memory_order_acquire)) * 1e-9; }

void TickClock::pull(int16_t *out) { std::memset(out, 0, TICK_SAMPLES * sizeof(int16_t)); }

void TickClock::push(const int16_t *, uint64_t timestamp) {
    at_ns_.store(monotonic_ns(), std::memory_order_release);
    tick_.store(timestamp / TICK_SAMPLES, std::memory_order_release);
    eventfd_write(fd_, 1); // can only fail when nobody has read for 2^64 ticks
}

RingPort::RingPort()
    : active_(false), rx_(), rx_written_(0), rx_read_(0), tx_(), tx_written_(0), tx_skip_(0), tx_read_(0),
      bound_(TICK_SAMPLES * 6), now_playing_(), was_pulled_(false), is_sounding_(false), last_sample_(0), rx_lost_(0),
      underruns_(0), late_(0), played_(0) {}

void RingPort::start() {
    rx_read_.store(rx_written_.load());
    tx_skip_.store(tx_written_.load());
    rx_lost_.store(0);
    underruns_.store(0);
    late_.store(0);
    played_.store(0);
    active_.store(true, std::memory_order_release);
}

uint64_t RingPort::firstUnplayed() const {
    return std::max(tx_read_.load(std::memory_order_acquire), tx_skip_.load(std::memory_order_acquire));
}

// Copy [from, until) to out and let what is missing of the tick fade from the last sample to silence.
void RingPort::fillFrom(uint64_t from, uint64_t until, int16_t *out) {
    unsigned have = unsigned(std::min<uint64_t>(until - from, TICK_SAMPLES));
    bool sounds = false;
    for (unsigned i = 0; i < have; ++i) {
        out[i] = tx_[(from + i) & TX_MASK];
        sounds = sounds || out[i] != 0;
    }
    if (have < TICK_SAMPLES) {
        int last = have ? out[have - 1] : last_sample_;
        for (unsigned i = have; i < TICK_SAMPLES; ++i) {
            int left = int(FADE_SAMPLES) - int(i - have) - 1;
            out[i] = left > 0 ? int16_t(last * left / int(FADE_SAMPLES)) : 0;
        }
        if (have ? sounds : is_sounding_) underruns_.fetch_add(1, std::memory_order_relaxed);
        is_sounding_ = false;
    } else {
        is_sounding_ = sounds;
    }
    last_sample_ = out[TICK_SAMPLES - 1];
    played_.fetch_add(have, std::memory_order_relaxed);
    tx_read_.store(from + have, std::memory_order_release);
}

void RingPort::pull(int16_t *out) {
    uint64_t read = tx_read_.load(std::memory_order_relaxed);
    uint64_t skip = tx_skip_.load(std::memory_order_acquire);
    uint64_t written = tx_written_.load(std::memory_order_acquire);
    int16_t cut[FADE_SAMPLES];
    unsigned fade = skip > read && is_sounding_ ? unsigned(std::min<uint64_t>(skip - read, FADE_SAMPLES)) : 0;
    for (unsigned i = 0; i < fade; ++i) cut[i] = tx_[(read + i) & TX_MASK];
    if (skip > read) { // what is cut away is not an underrun, and its last sample not a place to fade from
        read = skip;
        is_sounding_ = false;
        last_sample_ = 0;
    }
    fillFrom(read, std::max(written, read), out);
    for (unsigned i = 0; i < fade; ++i) {
        int in = int(i) + 1, all = int(fade) + 1;
        out[i] = int16_t((cut[i] * (all - in) + out[i] * in) / all);
    }
    std::memcpy(now_playing_, out, sizeof now_playing_);
    was_pulled_ = true;
}

void RingPort::push(const int16_t *heard, uint64_t timestamp) {
    if (!active_.load(std::memory_order_acquire)) {
        was_pulled_ = false;
        return;
    }
    if (!was_pulled_) { // on hold nobody listens: what we say passes unheard instead of waiting
        int16_t unheard[TICK_SAMPLES];
        pull(unheard);
        std::memset(now_playing_, 0, sizeof now_playing_);
    }
    was_pulled_ = false;
    uint64_t written = rx_written_.load(std::memory_order_relaxed);
    if (written - rx_read_.load(std::memory_order_acquire) >= RX_TICKS) {
        rx_lost_.fetch_add(1, std::memory_order_relaxed);
        return;
    }
    Tick &tick = rx_[written % RX_TICKS];
    tick.number = timestamp / TICK_SAMPLES;
    tick.at_ns = monotonic_ns();
    if (heard) std::memcpy(tick.heard, heard, sizeof tick.heard);
    else std::memset(tick.heard, 0, sizeof tick.heard);
    std::memcpy(tick.played, now_playing_, sizeof tick.played);
    rx_written_.store(written + 1, std::memory_order_release);
}

PyObject *RingPort::readFrame(PyObject *heard, PyObject *played, unsigned phase) {
    Floats to_heard(heard, true), to_played(played, true);
    if (to_heard.size() != TICK_SAMPLES * TICKS_PER_FRAME || to_played.size() != to_heard.size())
        throw std::invalid_argument("a frame is 1920 samples");
    uint64_t written = rx_written_.load(std::memory_order_acquire), read = rx_read_.load(std::memory_order_relaxed);
    unsigned whole = 0; // ticks of the frame found so far, consecutive and in phase
    while (read + whole < written && whole < TICKS_PER_FRAME) {
        uint64_t number = rx_[(read + whole) % RX_TICKS].number;
        bool fits = whole ? number == rx_[read % RX_TICKS].number + whole
                          : number % TICKS_PER_FRAME == (phase + 1) % TICKS_PER_FRAME;
        if (fits) {
            ++whole;
        } else {
            read += whole ? whole : 1;
            whole = 0;
        }
    }
    if (whole < TICKS_PER_FRAME) {
        rx_read_.store(read, std::memory_order_release);
        Py_RETURN_NONE;
    }
    for (unsigned t = 0; t < TICKS_PER_FRAME; ++t) {
        const Tick &tick = rx_[(read + t) % RX_TICKS];
        for (unsigned i = 0; i < TICK_SAMPLES; ++i) {
            to_heard.samples()[t * TICK_SAMPLES + i] = to_float(tick.heard[i]);
            to_played.samples()[t * TICK_SAMPLES + i] = to_float(tick.played[i]);
        }
    }
    const Tick &last = rx_[(read + TICKS_PER_FRAME - 1) % RX_TICKS];
    PyObject *place = Py_BuildValue("(Kd)", (unsigned long long)last.number, double(last.at_ns) * 1e-9);
    rx_read_.store(read + TICKS_PER_FRAME, std::memory_order_release);
    return place;
}

long RingPort::write(PyObject *pcm) {
    Floats from(pcm, false);
    uint64_t written = tx_written_.load(std::memory_order_relaxed), read = tx_read_.load(std::memory_order_acquire);
    size_t count = from.size();
    if (written + count - read > TX_SAMPLES) { // longer than the room, or the clock stands still
        late_.fetch_add(count, std::memory_order_relaxed);
        return long(count);
    }
    for (size_t i = 0; i < count; ++i) tx_[(written + i) & TX_MASK] = to_int16(from.samples()[i]);
    written += count;
    tx_written_.store(written, std::memory_order_release);
    long excess = long(written - firstUnplayed()) - bound_;
    if (excess <= 0) return 0;
    tx_skip_.store(firstUnplayed() + uint64_t(excess), std::memory_order_release);
    late_.fetch_add(uint64_t(excess), std::memory_order_relaxed);
    return excess;
}

long RingPort::clear() {
    long dropped = queued();
    tx_skip_.store(tx_written_.load(std::memory_order_relaxed), std::memory_order_release);
    return dropped;
}

long RingPort::queued() const {
    uint64_t written = tx_written_.load(std::memory_order_relaxed), first = firstUnplayed();
    return written > first ? long(written - first) : 0;
}

PyObject *RingPort::counters() const {
    return Py_BuildValue("(KKKK)", (unsigned long long)rx_lost_.load(), (unsigned long long)underruns_.load(),
                         (unsigned long long)late_.load(), (unsigned long long)played_.load());
}

} // namespace offhook
