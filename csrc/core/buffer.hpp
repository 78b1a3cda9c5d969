// Owned, aligned, uninitialised host memory; large blocks ask for huge pages (fewer page faults).
#pragma once
#include <cstdlib>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "core/types.hpp"

namespace ot {

template <class T>
class Buffer {
 public:
  Buffer() = default;
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
  ~Buffer() { std::free(data_); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  index size() const { return size_; }
  T& operator[](index i) { return data_[i]; }
  const T& operator[](index i) const { return data_[i]; }
  // Contents are lost when it grows.
  void reserve(index n) {
    if (n > size_) {
      *this = Buffer();
      *this = Buffer(n);
    }
  }

 private:
  void swap(Buffer& o) {
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
  }
  T* data_ = nullptr;
  index size_ = 0;
};

}  // namespace ot
