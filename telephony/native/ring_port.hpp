// The native audio port: rings between PJSIP's clock thread and Python, both ways, without a lock.
//
// The clock thread is the only producer of what the caller says and the only consumer of what we say; one Python
// thread is the other side of both. Neither ever waits for the other: a late Python costs that call a gap, never
// the bridge its tick.
#ifndef OFFHOOK_RING_PORT_HPP
#define OFFHOOK_RING_PORT_HPP

#include <Python.h>

#include <atomic>
#include <cstdint>
#include <string>

#include <pjsua2.hpp>

namespace offhook {

constexpr unsigned RATE_HZ = 24000;
constexpr unsigned TICK_SAMPLES = 480;    // 20 ms, the bridge's frame
constexpr unsigned TICKS_PER_FRAME = 4;   // 80 ms, the model's frame
constexpr unsigned RX_TICKS = 32;         // 640 ms wait for a slow reader before the newest is refused
constexpr unsigned TX_SAMPLES = 1u << 15; // 1.4 s: room, not depth; the depth is `bound`
constexpr unsigned FADE_SAMPLES = 120;    // 5 ms: where sound is cut, it fades instead of clicking

// What every port of ours is to the bridge: mono, 24 kHz, 20 ms, added once and never removed.
class BridgePort : public pj::AudioMedia {
  public:
    virtual ~BridgePort() {}

  protected:
    BridgePort() : port_() {}
    void add(const std::string &name);
    virtual void pull(int16_t *out) = 0;                               // clock thread
    virtual void push(const int16_t *heard, uint64_t timestamp) = 0;   // clock thread; null is silence

  private:
    BridgePort(const BridgePort &);
    static pj_status_t get(pjmedia_port *port, pjmedia_frame *frame);
    static pj_status_t put(pjmedia_port *port, pjmedia_frame *frame);
    pjmedia_port port_;
};

// The last port of the bridge: when it is served, every call has had this tick. Signals one eventfd for all.
class TickClock : public BridgePort {
  public:
    TickClock();
    ~TickClock();
    void open();
    int fd() const { return fd_; }
    unsigned long long tick() const { return tick_.load(std::memory_order_acquire); }
    double tickTime() const; // CLOCK_MONOTONIC, seconds, of the latest tick

  private:
    void pull(int16_t *out);
    void push(const int16_t *heard, uint64_t timestamp);
    int fd_;
    std::atomic<uint64_t> tick_;
    std::atomic<int64_t> at_ns_;
};

// One call's audio. Opened once, then lent to call after call with `start` and `stop`.
class RingPort : public BridgePort {
  public:
    RingPort();
    void open(const std::string &name) { add(name); }
    void start();
    void stop() { active_.store(false, std::memory_order_release); }

    // Python's side. The GIL stays held: each call only copies a few kB.
    PyObject *readFrame(PyObject *heard, PyObject *played, unsigned phase);
    long write(PyObject *pcm);
    long clear();
    long queued() const;
    void setBound(long samples) { bound_ = samples; }
    PyObject *counters() const; // (rx ticks lost, underruns, late samples, samples played)

  protected:
    bool isActive() const { return active_.load(std::memory_order_acquire); }
    void pull(int16_t *out);
    void push(const int16_t *heard, uint64_t timestamp);

  private:
    struct Tick {
        uint64_t number;
        int64_t at_ns;
        int16_t heard[TICK_SAMPLES];
        int16_t played[TICK_SAMPLES];
    };
    void fillFrom(uint64_t from, uint64_t until, int16_t *out);
    uint64_t firstUnplayed() const;

    std::atomic<bool> active_;
    Tick rx_[RX_TICKS];
    std::atomic<uint64_t> rx_written_; // clock thread
    std::atomic<uint64_t> rx_read_;    // Python
    int16_t tx_[TX_SAMPLES];
    std::atomic<uint64_t> tx_written_; // Python
    std::atomic<uint64_t> tx_skip_;    // Python: what lies before it is not to be played
    std::atomic<uint64_t> tx_read_;    // clock thread
    long bound_;                       // Python
    int16_t now_playing_[TICK_SAMPLES]; // clock thread, like the next four
    bool was_pulled_;
    bool is_sounding_;
    int16_t last_sample_;
    std::atomic<uint64_t> rx_lost_, underruns_, late_, played_;
};

} // namespace offhook
#endif
