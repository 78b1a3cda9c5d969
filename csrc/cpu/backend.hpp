// The CPU backend: coarse operations split into chunks of rows that depend on n alone. Column sums
// belong to chunks and are added in a fixed order, so results do not depend on the thread count.
#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "algorithms/graph_factor.hpp"
#include "core/backend.hpp"
#include "core/buffer.hpp"
#include "cpu/dispatch.hpp"
#include "cpu/thread_pool.hpp"
#include "sparse/backend.hpp"

namespace ot::cpu {

class Backend {
 public:
  explicit Backend(int threads, std::function<bool()> poll = {})
      : kernels_(kernels()),
        threads_(std::min(threads > 0 ? threads : default_threads(), ThreadPool::kMaxThreads)),
        poll_(std::move(poll)),
        slots_(new Slot[static_cast<std::size_t>(threads_)]) {}

  struct Kernel {
    Buffer<char> data;
    Precision precision = Precision::f64;
    index n = 0, m = 0, ld = 0;
  };

  template <class T>
  Buffer<T> buffer(index n) {
    return Buffer<T>(n);
  }

  void pass(const Geometry& geo, const Pass& p) { run_pass(geo, p, nullptr); }

  // Room for twice the limit in every chunk of rows: what stays untouched takes no memory.
  void pass(const Geometry& geo, const Pass& p, Kept& kept) {
    const Chunks chunks(geo.n);
    kept.version = ++kept_version_;
    kept_capacity_ = std::min(2 * kept.limit, geo.m) * chunks.rows;
    idx_.reserve(chunks.count * kept_capacity_);
    val_.reserve(chunks.count * kept_capacity_);
    begin_.reserve(geo.n);
    end_.reserve(geo.n);
    run_pass(geo, p, &kept);
    kept.idx = idx_.data();
    kept.val = val_.data();
    kept.begin = begin_.data();
    kept.end = end_.data();
    kept_n_ = geo.n;
    kept_rows_ = chunks.rows;
    kept_chunks_ = chunks.count;
  }

  void kept_apply(const Kept& T, index n, const double* x, double* out) {
    check(T);
    kept_product({T.idx, T.val, T.begin, T.end}, false, n, T.nnz, x, out);
  }
  // Gathers from a transposed copy, made once after each pass: no two threads write one entry.
  void kept_apply_transposed(const Kept& T, index n, index m, const double* y, double* out) {
    kept_product(transposed(T, n, m), false, m, T.nnz, y, out);
  }
  void kept_diagonal(const Kept& T, index n, index m, const double* w, double* out) {
    kept_product(transposed(T, n, m), true, m, T.nnz, w, out);
  }

  static constexpr index kFactorPays = 150;
  bool kept_factor(const Kept& T, index n, index m, const double* rows, const double* columns) {
    check(T);
    stop_.store(false, std::memory_order_relaxed);
    return factor_.factor(T, n, m, rows, columns, [this] {
      look();
      if (stop_.load()) throw Interrupted();
    });
  }
  void kept_solve(index n, index m, const double* y, double* out) {
    solved_.resize(static_cast<std::size_t>(n + m));
    std::fill_n(solved_.data(), n, 0.0);
    std::copy_n(y, m, solved_.data() + n);
    factor_.solve(solved_.data());
    std::copy_n(solved_.data() + n, m, out);
  }

  double kept_largest(const Kept& T, index count) {
    check(T);
    if (count >= T.nnz) return T.threshold;
    scratch_.reserve(T.nnz);
    double* end = scratch_.data();
    each_kept(T, [&](double& v) { *end++ = v; });
    double* nth = scratch_.data() + std::max<index>(count, 1) - 1;
    std::nth_element(scratch_.data(), nth, end, std::greater<>());
    each_kept(T, [cut = *nth](double& v) { v = v < cut ? 0.0 : v; });
    transposed_version_ = 0;
    return *nth;
  }

