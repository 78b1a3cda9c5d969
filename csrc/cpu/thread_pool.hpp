// A small pool of threads. The caller works too and does not wait for workers that have not begun; where another call
// uses the pool, the caller works alone. After a fork (POSIX) the child has a pool of its own, without threads yet.
#pragma once
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define OT_HAS_FORK 1
#endif

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "core/types.hpp"

namespace ot::cpu {

// Tells the processor that this thread spins: its twin on the same core runs faster.
inline void spin_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class ThreadPool {
 public:
  static constexpr int kMaxThreads = 128;

  static ThreadPool& instance() {
#if defined(OT_HAS_FORK)
    static const int registered = pthread_atfork(nullptr, nullptr, [] { slot() = new ThreadPool; });
    (void)registered;
#endif
    return *slot();
  }

  // Calls f(k) for k in [0, count), on at most `threads` threads. f must not throw.
  template <class F>
  void run(index count, int threads, F&& f) {
    threads = static_cast<int>(std::min<index>(std::min(threads, kMaxThreads), count));
    std::unique_lock<std::mutex> lock(busy_, std::defer_lock);
    if (threads <= 1 || !lock.try_lock() || !grow(threads - 1)) {
      for (index k = 0; k < count; ++k) f(k);
      return;
    }
    call_ = [](void* p, index k) { (*static_cast<std::remove_reference_t<F>*>(p))(k); };
    object_ = &f;
    count_ = count;
    next_.store(0, std::memory_order_relaxed);
    const std::uint32_t open = (generation(control_.load()) + 1) << 16;
    control_.store(open | static_cast<std::uint32_t>(threads - 1) << 8, std::memory_order_seq_cst);
    control_.notify_all();
    work();
    // Close the job: wait for the workers inside, each with its last call. They end soon: spin, then yield.
    for (int spins = 0;; ++spins) {
      std::uint32_t c = control_.load(std::memory_order_acquire);
      if (inside(c) == 0 && control_.compare_exchange_weak(c, (generation(c) + 1) << 16, std::memory_order_acq_rel))
        return;
      if (spins < kSpinsAtEnd) spin_pause();
      else std::this_thread::yield();
    }
  }

 private:
  // Some tens of microseconds each: about what it takes to wake a thread that sleeps.
  static constexpr int kSpinsAtEnd = 4000, kSpinsForWork = 2000;

  // control_: generation (16 bits, odd while a job is open) | workers wanted (8 bits) | workers inside (8 bits).
  static std::uint32_t generation(std::uint32_t c) { return c >> 16; }
  static std::uint32_t wanted(std::uint32_t c) { return c >> 8 & 0xff; }
  static std::uint32_t inside(std::uint32_t c) { return c & 0xff; }

  // Never destroyed: workers may outlive static destruction.
  static ThreadPool*& slot() {
    static ThreadPool* pool = new ThreadPool;
    return pool;
  }

  // Starts threads up to so many. False where there is none.
  bool grow(int workers) {
    try {
      while (static_cast<int>(workers_) < workers) {
        std::thread([this] { loop(); }).detach();
        ++workers_;
      }
    } catch (...) {  // the system gives no more threads: use those that there are
    }
    return workers_ > 0;
  }

  void work() {
    for (;;) {
      const index k = next_.fetch_add(1, std::memory_order_relaxed);
      if (k >= count_) return;
      call_(object_, k);
    }
  }

  // What a worker does: enters each open job once, spins for the next one, then sleeps.
  void loop() {
    std::uint32_t done = 0;  // generations of open jobs are odd
    for (;;) {
      std::uint32_t c = control_.load(std::memory_order_acquire);
      for (int spins = 0; spins < kSpinsForWork && !(generation(c) & 1 && generation(c) != done); ++spins) {
        spin_pause();
        c = control_.load(std::memory_order_acquire);
      }
      const bool open = generation(c) & 1 && generation(c) != done;
      if (!open || inside(c) >= wanted(c)) {
        control_.wait(c, std::memory_order_acquire);
        continue;
      }
      if (!control_.compare_exchange_weak(c, c + 1, std::memory_order_acq_rel)) continue;
      done = generation(c);
      work();
      control_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::mutex busy_;
  std::size_t workers_ = 0;
  std::atomic<std::uint32_t> control_{0};
  std::atomic<index> next_{0};
  index count_ = 0;
  void (*call_)(void*, index) = nullptr;
  void* object_ = nullptr;
};

}  // namespace ot::cpu
