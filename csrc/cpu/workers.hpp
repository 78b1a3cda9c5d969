// How the CPU backend divides work among threads. Rows form chunks and vectors form blocks that depend on their length
// alone; what is summed over a chunk or a block is added in a fixed order. Results therefore do not depend on the
// number of threads.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "core/buffer.hpp"
#include "core/monitor.hpp"
#include "cpu/dispatch.hpp"
#include "cpu/kernels.hpp"
#include "cpu/thread_pool.hpp"

namespace ot::cpu {

// At most kMost chunks of rows, each with column sums and kept entries of its own.
struct RowChunks {
  static constexpr index kMost = 64;
  static constexpr index kLeastRows = 64;

  index n, rows, count;
  explicit RowChunks(index size)
      : n(size),
        rows(std::max(kLeastRows, round_up((size + kMost - 1) / kMost, kMaxRows))),
        count((size + rows - 1) / rows) {}
  index begin(index chunk) const { return chunk * rows; }
  index end(index chunk) const { return std::min(n, (chunk + 1) * rows); }
};

class Workers {
 public:
  static constexpr index kBlock = 4096;  // elements of a vector: 32 KB, as much as L1 holds

  // `poll` says whether the solve is to be interrupted (Ctrl-C); called on the caller's thread.
  Workers(int threads, std::function<bool()> poll)
      : threads_(std::clamp(threads > 0 ? threads : default_threads(), 1, ThreadPool::kMaxThreads)),
        interrupted_(std::move(poll)),
        spaces_(new WorkSpace[static_cast<std::size_t>(threads_)]) {}

  int threads() const { return threads_; }

  // f(k) for k in [0, count).
  template <class F>
  void for_tasks(index count, F&& f) const {
    ThreadPool::instance().run(count, threads_, f);
  }

  // f(i0, i1) for the blocks of a vector of length n; on one thread where it is so short that starting others takes
  // longer.
  template <class F>
  void for_blocks(index n, F&& f) const {
    ThreadPool::instance().run(blocks(n), n < 4 * kBlock ? 1 : threads_,
                               [&](index k) { f(k * kBlock, std::min(n, (k + 1) * kBlock)); });
  }
  static index blocks(index n) { return (n + kBlock - 1) / kBlock; }

  // f(chunk, i0, i1, work) for all rows, with work space of work_bytes(geo). A chunk comes in pieces, in order, on one
  // thread; Ctrl-C is polled between them. Throws Interrupted.
  template <class F>
  void for_rows(const Geometry& geo, F&& f) {
    const RowChunks chunks(geo.n);
    const auto bytes = static_cast<index>(work_bytes(geo));
    for (int s = 0; s < threads_; ++s) spaces_[s].memory.reserve(bytes);
    const index piece = round_up(kPiece / std::max<index>(geo.m, 1) + 1, kMaxRows);
    const auto caller = std::this_thread::get_id();
    stop_.store(false, std::memory_order_relaxed);
    ThreadPool::instance().run(chunks.count, threads_, [&](index chunk) {
      WorkSpace& space = take_space();
      for (index i = chunks.begin(chunk); i < chunks.end(chunk); i += piece) {
        if (stop_.load(std::memory_order_relaxed)) break;
        f(chunk, i, std::min(i + piece, chunks.end(chunk)), space.memory.data());
        if (std::this_thread::get_id() == caller) ask();
      }
      space.taken.store(false, std::memory_order_release);
    });
    ask();
    if (stop_.load()) throw Interrupted();
  }

  // For work on the caller's thread alone. Throws Interrupted.
  void poll() {
    stop_.store(false, std::memory_order_relaxed);
    ask();
    if (stop_.load()) throw Interrupted();
  }

 private:
  static constexpr index kPiece = index{1} << 21;             // entries of C between two polls: some milliseconds
  static constexpr std::chrono::milliseconds kPollEvery{20};  // polling takes the GIL

  struct WorkSpace {
    std::atomic<bool> taken{false};
    Buffer<char> memory;
  };

  // There are as many spaces as threads: a free one is found.
  WorkSpace& take_space() {
    int s = 0;
    while (spaces_[s].taken.exchange(true, std::memory_order_acquire)) s = (s + 1) % threads_;
    return spaces_[s];
  }

  void ask() {
    const auto now = std::chrono::steady_clock::now();
    if (!interrupted_ || now - asked_ < kPollEvery) return;
    asked_ = now;
    if (interrupted_()) stop_.store(true);
  }

  int threads_;
  std::function<bool()> interrupted_;
  std::chrono::steady_clock::time_point asked_{};
  std::atomic<bool> stop_{false};
  std::unique_ptr<WorkSpace[]> spaces_;
};

// A row of m column sums (or minima) for each of `count` chunks, to be folded in the order of chunks.
class ColumnParts {
 public:
  void reserve(index count, index m) {
    stride_ = row_stride(m);
    parts_.reserve(count * stride_);
  }
  double* of(index chunk) { return parts_.data() + chunk * stride_; }
  // Starts a chunk with `value` in all of its columns.
  double* start(index chunk, double value) {
    std::fill(of(chunk), of(chunk) + stride_, value);
    return of(chunk);
  }
  index stride() const { return stride_; }

 private:
  Buffer<double> parts_;
  index stride_ = 0;
};

}  // namespace ot::cpu