  void build_kernel(const Geometry& geo, double reg, const double* phi, const double* psi, Precision precision,
                    Kernel& K) {
    const index size = precision == Precision::f32 ? 4 : 8;
    K.precision = precision;
    K.n = geo.n;
    K.m = geo.m;
    K.ld = round_up(geo.m, 64 / size);
    K.data.reserve(K.n * K.ld * size);
    PassArgs args{};
    args.geo = geo;
    args.inv_reg = 1 / reg;
    args.h = psi;
    args.phi = const_cast<double*>(phi);
    const auto f = kernels_.plan[geo.dtype == DType::f64][precision == Precision::f64];
    rows(geo, [&](index, index i0, index i1, void* work) {
      PassArgs mine = args;
      mine.work = work;
      f(mine, K.data.data(), K.ld, nullptr, i0, i1);
    });
  }

  void kernel_pass(const Kernel& K, const KernelPass& p) {
    const Chunks chunks(K.n);
    const bool f64 = p.precision == Precision::f64 || K.precision == Precision::f64;
    const auto f = kernels_.kernel_pass[K.precision == Precision::f64][f64];
    parts_.reserve(chunks.count * stride(K.m));
    q_.reserve(K.ld);
    if (f64) std::fill(std::copy(p.q, p.q + K.m, q_.data()), q_.data() + K.ld, 0.0);
    else std::fill(std::copy(p.q, p.q + K.m, q32()), q32() + K.ld, 0.0f);
    Geometry shape;
    shape.n = K.n;
    shape.m = K.m;
    rows(shape, [&](index chunk, index i0, index i1, void*) {
      double* part = parts_.data() + chunk * stride(K.m);
      if (i0 == chunks.begin(chunk)) std::fill(part, part + K.ld, 0.0);
      f(KernelArgs{K.data.data(), K.m, K.ld, q_.data(), p.target, p.a, p.u, p.row, part}, i0, i1);
    });
    add_parts(chunks.count, K.m, p.col);
  }

  void c_transform(const Geometry& geo, const double* g, double* row, const double* weight, double* col) {
    const Chunks chunks(geo.n);
    const auto f = kernels_.c_transform[geo.dtype == DType::f64];
    if (col) parts_.reserve(chunks.count * stride(geo.m));
    rows(geo, [&](index chunk, index i0, index i1, void* work) {
      double* part = col ? parts_.data() + chunk * stride(geo.m) : nullptr;
      if (col && i0 == chunks.begin(chunk)) std::fill(part, part + geo.m, INFINITY);
      f(MinArgs{geo, g, row, part, weight, work}, i0, i1);
    });
    if (col)
      for_each(geo.m, [=, this](index j) {
        double low = INFINITY;
        for (index c = 0; c < chunks.count; ++c) low = std::min(low, parts_[c * stride(geo.m) + j]);
        col[j] = low;
      });
  }

  void cost_apply(const Geometry& geo, const double* w, double* out) {
    const auto f = kernels_.cost_apply[geo.dtype == DType::f64];
    rows(geo, [&](index, index i0, index i1, void* work) { f(geo, w, out, work, i0, i1); });
  }

  // out = P V for V (k, m), or P'V for V (k, n), both row-major; P is never stored.
  void apply_plan(const Geometry& geo, const Pass& p, const double* V, index k, bool columns, double* out) {
    const Chunks chunks(geo.n);
    const auto f = kernels_.apply[geo.dtype == DType::f64];
    const index width = columns ? k * geo.m : 0;
    parts_.reserve(chunks.count * stride(width));
    rows(geo, [&](index chunk, index i0, index i1, void* work) {
      double* part = parts_.data() + chunk * stride(width);
      if (i0 == chunks.begin(chunk)) std::fill(part, part + stride(width), 0.0);
      f(ApplyArgs{arguments(geo, p, work), V, columns ? part : out, k, columns}, i0, i1);
    });
    if (columns) add_parts(chunks.count, width, out);
  }

  // Rows [first, last) of the plan, in the precision of the pass.
  void plan_rows(const Geometry& geo, const Pass& p, index first, index last, void* out, index ld) {
    const bool f64 = p.precision == Precision::f64;
    const auto f = kernels_.plan[geo.dtype == DType::f64][f64];
    Geometry part = geo;
    part.n = last - first;
    rows(part, [&](index, index i0, index i1, void* work) {
      f(arguments(geo, p, work), static_cast<char*>(out) - first * ld * (f64 ? 8 : 4), ld, p.a, first + i0, first + i1);
    });
  }

