// Python's buffers as C++ sees them, and samples between float32 and 16 bit.
#ifndef OFFHOOK_PY_BUFFERS_HPP
#define OFFHOOK_PY_BUFFERS_HPP

#include <Python.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace offhook {

constexpr float FULL_SCALE = 32768.0f;

inline int16_t to_int16(float x) {
    if (!(x == x)) return 0; // NaN
    return int16_t(std::lrintf(std::min(std::max(x * FULL_SCALE, -FULL_SCALE), FULL_SCALE - 1)));
}

inline float to_float(int16_t x) { return float(x) / FULL_SCALE; }

// A contiguous float32 buffer of Python's, released at the end of the scope.
class Floats {
  public:
    Floats(PyObject *from, bool writable) {
        int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
        if (PyObject_GetBuffer(from, &view_, flags) != 0) {
            PyErr_Clear();
            throw std::invalid_argument("the audio buffer must be contiguous (and writable, to be read into)");
        }
        if (view_.itemsize != sizeof(float) || view_.format == nullptr || std::strcmp(view_.format, "f") != 0) {
            PyBuffer_Release(&view_);
            throw std::invalid_argument("the audio buffer must hold float32 samples");
        }
    }
    ~Floats() { PyBuffer_Release(&view_); }
    float *samples() { return static_cast<float *>(view_.buf); }
    size_t size() const { return size_t(view_.len) / sizeof(float); }

  private:
    Floats(const Floats &);
    Py_buffer view_;
};

// Any contiguous bytes of Python's.
class Bytes {
  public:
    explicit Bytes(PyObject *from) {
        if (PyObject_GetBuffer(from, &view_, PyBUF_SIMPLE) != 0) {
            PyErr_Clear();
            throw std::invalid_argument("a packet must be bytes");
        }
    }
    ~Bytes() { PyBuffer_Release(&view_); }
    const unsigned char *bytes() const { return static_cast<const unsigned char *>(view_.buf); }
    unsigned size() const { return unsigned(view_.len); }

  private:
    Bytes(const Bytes &);
    Py_buffer view_;
};

} // namespace offhook
#endif
