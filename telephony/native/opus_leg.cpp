#include "opus_leg.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include <pjsua-lib/pjsua.h>

#include "py_buffers.hpp"

namespace offhook {

namespace {

constexpr unsigned BUFFER_PACKETS = 50;      // a second of 20 ms packets
constexpr unsigned MAX_DELAY_RTP = 48 * 200; // 200 ms: what lies before that is skipped, as in a SIP call
constexpr unsigned FAR_JUMP_RTP = 48000 * 5; // the sender has begun anew
constexpr int64_t FIRST_PLACE = 48000 * 10;  // so that packets from before the first one have a place
constexpr unsigned MAX_CONCEALED = 10;       // 200 ms in a row; by then the decoder has faded out
constexpr double DELAY_SHARE = 1.0 / 32;     // of one packet in the smoothed delay
constexpr int BITRATE = 32000;
constexpr int COMPLEXITY = 5;                // of 10; in the fixed time of a tick all calls are coded

} // namespace

OpusListener::OpusListener()
    : buffer_(nullptr), decoder_(nullptr), has_begun_(false), packet_rtp_(RTP_PER_TICK), most_(0), latest_rtp_(0), place_(0),
      num_concealed_(0), decoded_(), count_(0), delay_us_(0) {
    int status = OPUS_OK;
    decoder_ = opus_decoder_create(RATE_HZ, 1, &status);
    if (status != OPUS_OK) throw std::runtime_error("libopus makes no decoder: out of memory?");
}

OpusListener::~OpusListener() { opus_decoder_destroy(decoder_); }

void OpusListener::open() {
    pj_pool_t *pool = pjsua_pool_create("offhook-opus", 1000, 1000);
    pj_str_t name = pj_str(const_cast<char *>("offhook-opus"));
    pj_status_t status = pjmedia_jbuf_create(pool, &name, MAX_PACKET_BYTES, 20, BUFFER_PACKETS, &buffer_);
    if (status != PJ_SUCCESS) throw pj::Error(status, "pjmedia_jbuf_create", "", __FILE__, __LINE__);
    reset();
}

void OpusListener::reset() {
    has_begun_ = false;
    count_ = 0;
    delay_us_ = 0;
    figures_.late = figures_.malformed = figures_.concealed = figures_.repaired = figures_.delay_us = 0;
    opus_decoder_ctl(decoder_, OPUS_RESET_STATE);
}

// Packets of this length from now on; what waits is dropped.
void OpusListener::restart(unsigned packet_rtp) {
    packet_rtp_ = packet_rtp;
    most_ = std::max(2u, std::min(MAX_DELAY_RTP / packet_rtp, BUFFER_PACKETS * 4 / 5));
    pjmedia_jbuf_set_ptime2(buffer_, packet_rtp * 5 / 120, 2); // 2.5 ms is the shortest: halves of a millisecond
    pjmedia_jbuf_set_adaptive(buffer_, 1, 1, most_);
    pjmedia_jbuf_reset(buffer_);
    num_concealed_ = 0;
    place_ = FIRST_PLACE;
}

void OpusListener::put(uint32_t rtp_timestamp, const unsigned char *packet, unsigned size) {
    int samples = size ? opus_packet_get_nb_samples(packet, int(size), 48000) : 0;
    if (samples <= 0 || size > MAX_PACKET_BYTES) {
        ++figures_.malformed;
        return;
    }
    int32_t step = int32_t(rtp_timestamp - latest_rtp_);
    bool is_far = step > int32_t(FAR_JUMP_RTP) || step < -int32_t(FAR_JUMP_RTP);
    if (!has_begun_ || is_far || unsigned(samples) != packet_rtp_) {
        restart(unsigned(samples));
        has_begun_ = true;
    } else {
        place_ += step;
    }
    latest_rtp_ = rtp_timestamp;
    pj_bool_t is_refused = PJ_FALSE;
    pjmedia_jbuf_put_frame3(buffer_, packet, size, 0, int(place_ / packet_rtp_), rtp_timestamp, &is_refused);
    if (is_refused) ++figures_.late;
    bound();
}

// PJMEDIA shrinks by one packet in 200 ms; after a stall that would let a caller be heard a second late for long.
void OpusListener::bound() {
    pjmedia_jb_state state;
    pjmedia_jbuf_get_state(buffer_, &state);
    if (state.size > most_) figures_.late += pjmedia_jbuf_remove_frame(buffer_, state.size - most_);
}

void OpusListener::note(unsigned frames_waiting) {
    double now_us = double(frames_waiting) * packet_rtp_ * 1000 / 48;
    delay_us_ += (now_us - delay_us_) * DELAY_SHARE;
    figures_.delay_us = uint64_t(delay_us_);
}

void OpusListener::conceal(bool may_repair) {
    const int samples = int(packet_rtp_ / 2); // at 24 kHz
    int16_t *out = decoded_ + count_;
    int made = 0;
    if (may_repair) {
        const void *next = nullptr;
        pj_size_t size = 0;
        char kind = PJMEDIA_JB_ZERO_EMPTY_FRAME;
        pjmedia_jbuf_peek_frame(buffer_, 0, &next, &size, &kind, nullptr, nullptr, nullptr);
        if (kind == PJMEDIA_JB_NORMAL_FRAME) {
            made = opus_decode(decoder_, static_cast<const unsigned char *>(next), opus_int32(size), out, samples, 1);
            if (made > 0) ++figures_.repaired;
        }
    }
    if (made <= 0 && num_concealed_ < MAX_CONCEALED) made = opus_decode(decoder_, nullptr, 0, out, samples, 0);
    if (made <= 0) {
        std::memset(out, 0, unsigned(samples) * sizeof *out);
        made = samples;
    }
    ++num_concealed_;
    ++figures_.concealed;
    count_ += unsigned(made);
}

void OpusListener::decodeNext() {
    unsigned char packet[MAX_PACKET_BYTES];
    pj_size_t size = sizeof packet;
    char kind = PJMEDIA_JB_ZERO_EMPTY_FRAME;
    pjmedia_jb_state state;
    pjmedia_jbuf_get_state(buffer_, &state);
    pjmedia_jbuf_get_frame3(buffer_, packet, &size, &kind, nullptr, nullptr, nullptr);
    if (kind != PJMEDIA_JB_NORMAL_FRAME) {
        conceal(kind == PJMEDIA_JB_MISSING_FRAME);
        return;
    }
    note(state.size);
    int made = opus_decode(decoder_, packet, opus_int32(size), decoded_ + count_, MAX_DECODED, 0);
    if (made <= 0) {
        ++figures_.malformed;
        conceal(false);
        return;
    }
    num_concealed_ = 0;
    count_ += unsigned(made);
}

void OpusListener::pull(int16_t *out) {
    if (!has_begun_) {
        std::memset(out, 0, TICK_SAMPLES * sizeof *out);
        return;
    }
    while (count_ < TICK_SAMPLES) decodeNext();
    std::memcpy(out, decoded_, TICK_SAMPLES * sizeof *out);
    count_ -= TICK_SAMPLES;
    std::memmove(decoded_, decoded_ + TICK_SAMPLES, count_ * sizeof *decoded_);
}

void OpusListener::putPacket(unsigned rtp_timestamp, PyObject *packet) {
    Bytes from(packet);
    put(rtp_timestamp, from.bytes(), from.size());
}

void OpusListener::pullTick(PyObject *out) {
    Floats to(out, true);
    if (to.size() != TICK_SAMPLES) throw std::invalid_argument("a tick is 480 samples");
    int16_t pcm[TICK_SAMPLES];
    pull(pcm);
    for (unsigned i = 0; i < TICK_SAMPLES; ++i) to.samples()[i] = to_float(pcm[i]);
}

PyObject *OpusListener::counters() const {
    return Py_BuildValue("(KKKKK)", (unsigned long long)figures_.late, (unsigned long long)figures_.malformed,
                         (unsigned long long)figures_.concealed, (unsigned long long)figures_.repaired,
                         (unsigned long long)figures_.delay_us);
}

OpusSpeaker::OpusSpeaker() : encoder_(nullptr), loss_percent_(0), set_percent_(0) {
    int status = OPUS_OK;
    encoder_ = opus_encoder_create(RATE_HZ, 1, OPUS_APPLICATION_VOIP, &status);
    if (status != OPUS_OK) throw std::runtime_error("libopus makes no encoder: out of memory?");
    opus_encoder_ctl(encoder_, OPUS_SET_BITRATE(BITRATE));
    opus_encoder_ctl(encoder_, OPUS_SET_COMPLEXITY(COMPLEXITY));
    opus_encoder_ctl(encoder_, OPUS_SET_SIGNAL(OPUS_SIGNAL_VOICE));
    opus_encoder_ctl(encoder_, OPUS_SET_INBAND_FEC(1));
}

OpusSpeaker::~OpusSpeaker() { opus_encoder_destroy(encoder_); }

void OpusSpeaker::reset() {
    expectLoss(0);
    opus_encoder_ctl(encoder_, OPUS_RESET_STATE);
}

int OpusSpeaker::lookahead() const {
    opus_int32 samples = 0;
    opus_encoder_ctl(encoder_, OPUS_GET_LOOKAHEAD(&samples));
    return samples;
}

unsigned OpusSpeaker::encode(const int16_t *pcm, unsigned char *out, unsigned room) {
    int percent = loss_percent_.load(std::memory_order_relaxed);
    if (percent != set_percent_) {
        set_percent_ = percent;
        opus_encoder_ctl(encoder_, OPUS_SET_PACKET_LOSS_PERC(std::min(std::max(percent, 0), 100)));
    }
    int size = opus_encode(encoder_, pcm, TICK_SAMPLES, out, opus_int32(room));
    return size > 0 ? unsigned(size) : 0;
}

PyObject *OpusSpeaker::encodeTick(PyObject *pcm) {
    Floats from(pcm, false);
    if (from.size() != TICK_SAMPLES) throw std::invalid_argument("a tick is 480 samples");
    int16_t samples[TICK_SAMPLES];
    for (unsigned i = 0; i < TICK_SAMPLES; ++i) samples[i] = to_int16(from.samples()[i]);
    unsigned char packet[MAX_PACKET_BYTES];
    unsigned size = encode(samples, packet, sizeof packet);
    return PyBytes_FromStringAndSize(reinterpret_cast<const char *>(packet), Py_ssize_t(size));
}

} // namespace offhook
