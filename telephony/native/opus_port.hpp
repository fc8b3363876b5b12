// A call whose packets are not PJSIP's to carry: Opus packets in, Opus packets out, on the clock that all calls share.
//
// It hangs on the bridge for its tick alone and is connected to nothing. Packets cross to and from Python in two more
// rings; the clock thread moves them through the jitter buffer, the decoder and the encoder.
#ifndef OFFHOOK_OPUS_PORT_HPP
#define OFFHOOK_OPUS_PORT_HPP

#include <mutex>

#include "opus_leg.hpp"
#include "ring_port.hpp"

namespace offhook {

constexpr unsigned IN_PACKETS = 64;  // between two ticks; what comes on top is refused and counted
constexpr unsigned OUT_PACKETS = 16; // 320 ms of a Python that is late; then a packet is lost to the far end

class OpusPort : public RingPort {
  public:
    OpusPort();
    void open(const std::string &name);
    void start();
    void stop();

    // Python's side, as in RingPort.
    bool putPacket(unsigned rtp_timestamp, PyObject *packet);
    PyObject *takePacket(); // (tick, bytes), or None
    void expectLoss(int percent) { speaker_.expectLoss(percent); }
    PyObject *packetCounters() const; // (late, malformed, concealed, repaired, refused, unsent, delay in us)

  private:
    struct Packet {
        uint64_t at; // an RTP timestamp coming in, a tick going out
        unsigned size;
        unsigned char bytes[MAX_PACKET_BYTES];
    };
    void push(const int16_t *heard, uint64_t timestamp);
    void listen();
    void send(const int16_t *pcm, uint64_t tick);

    std::mutex codec_; // the clock thread's while it codes; start and stop wait that millisecond
    OpusListener listener_;
    OpusSpeaker speaker_;
    Packet in_[IN_PACKETS];
    std::atomic<uint64_t> in_written_; // Python
    std::atomic<uint64_t> in_read_;    // clock thread
    Packet out_[OUT_PACKETS];
    std::atomic<uint64_t> out_written_; // clock thread
    std::atomic<uint64_t> out_read_;    // Python
    std::atomic<uint64_t> refused_, unsent_;
};

} // namespace offhook
#endif
