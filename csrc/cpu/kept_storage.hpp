// Where the CPU backend keeps entries of the plan: by rows as passes write them, and transposed as products read them.
#pragma once
#include <algorithm>
#include <functional>
#include <stdexcept>
#include <utility>

#include "core/backend.hpp"
#include "core/buffer.hpp"
#include "cpu/kernels.hpp"
#include "cpu/workers.hpp"

namespace ot::cpu {

// The transposed copy: products with T' gather from it, so that no two threads write one entry.
class TransposedEntries {
 public:
  // Made once for each version of T (n, m): a counting sort by column, in the order of rows. Up to 8 parts of rows
  // count and place their entries side by side. Memory traffic: idx is read twice, val once; 12 bytes written an entry.
  SparseRows of(const Kept& T, index n, index m, const Workers& workers) {
    if (T.version != 0 && T.version == version_) return view();
    version_ = 0;  // until it is complete
    const index parts = T.nnz < kOnOneThread ? 1 : std::min<index>(workers.threads(), kMostParts);
    const index rows = (n + parts - 1) / parts;
    begin_.reserve(m + 1);
    place_.reserve(parts * m);
    idx_.reserve(T.nnz);
    val_.reserve(T.nnz);
    const auto each = [&](index part, auto&& f) {
      for (index i = part * rows; i < std::min(n, (part + 1) * rows); ++i)
        for (index k = T.begin[i]; k < T.end[i]; ++k) f(i, k);
    };
    workers.for_tasks(parts, [&](index part) {
      index* count = place_.data() + part * m;
      std::fill(count, count + m, 0);
      each(part, [&](index, index k) { ++count[T.idx[k]]; });
    });
    index total = 0;
    for (index j = 0; j < m; ++j) {
      begin_[j] = total;
      for (index part = 0; part < parts; ++part) total += std::exchange(place_[part * m + j], total);
    }
    begin_[m] = total;
    workers.for_tasks(parts, [&](index part) {
      index* place = place_.data() + part * m;
      each(part, [&](index i, index k) {
        const index to = place[T.idx[k]]++;
        idx_[to] = static_cast<std::int32_t>(i);
        val_[to] = T.val[k];
      });
    });
    version_ = T.version;
    return view();
  }
  void forget() { version_ = 0; }

 private:
  static constexpr index kOnOneThread = 1 << 14;  // entries: fewer are sorted sooner than threads wake up
  static constexpr index kMostParts = 8;

  SparseRows view() const { return {idx_.data(), val_.data(), begin_.data(), begin_.data() + 1}; }

  Buffer<index> begin_, place_;
  Buffer<std::int32_t> idx_;
  Buffer<double> val_;
  std::uint64_t version_ = 0;
};

// One region a chunk of rows, of `capacity` entries each. Untouched pages take no memory.
class KeptStorage {
 public:
  // Makes room for new entries: those of all earlier versions are lost. Returns the new version.
  std::uint64_t reserve(const RowChunks& chunks, index capacity) {
    chunks_ = chunks;
    capacity_ = capacity;
    idx_.reserve(chunks.count * capacity);
    val_.reserve(chunks.count * capacity);
    begin_.reserve(chunks.n);
    end_.reserve(chunks.n);
    return ++version_;
  }
  index capacity() const { return capacity_; }

  KeptRegion region(index chunk, double threshold) {
    const index base = chunk * capacity_;
    return {.threshold = threshold,
            .first = chunks_.begin(chunk),
            .idx = idx_.data() + base,
            .val = val_.data() + base,
            .base = base,
            .capacity = capacity_,
            .begin = begin_.data(),
            .end = end_.data()};
  }
  // Entries found in the rows of a chunk up to `last`: more than the capacity where some were not stored.
  index found(index chunk, index last) const { return end_[last - 1] - chunk * capacity_; }
  index found(index chunk) const { return found(chunk, chunks_.end(chunk)); }

  // Hands the entries out by pointers.
  void publish(Kept& kept) const {
    kept.idx = idx_.data();
    kept.val = val_.data();
    kept.begin = begin_.data();
    kept.end = end_.data();
    kept.version = version_;
  }
  // Copies them out, one row behind another.
  void copy(Candidates& to) const {
    index place = 0;
    for (index i = 0; i < chunks_.n; ++i) {
      to.begin[i] = place;
      std::copy(idx_.data() + begin_[i], idx_.data() + end_[i], to.idx.data() + place);
      std::copy(val_.data() + begin_[i], val_.data() + end_[i], to.cost.data() + place);
      place += end_[i] - begin_[i];
    }
    to.begin[chunks_.n] = place;
  }

  // Throws where a later pass has overwritten T. Version 0: entries of the caller's own.
  void check(const Kept& T) const {
    if (T.version != 0 && T.version != version_) throw std::logic_error(kStaleKept);
  }
  SparseRows rows(const Kept& T) const {
    check(T);
    return {T.idx, T.val, T.begin, T.end};
  }
  SparseRows columns(const Kept& T, index n, index m, const Workers& workers) {
    check(T);
    return transposed_.of(T, n, m, workers);
  }

  // Zeroes all entries below the count-th largest, which is returned.
  double keep_largest(const Kept& T, index count) {
    check(T);
    if (count >= T.nnz) return T.threshold;
    sorted_.reserve(T.nnz);
    double* end = sorted_.data();
    for_values(T, [&](double& v) { *end++ = v; });
    double* nth = sorted_.data() + std::max<index>(count, 1) - 1;
    std::nth_element(sorted_.data(), nth, end, std::greater<>());
    for_values(T, [cut = *nth](double& v) { v = v < cut ? 0.0 : v; });
    transposed_.forget();
    return *nth;
  }

 private:
  template <class F>
  void for_values(const Kept& T, F&& f) {
    for (index c = 0; c < chunks_.count; ++c) {
      const index first = T.begin[chunks_.begin(c)], last = T.end[chunks_.end(c) - 1];
      for (index k = first; k < last; ++k) f(val_[k]);
    }
  }

  RowChunks chunks_{0};
  index capacity_ = 0;
  std::uint64_t version_ = 0;
  Buffer<std::int32_t> idx_;
  Buffer<double> val_, sorted_;
  Buffer<index> begin_, end_;
  TransposedEntries transposed_;
};

}  // namespace ot::cpu