  void cost_rows(const Geometry& geo, void* out, index ld) {
    const auto f = kernels_.cost_rows[geo.dtype == DType::f64];
    rows(geo, [&](index, index i0, index i1, void*) { f(geo, out, ld, i0, i1); });
  }

  // Twice where the storage of the last pass was too small.
  void candidates(const Geometry& geo, const double* f, const double* g, double margin, index limit, Candidates& to) {
    const Chunks chunks(geo.n);
    ++kept_version_;
    const auto slack = kernels_.slack[geo.dtype == DType::f64];
    begin_.reserve(geo.n);
    end_.reserve(geo.n);
    if (slack_capacity_ == 0) slack_capacity_ = std::min<index>(64, geo.m) * chunks.rows;
    to.begin.reserve(geo.n + 1);
    to.nnz = 0;
    for (index most = 0;; slack_capacity_ = most + most / 2) {
      idx_.reserve(chunks.count * slack_capacity_);
      val_.reserve(chunks.count * slack_capacity_);
      rows(geo, [&](index chunk, index i0, index i1, void* work) {
        const index base = chunk * slack_capacity_;
        KeptView view{0,    chunks.begin(chunk), idx_.data() + base, val_.data() + base,
                      base, slack_capacity_,     begin_.data(),      end_.data()};
        slack(SlackArgs{geo, f, g, margin, &view, work}, i0, i1);
      });
      to.nnz = most = 0;
      for (index c = 0; c < chunks.count; ++c) {
        const index used = end_[chunks.end(c) - 1] - c * slack_capacity_;
        most = std::max(most, used);
        to.nnz += used;
      }
      to.overflow = to.nnz > limit;
      if (to.overflow) return;
      if (most <= slack_capacity_) break;
    }
    to.idx.reserve(to.nnz);
    to.cost.reserve(to.nnz);
    index at = 0;
    for (index i = 0; i < geo.n; ++i) {
      to.begin[i] = at;
      std::copy(idx_.data() + begin_[i], idx_.data() + end_[i], to.idx.data() + at);
      std::copy(val_.data() + begin_[i], val_.data() + end_[i], to.cost.data() + at);
      at += end_[i] - begin_[i];
    }
    to.begin[geo.n] = at;
  }

  void lines(const LineView& L, double* sums) {
    const index count = line_chunks(L);
    parts_.reserve(count * stride(L.others));
    ThreadPool::instance().run(count, threads_, [&](index c) {
      double* part = parts_.data() + c * stride(L.others);
      std::fill(part, part + L.others, 0.0);
      kernels_.lines(L, part, first_line(L, c, count), first_line(L, c + 1, count));
    });
    add_parts(count, L.others, sums);
  }

  void line_entries(const LineView& L) {
    const index count = line_chunks(L);
    ThreadPool::instance().run(count, threads_, [&](index c) {
      kernels_.line_entries(L, first_line(L, c, count), first_line(L, c + 1, count));
    });
  }

  void line_step(const LineSystem& system) { kernels_.line_step(system); }

  void write(index n, const double* from, double* to) { std::copy_n(from, n, to); }
  void read(index n, const double* from, double* to) { std::copy_n(from, n, to); }

  CostStats stats(const Geometry& geo) {
    const Chunks chunks(geo.n);
    const auto f = kernels_.stats[geo.dtype == DType::f64];
    const CostStats none{INFINITY, -INFINITY, 0, 0, 0, -1};
    std::array<CostStats, kMaxChunks> part;
    part.fill(none);
    rows(geo, [&](index chunk, index i0, index i1, void*) {
      CostStats s = none;
      f(geo, i0, i1, s);
      merge(part[static_cast<std::size_t>(chunk)], s);
    });
    CostStats total = none;
    for (index c = 0; c < chunks.count; ++c) merge(total, part[static_cast<std::size_t>(c)]);
    return total;
  }

