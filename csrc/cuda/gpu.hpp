// A CUDA device and a stream of it, without CUDA headers: the Device of `BackendOn` (backend.hpp).
// Only `launch` needs nvcc; it is defined in gpu.cuh.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>

#include "cuda/backend.hpp"

namespace ot::cuda {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class OutOfMemory : public std::bad_alloc {
 public:
  OutOfMemory(std::size_t asked, std::size_t free)
      : text_("out of device memory: " + std::to_string(asked) + " bytes asked for, " + std::to_string(free) +
              " bytes free on the device; pass a PointCloud, float32 costs or method=\"log\"") {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

// The caller's allocator of device memory; empty for the driver's, in the order of the stream.
struct Allocator {
  std::function<void*(std::size_t)> allocate;
  std::function<void(void*)> release;
};

// How many devices the driver has; 0 with the reason where it has none. Creates no context.
int device_count(std::string& reason);
std::string device_name(int device);

// Makes a device the current one for as long as it lives.
class OnDevice {
 public:
  explicit OnDevice(int device);
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice();

 private:
  int device_, before_ = -1;
};

// What a device can run, asked for once.
struct Limits {
  int processors = 0;
  int threads = kMaxThreads;         // of a block, at most
  int blocks = 1;                    // of a team, at most
  int at_once[kMaxBlocks + 1] = {};  // teams of 1, 2, 4 .. blocks that run side by side
  bool pools = false;                // has cudaMallocAsync
};

class Gpu final : public Memory {
 public:
  using Guard = OnDevice;
  // On a stream of the current device, as an integer (0: the legacy default stream).
  Gpu(std::uintptr_t stream, Allocator allocator, std::function<bool()> poll);
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;
  ~Gpu();

  Memory& memory() { return *this; }
  std::pair<std::size_t, std::size_t> memory_info() const;  // bytes free, and in all
  void* allocate(std::size_t bytes) override;
  void release(void* data) noexcept override;

  int processors() const { return limits_.processors; }
  int threads() const { return limits_.threads; }
  int blocks() const { return limits_.blocks; }
  int at_once(int blocks) const { return limits_.at_once[blocks]; }

  template <class Body>
  void launch(const Shape& shape, const Body& body);
  template <class T>
  T* staging(index n) {
    return static_cast<T*>(pinned(static_cast<std::size_t>(n) * sizeof(T)));
  }
  // Memory may be released when the stream is gone: the device is then waited for.
  void outlive_stream() { outlives_ = true; }
  void upload(void* to, const void* from, index bytes);
  void download(void* to, const void* from, index bytes);
  void wait();
  void poll();
  template <class F>
  double seconds(F f) {
    start_timer();
    f();
    return stop_timer();
  }
  void scan(index n, const index* in, index* out);
  void sort(index n, std::uint32_t* keys, Placed* entries, index bound);
  void sort_descending(index n, double* values);

 private:
  void* pinned(std::size_t bytes);
  void start_timer();
  double stop_timer();
  void* scratch(std::size_t bytes);

  void* stream_;
  bool outlives_ = false;  // memory is released after the stream is gone
  Allocator allocator_;
  std::function<bool()> poll_;
  std::chrono::steady_clock::time_point polled_{};
  Limits limits_;
  struct PinnedMemory {
    void* data = nullptr;
    std::size_t bytes = 0;
  } pinned_;
  void* timer_[2] = {};  // events: start, stop
  struct SortSpace {     // of scans and sorts
    Buffer<char> temporary;
    Buffer<std::uint32_t> keys;
    Buffer<Placed> entries;
    Buffer<double> values;
  } sorting_;
};

using Backend = BackendOn<Gpu>;

}  // namespace ot::cuda
