// Owned, aligned, uninitialised memory, of the host or of a device.
#pragma once
#include <utility>

#include "core/memory.hpp"
#include "core/types.hpp"

namespace ot {

// An allocator of device memory. It outlives the buffers taken from it.
struct Memory {
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* data) noexcept = 0;

 protected:
  ~Memory() = default;
};

template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(index n, Memory& memory) : size_(n), memory_(&memory) {
    if (n > 0) data_ = static_cast<T*>(memory.allocate(static_cast<std::size_t>(n) * sizeof(T)));
  }
  explicit Buffer(index n) : size_(n) {
    if (n > 0) data_ = static_cast<T*>(Recycler::take(static_cast<std::size_t>(n) * sizeof(T)));
  }
  Buffer(Buffer&& o) noexcept { swap(o); }
  Buffer& operator=(Buffer&& o) noexcept {
    swap(o);
    return *this;
  }
  ~Buffer() {
    if (!data_) return;
    if (memory_) memory_->release(data_);
    else Recycler::give(data_, static_cast<std::size_t>(size_) * sizeof(T));
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  index size() const { return size_; }
  T& operator[](index i) { return data_[i]; }
  const T& operator[](index i) const { return data_[i]; }
  // Contents are lost when it grows.
  void reserve(index n) {
    if (n > size_) {
      Memory* memory = memory_;
      *this = Buffer();
      *this = memory ? Buffer(n, *memory) : Buffer(n);
    }
  }

 private:
  void swap(Buffer& o) {
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
    std::swap(memory_, o.memory_);
  }
  T* data_ = nullptr;
  index size_ = 0;
  Memory* memory_ = nullptr;
};

}  // namespace ot