  template <class F>
  void for_each(index n, F f) {
    by_blocks(n, [&](index i0, index i1) {
      for (index i = i0; i < i1; ++i) f(i);
    });
  }

  void exp(index n, const double* x, double* out) {
    by_blocks(n, [&](index i0, index i1) { kernels_.exp(x + i0, out + i0, i1 - i0); });
  }
  void log(index n, const double* x, double* out) {
    by_blocks(n, [&](index i0, index i1) { kernels_.log(x + i0, out + i0, i1 - i0); });
  }

  // out_k = sum_j w_j v_j D_kj
  template <std::size_t K>
  void dots(index n, const double* w, const double* v, const std::array<const double*, K>& D, int count, double* out) {
    sums_.reserve(blocks(n) * static_cast<index>(K));
    by_blocks(n, [&](index i0, index i1) {
      std::array<const double*, K> d{};
      for (int k = 0; k < count; ++k) d[k] = D[k] + i0;
      kernels_.dots(w + i0, v + i0, d.data(), count, i1 - i0, sums_.data() + i0 / kBlock * static_cast<index>(K));
    });
    for (int k = 0; k < count; ++k) {
      out[k] = 0;
      for (index c = 0; c < blocks(n); ++c) out[k] += sums_[c * static_cast<index>(K) + k];
    }
  }

  // out = x - sum_k c_k D_k
  template <std::size_t K>
  void combine(index n, const double* x, const double* c, const std::array<const double*, K>& D, int count,
               double* out) {
    by_blocks(n, [&](index i0, index i1) {
      std::array<const double*, K> d{};
      for (int k = 0; k < count; ++k) d[k] = D[k] + i0;
      kernels_.combine(x + i0, c, d.data(), count, i1 - i0, out + i0);
    });
  }

  // Sums in registers: what f writes cannot alias them.
  template <int N, class F>
  static void add(index first, index last, F f, double* out) {
    double total[N] = {};
    for (index i = first; i < last; ++i) {
      double one[N] = {};
      f(i, one);
      for (int c = 0; c < N; ++c) total[c] += one[c];
    }
    for (int c = 0; c < N; ++c) out[c] = total[c];
  }
  template <int N, class F>
  std::array<double, N> sums(index n, F f) {
    std::array<double, N> total{};
    if (n <= kBlock) {
      add<N>(0, n, f, total.data());
      return total;
    }
    sums_.reserve(blocks(n) * N);
    ThreadPool::instance().run(blocks(n), n < 4 * kBlock ? 1 : threads_, [&](index k) {
      add<N>(k * kBlock, std::min(n, (k + 1) * kBlock), f, sums_.data() + k * N);
    });
    for (index k = 0; k < blocks(n); ++k)
      for (int c = 0; c < N; ++c) total[static_cast<std::size_t>(c)] += sums_[k * N + c];
    return total;
  }

  int threads() const { return threads_; }
  const Kernels& table() const { return kernels_; }

 private:
  // Lines in chunks of about equal numbers of entries, whose sums are added in order.
  static index line_chunks(const LineView& L) {
    return std::clamp<index>((L.begin[L.lines] + 16 * L.lines) >> 13, 1, 16);
  }
  static index first_line(const LineView& L, index chunk, index chunks) {
    if (chunk == chunks) return L.lines;
    return std::lower_bound(L.begin, L.begin + L.lines, L.begin[L.lines] * chunk / chunks) - L.begin;
  }

  static constexpr index kMaxChunks = 64, kBlock = 4096;
  static constexpr index kPiece = index{1} << 21;  // entries between two looks at the interrupt flag

  static index stride(index m) { return row_stride(m); }
  static index blocks(index n) { return (n + kBlock - 1) / kBlock; }

  struct Chunks {
    index n, rows, count;
    explicit Chunks(index size)
        : n(size),
          rows(std::max<index>(64, round_up((size + kMaxChunks - 1) / kMaxChunks, kMaxRows))),
          count((size + rows - 1) / rows) {}
    index begin(index c) const { return c * rows; }
    index end(index c) const { return std::min(n, (c + 1) * rows); }
  };

