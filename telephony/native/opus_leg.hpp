// Opus both ways at the bridge's rate: an adaptive jitter buffer with concealment in front of the decoder, and the
// encoder. No thread and no clock of its own: whoever calls `pull` 50 times a second is the clock.
#ifndef OFFHOOK_OPUS_LEG_HPP
#define OFFHOOK_OPUS_LEG_HPP

#include <Python.h>

#include <atomic>
#include <cstdint>

#include <opus/opus.h>
#include <pjmedia/jbuf.h>

#include "ring_port.hpp"

namespace offhook {

constexpr unsigned MAX_PACKET_BYTES = 1500;
constexpr unsigned RTP_PER_TICK = 960;        // Opus counts 48 kHz in RTP, whatever it codes (RFC 7587 section 4.1)
constexpr unsigned MAX_DECODED = 24 * 120;    // samples of the longest packet there is, 120 ms

// What came from the network, and what had to be made up. Written by the thread that pulls.
struct ListenerFigures {
    std::atomic<uint64_t> late{0};       // packets that came too late, twice, or when the buffer was full
    std::atomic<uint64_t> malformed{0};  // packets that are no Opus
    std::atomic<uint64_t> concealed{0};  // ticks' worth of frames that the decoder made up
    std::atomic<uint64_t> repaired{0};   // of these, those that the next packet's redundancy gave back
    std::atomic<uint64_t> delay_us{0};   // of the buffer, smoothed over a second or so
};

// PJMEDIA's jitter buffer and an Opus decoder at 24 kHz mono: a stereo sender is mixed down by the decoder.
class OpusListener {
  public:
    OpusListener();
    ~OpusListener();
    void open(); // sip thread: the buffer's memory is the library's
    void reset();
    void put(uint32_t rtp_timestamp, const unsigned char *packet, unsigned size);
    void pull(int16_t *out);

    // The same for Python.
    void putPacket(unsigned rtp_timestamp, PyObject *packet);
    void pullTick(PyObject *out); // float32 [480]
    PyObject *counters() const;   // (late, malformed, concealed, repaired, delay in us)

    const ListenerFigures &figures() const { return figures_; }

  private:
    OpusListener(const OpusListener &);
    void restart(unsigned packet_rtp);
    void bound();
    void decodeNext();
    void conceal(bool may_repair);
    void note(unsigned frames_waiting);

    pjmedia_jbuf *buffer_;
    OpusDecoder *decoder_;
    bool has_begun_;
    unsigned packet_rtp_;    // the sender's packet time, in RTP units
    unsigned most_;          // packets that may wait
    uint32_t latest_rtp_;
    int64_t place_;          // of latest_rtp_, unwrapped
    unsigned num_concealed_; // in a row
    int16_t decoded_[2 * MAX_DECODED];
    unsigned count_;         // of what is decoded and not yet pulled
    double delay_us_;
    ListenerFigures figures_;
};

// Mono Opus from 24 kHz, 20 ms a packet, with in-band redundancy as far as the expected loss asks for it.
class OpusSpeaker {
  public:
    OpusSpeaker();
    ~OpusSpeaker();
    void reset();
    unsigned encode(const int16_t *pcm, unsigned char *out, unsigned room);
    void expectLoss(int percent) { loss_percent_.store(percent, std::memory_order_relaxed); } // any thread

    PyObject *encodeTick(PyObject *pcm); // float32 [480] -> bytes, for Python
    int lookahead() const;               // samples that its sound is behind what it was given

  private:
    OpusSpeaker(const OpusSpeaker &);
    OpusEncoder *encoder_;
    std::atomic<int> loss_percent_;
    int set_percent_;
};

} // namespace offhook
#endif
