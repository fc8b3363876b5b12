#include "opus_port.hpp"

#include <cstring>

#include "py_buffers.hpp"

namespace offhook {

OpusPort::OpusPort()
    : in_(), in_written_(0), in_read_(0), out_(), out_written_(0), out_read_(0), refused_(0), unsent_(0) {}

void OpusPort::open(const std::string &name) {
    listener_.open();
    RingPort::open(name);
}

void OpusPort::start() {
    std::lock_guard<std::mutex> held(codec_);
    listener_.reset();
    speaker_.reset();
    in_read_.store(in_written_.load());
    out_read_.store(out_written_.load());
    refused_.store(0);
    unsent_.store(0);
    RingPort::start();
}

void OpusPort::stop() {
    std::lock_guard<std::mutex> held(codec_);
    RingPort::stop();
}

void OpusPort::push(const int16_t *, uint64_t timestamp) {
    std::lock_guard<std::mutex> held(codec_);
    if (!isActive()) return;
    int16_t playing[TICK_SAMPLES], heard[TICK_SAMPLES];
    pull(playing);
    listen();
    listener_.pull(heard);
    RingPort::push(heard, timestamp);
    send(playing, timestamp / TICK_SAMPLES);
}

void OpusPort::listen() {
    uint64_t read = in_read_.load(std::memory_order_relaxed), written = in_written_.load(std::memory_order_acquire);
    for (; read < written; ++read) {
        const Packet &packet = in_[read % IN_PACKETS];
        listener_.put(uint32_t(packet.at), packet.bytes, packet.size);
    }
    in_read_.store(read, std::memory_order_release);
}

void OpusPort::send(const int16_t *pcm, uint64_t tick) {
    uint64_t written = out_written_.load(std::memory_order_relaxed);
    Packet spare; // coded even if nobody takes it: the encoder's past must be what the far end was to hear
    bool has_room = written - out_read_.load(std::memory_order_acquire) < OUT_PACKETS;
    Packet &packet = has_room ? out_[written % OUT_PACKETS] : spare;
    packet.at = tick;
    packet.size = speaker_.encode(pcm, packet.bytes, MAX_PACKET_BYTES);
    if (has_room) out_written_.store(written + 1, std::memory_order_release);
    else unsent_.fetch_add(1, std::memory_order_relaxed);
}

bool OpusPort::putPacket(unsigned rtp_timestamp, PyObject *packet) {
    Bytes from(packet);
    uint64_t written = in_written_.load(std::memory_order_relaxed);
    bool has_room = written - in_read_.load(std::memory_order_acquire) < IN_PACKETS;
    if (!has_room || from.size() > MAX_PACKET_BYTES) {
        refused_.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    Packet &slot = in_[written % IN_PACKETS];
    slot.at = rtp_timestamp;
    slot.size = from.size();
    std::memcpy(slot.bytes, from.bytes(), from.size());
    in_written_.store(written + 1, std::memory_order_release);
    return true;
}

PyObject *OpusPort::takePacket() {
    uint64_t read = out_read_.load(std::memory_order_relaxed);
    if (read >= out_written_.load(std::memory_order_acquire)) Py_RETURN_NONE;
    const Packet &packet = out_[read % OUT_PACKETS];
    PyObject *bytes = PyBytes_FromStringAndSize(reinterpret_cast<const char *>(packet.bytes), Py_ssize_t(packet.size));
    PyObject *taken = bytes ? Py_BuildValue("(KN)", (unsigned long long)packet.at, bytes) : nullptr;
    out_read_.store(read + 1, std::memory_order_release);
    return taken;
}

PyObject *OpusPort::packetCounters() const {
    const ListenerFigures &heard = listener_.figures();
    return Py_BuildValue("(KKKKKKK)", (unsigned long long)heard.late, (unsigned long long)heard.malformed,
                         (unsigned long long)heard.concealed, (unsigned long long)heard.repaired,
                         (unsigned long long)refused_, (unsigned long long)unsent_,
                         (unsigned long long)heard.delay_us);
}

} // namespace offhook