  struct Slot {
    std::atomic<bool> taken{false};
    Buffer<char> work;
  };

  // f(chunk, i0, i1, work) over all rows; a chunk's pieces come in order on one thread.
  template <class F>
  void rows(const Geometry& geo, F&& f) {
    const Chunks chunks(geo.n);
    const auto bytes = static_cast<index>(work_bytes(geo));
    for (int s = 0; s < threads_; ++s) slots_[s].work.reserve(bytes);
    const index piece = round_up(kPiece / std::max<index>(geo.m, 1) + 1, kMaxRows);
    const auto caller = std::this_thread::get_id();
    stop_.store(false, std::memory_order_relaxed);
    ThreadPool::instance().run(chunks.count, threads_, [&](index c) {
      int s = 0;
      while (slots_[s].taken.exchange(true, std::memory_order_acquire)) s = (s + 1) % threads_;
      for (index i = chunks.begin(c); i < chunks.end(c); i += piece) {
        if (stop_.load(std::memory_order_relaxed)) break;
        f(c, i, std::min(i + piece, chunks.end(c)), slots_[s].work.data());
        if (std::this_thread::get_id() == caller) look();
      }
      slots_[s].taken.store(false, std::memory_order_release);
    });
    look();
    if (stop_.load()) throw Interrupted();
  }

  void look() {
    const auto now = std::chrono::steady_clock::now();
    if (!poll_ || now - looked_ < std::chrono::milliseconds(20)) return;
    looked_ = now;
    if (poll_()) stop_.store(true);
  }

  PassArgs arguments(const Geometry& geo, const Pass& p, void* work) const {
    PassArgs args{};
    args.geo = geo;
    args.inv_reg = 1 / p.reg;
    args.h = p.h;
    args.phi = p.phi;
    args.a = p.a;
    args.update = p.update;
    args.row = p.row;
    args.cost = p.cost;
    args.damp = p.damp;
    args.gradient = p.gradient;
    args.work = work;
    return args;
  }

  // Once a chunk has more to keep than it has room for, nothing more is kept.
  void run_pass(const Geometry& geo, const Pass& p, Kept* kept) {
    const Chunks chunks(geo.n);
    const auto f = kernels_.pass[geo.dtype == DType::f64][p.precision == Precision::f64];
    if (p.col) parts_.reserve(chunks.count * stride(geo.m));
    std::atomic<bool> full{false};
    rows(geo, [&](index chunk, index i0, index i1, void* work) {
      PassArgs args = arguments(geo, p, work);
      if (p.col) {
        args.col = parts_.data() + chunk * stride(geo.m);
        if (i0 == chunks.begin(chunk)) std::fill(args.col, args.col + stride(geo.m), 0.0);
      }
      const index base = chunk * kept_capacity_;
      KeptView view{kept ? kept->threshold : 0,
                    chunks.begin(chunk),
                    idx_.data() + base,
                    val_.data() + base,
                    base,
                    kept_capacity_,
                    begin_.data(),
                    end_.data()};
      if (kept && !full.load(std::memory_order_relaxed)) args.kept = &view;
      f(args, i0, i1);
      if (args.kept && end_[i1 - 1] > base + kept_capacity_) full.store(true, std::memory_order_relaxed);
    });
    if (p.col) add_parts(chunks.count, geo.m, p.col);
    if (!kept) return;
    kept->nnz = 0;
    for (index c = 0; c < chunks.count && !full; ++c) kept->nnz += end_[chunks.end(c) - 1] - c * kept_capacity_;
    kept->overflow = full || kept->nnz > kept->limit * geo.n;
  }

  template <class F>
  void each_kept(const Kept& T, F&& f) {
    for (index c = 0; c < kept_chunks_; ++c) {
      const index first = T.begin[c * kept_rows_], last = T.end[std::min(kept_n_, (c + 1) * kept_rows_) - 1];
      for (index k = first; k < last; ++k) f(val_[k]);
    }
  }

