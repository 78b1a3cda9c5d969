// Owned, aligned, uninitialised memory: of the host, where large blocks ask for huge pages (fewer
// page faults), or of a device.
#pragma once
#include <cstdlib>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "core/types.hpp"

namespace ot {

// Where the memory of a device comes from. It outlives the buffers taken from it.
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
    if (n == 0) return;
    constexpr std::size_t huge = std::size_t{1} << 21;
    std::size_t bytes = static_cast<std::size_t>(n) * sizeof(T);
    const std::size_t align = bytes >= 2 * huge ? huge : 64;
    bytes = (bytes + align - 1) / align * align;
    data_ = static_cast<T*>(std::aligned_alloc(align, bytes));
    if (!data_) throw std::bad_alloc();
#if defined(__linux__)
    if (align == huge) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
  }
  Buffer(Buffer&& o) noexcept { swap(o); }
  Buffer& operator=(Buffer&& o) noexcept {
    swap(o);
    return *this;
  }
  ~Buffer() {
    if (memory_ && data_) memory_->release(data_);
    else std::free(data_);
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
