// The monotonic clock, in nanoseconds.
#ifndef OFFHOOK_MONOTONIC_HPP
#define OFFHOOK_MONOTONIC_HPP

#include <cstdint>

#include <time.h>

namespace offhook {

constexpr int64_t SECOND_NS = 1000000000;

inline int64_t monotonic_ns() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t(now.tv_sec) * SECOND_NS + now.tv_nsec;
}

} // namespace offhook
#endif