  // Threaded where the products are worth it.
  void kept_product(const Entries& T, bool square, index n, index nnz, const double* x, double* out) const {
    const index step = nnz < (1 << 13) ? std::max<index>(n, 1) : std::max<index>(64, n / 16);
    ThreadPool::instance().run((n + step - 1) / step, threads_, [&](index k) {
      kernels_.kept_product[square](T, x, out, k * step, std::min(n, (k + 1) * step));
    });
  }

  void check(const Kept& T) const {
    if (T.version != 0 && T.version != kept_version_) throw std::logic_error(kStaleKept);
  }

  // Counting sort by column, rows in order: each of a few parts counts and places its own rows.
  Entries transposed(const Kept& T, index n, index m) {
    const auto view = [&] {
      return Entries{col_idx_.data(), col_val_.data(), col_begin_.data(), col_begin_.data() + 1};
    };
    check(T);
    if (T.version != 0 && T.version == transposed_version_) return view();
    transposed_version_ = 0;  // not whole before the end
    const index parts = T.nnz < (1 << 14) ? 1 : std::min<index>(threads_, 8), step = (n + parts - 1) / parts;
    col_begin_.reserve(m + 1);
    col_idx_.reserve(T.nnz);
    col_val_.reserve(T.nnz);
    col_at_.reserve(parts * m);
    const auto each = [&](index part, auto&& f) {
      for (index i = part * step; i < std::min(n, (part + 1) * step); ++i)
        for (index k = T.begin[i]; k < T.end[i]; ++k) f(i, k);
    };
    ThreadPool::instance().run(parts, threads_, [&](index part) {
      index* count = col_at_.data() + part * m;
      std::fill(count, count + m, 0);
      each(part, [&](index, index k) { ++count[T.idx[k]]; });
    });
    index at = 0;
    for (index j = 0; j < m; ++j) {
      col_begin_[j] = at;
      for (index part = 0; part < parts; ++part) at += std::exchange(col_at_[part * m + j], at);
    }
    col_begin_[m] = at;
    ThreadPool::instance().run(parts, threads_, [&](index part) {
      index* to = col_at_.data() + part * m;
      each(part, [&](index i, index k) {
        const index here = to[T.idx[k]]++;
        col_idx_[here] = static_cast<std::int32_t>(i);
        col_val_[here] = T.val[k];
      });
    });
    transposed_version_ = T.version;
    return view();
  }

  void add_parts(index count, index m, double* out) {
    by_blocks(m, [&](index j0, index j1) { kernels_.add_rows(parts_.data(), count, stride(m), j0, j1, out); });
  }

  // f(i0, i1) over fixed blocks, threaded where there is enough to do.
  template <class F>
  void by_blocks(index n, F&& f) const {
    ThreadPool::instance().run(blocks(n), n < 4 * kBlock ? 1 : threads_,
                               [&](index k) { f(k * kBlock, std::min(n, (k + 1) * kBlock)); });
  }

  static void merge(CostStats& s, const CostStats& t) {
    s.min = std::min(s.min, t.min);
    s.max = std::max(s.max, t.max);
    s.nan += t.nan;
    s.neg_inf += t.neg_inf;
    s.pos_inf += t.pos_inf;
    if (s.first_bad < 0) s.first_bad = t.first_bad;
  }

  const Kernels& kernels_;
  int threads_;
  std::function<bool()> poll_;
  std::chrono::steady_clock::time_point looked_{};
  std::atomic<bool> stop_{false};
  std::unique_ptr<Slot[]> slots_;
  float* q32() { return reinterpret_cast<float*>(q_.data()); }

  Buffer<double> parts_, sums_, q_;
  Buffer<std::int32_t> idx_;
  Buffer<double> val_;
  Laplacian factor_;
  std::vector<double> solved_;
  Buffer<index> begin_, end_, col_begin_, col_at_;
  Buffer<std::int32_t> col_idx_;
  Buffer<double> col_val_, scratch_;
  std::uint64_t kept_version_ = 0, transposed_version_ = 0;
  index kept_n_ = 0, kept_rows_ = 0, kept_chunks_ = 0;
  index kept_capacity_ = 0, slack_capacity_ = 0;
};

}  // namespace ot::cpu
