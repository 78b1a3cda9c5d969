// Host memory whose blocks are kept for the next solve. The first touch of a page of 4 KiB is a page fault of about
// two microseconds; without reuse, faults are a tenth of the time of a solve that takes milliseconds. At most 32 MiB
// are kept, in blocks of 64 KiB to 16 MiB; the oldest is released first.
#pragma once
#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "core/types.hpp"

namespace ot {

class Recycler {
 public:
  // Large blocks are aligned to huge pages, and ask the system for them.
  static void* take(std::size_t bytes) {
    bytes = rounded(bytes);
    if (kept(bytes))
      if (void* block = instance().find(bytes)) return block;
    const std::size_t align = bytes >= 2 * kHuge ? kHuge : 64;
    const std::size_t whole = (bytes + align - 1) / align * align;
    void* block = std::aligned_alloc(align, whole);
    if (!block) throw std::bad_alloc();
#if defined(__linux__)
    if (align == kHuge) madvise(block, whole, MADV_HUGEPAGE);
#endif
    return block;
  }
  static void give(void* block, std::size_t bytes) noexcept {
    bytes = rounded(bytes);
    if (!(kept(bytes) && instance().keep(block, bytes))) std::free(block);
  }

 private:
  static constexpr std::size_t kHuge = std::size_t{1} << 21;                                 // a huge page
  static constexpr std::size_t kLeast = std::size_t{1} << 16, kMost = std::size_t{1} << 24;  // of a block that is kept
  static constexpr std::size_t kTotal = std::size_t{1} << 25;                                // of all blocks kept
#if defined(__SANITIZE_ADDRESS__)
  static constexpr bool kKeep = false;  // the sanitiser must see reads of released memory
#else
  static constexpr bool kKeep = true;
#endif
  struct Block {
    void* data;
    std::size_t bytes;
  };

  static Recycler& instance() {
    static auto* const recycler = new Recycler;  // never deleted: other static objects may release memory at exit
    return *recycler;
  }
  static bool kept(std::size_t bytes) { return kKeep && bytes >= kLeast && bytes <= kMost; }
  // Sizes of blocks that may be kept are rounded up to four sizes an octave, so that a later request finds its size.
  static std::size_t rounded(std::size_t bytes) {
    if (bytes < kLeast || bytes > kMost) return (bytes + 63) / 64 * 64;
    const std::size_t step = std::bit_floor(bytes) / 4;
    return (bytes + step - 1) / step * step;
  }

  // Does not wait for the lock: after a fork, a thread that no longer exists may hold it.
  void* find(std::size_t bytes) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return nullptr;
    for (std::size_t k = count_; k-- > 0;)
      if (blocks_[k].bytes == bytes) {
        void* data = blocks_[k].data;
        remove(k);
        return data;
      }
    return nullptr;
  }
  bool keep(void* data, std::size_t bytes) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock) return false;
    while (count_ == blocks_.size() || total_ + bytes > kTotal) {
      std::free(blocks_[0].data);
      remove(0);
    }
    blocks_[count_++] = {data, bytes};
    total_ += bytes;
    return true;
  }
  void remove(std::size_t k) {
    total_ -= blocks_[k].bytes;
    --count_;
    for (; k < count_; ++k) blocks_[k] = blocks_[k + 1];
  }

  std::mutex mutex_;
  std::array<Block, 64> blocks_{};
  std::size_t count_ = 0, total_ = 0;
};

template <class T>
struct Recycling {
  using value_type = T;
  Recycling() = default;
  template <class U>
  Recycling(const Recycling<U>&) {}
  T* allocate(std::size_t n) {
    if (n > static_cast<std::size_t>(-1) / (2 * sizeof(T))) throw std::bad_array_new_length();
    return static_cast<T*>(Recycler::take(n * sizeof(T)));
  }
  void deallocate(T* data, std::size_t n) noexcept { Recycler::give(data, n * sizeof(T)); }
  friend bool operator==(Recycling, Recycling) { return true; }
};

}  // namespace ot
