// The CPU backend: every operation of core/backend.hpp as one or two kernels (cpu/kernels.hpp) over chunks of rows. The
// order below is that of the concepts. Bits do not depend on the number of threads (cpu/workers.hpp).
#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "algorithms/graph_factor.hpp"
#include "core/backend.hpp"
#include "core/buffer.hpp"
#include "cpu/dispatch.hpp"
#include "cpu/kept_storage.hpp"
#include "cpu/points.hpp"
#include "cpu/workers.hpp"
#include "sparse/backend.hpp"

namespace ot::cpu {

class Backend {
 public:
  explicit Backend(int threads, std::function<bool()> poll = {})
      : kernels_(kernels()), workers_(threads, std::move(poll)) {}

  int threads() const { return workers_.threads(); }
  const Kernels& table() const { return kernels_; }

  // RowScans
  TwoLeast row_minima(const Geometry& geo, index i, const double* v) {
    TwoLeast out;
    kernels_.row_minima[f64(geo.dtype)](row_of(geo, i), v, geo.m, out);
    return out;
  }
  Nearest relax_row(const Geometry& geo, index i, const RowStep& step) {
    Nearest out;
    kernels_.relax_row[f64(geo.dtype)](row_of(geo, i), geo.m, step, out);
    return out;
  }
  void column_minima(const Geometry& geo, double* least, index* at) {
    std::fill_n(least, geo.m, INFINITY);
    std::fill_n(at, geo.m, index{0});
    for (index i = 0; i < geo.n; ++i) kernels_.column_minima[f64(geo.dtype)](row_of(geo, i), geo.m, i, least, at);
  }

  // HostTasks
  template <class F>
  void for_tasks(index count, F&& task) {
    workers_.for_tasks(count, task);
  }
  void poll() { workers_.poll(); }

  // ---------------------------------------------------------------- Vectors

  template <class T>
  Buffer<T> buffer(index n) {
    return Buffer<T>(n);
  }
  void write(index n, const double* from, double* to) { std::copy_n(from, n, to); }
  void read(index n, const double* from, double* to) { std::copy_n(from, n, to); }

  template <class F>
  void for_each(index n, F f) {
    workers_.for_blocks(n, [&](index i0, index i1) {
      for (index i = i0; i < i1; ++i) f(i);
    });
  }
  void exp(index n, const double* x, double* out) {
    workers_.for_blocks(n, [&](index i0, index i1) { kernels_.exp(x + i0, out + i0, i1 - i0); });
  }
  void log(index n, const double* x, double* out) {
    workers_.for_blocks(n, [&](index i0, index i1) { kernels_.log(x + i0, out + i0, i1 - i0); });
  }

  // Sums of blocks, added in order.
  template <std::size_t K>
  void dots(index n, const double* w, const double* v, const std::array<const double*, K>& D, int count, double* out) {
    constexpr auto width = static_cast<index>(K);
    sums_.reserve(Workers::blocks(n) * width);
    workers_.for_blocks(n, [&](index i0, index i1) {
      const auto d = from(D, count, i0);
      kernels_.dots(w + i0, v + i0, d.data(), count, i1 - i0, sums_.data() + i0 / Workers::kBlock * width);
    });
    for (int k = 0; k < count; ++k) {
      out[k] = 0;
      for (index c = 0; c < Workers::blocks(n); ++c) out[k] += sums_[c * width + k];
    }
  }
  template <std::size_t K>
  void combine(index n, const double* x, const double* c, const std::array<const double*, K>& D, int count,
               double* out) {
    workers_.for_blocks(n, [&](index i0, index i1) {
      kernels_.combine(x + i0, c, from(D, count, i0).data(), count, i1 - i0, out + i0);
    });
  }
  template <int N, class F>
  std::array<double, N> sums(index n, F f) {
    std::array<double, N> total{};
    if (n <= Workers::kBlock) {
      sum_range<N>(0, n, f, total.data());
      return total;
    }
    sums_.reserve(Workers::blocks(n) * N);
    workers_.for_blocks(n,
                        [&](index i0, index i1) { sum_range<N>(i0, i1, f, sums_.data() + i0 / Workers::kBlock * N); });
    for (index k = 0; k < Workers::blocks(n); ++k)
      for (int c = 0; c < N; ++c) total[static_cast<std::size_t>(c)] += sums_[k * N + c];
    return total;
  }

  // ---------------------------------------------------------------- Passes

  void pass(const Geometry& geo, const Pass& p) {
    const auto run = kernels_.pass[f64(geo.dtype)][f64(p.precision)];
    run_pass(geo, p, [run](PassArgs& args, index, index i0, index i1) { run(args, i0, i1); });
  }

  void c_transform(const Geometry& geo, const double* g, double* row, const double* weight, double* col) {
    const RowChunks chunks(geo.n);
    const auto run = kernels_.c_transform[f64(geo.dtype)];
    if (col) parts_.reserve(chunks.count, geo.m);
    workers_.for_rows(geo, [&](index chunk, index i0, index i1, void* work) {
      if (col && i0 == chunks.begin(chunk)) parts_.start(chunk, INFINITY);
      run({.geo = geo, .g = g, .row = row, .col = col ? parts_.of(chunk) : nullptr, .weight = weight, .work = work}, i0,
          i1);
    });
    if (col)
      for_each(geo.m, [&](index j) {
        double low = INFINITY;
        for (index c = 0; c < chunks.count; ++c) low = std::min(low, parts_.of(c)[j]);
        col[j] = low;
      });
  }

  // ---------------------------------------------------------------- KeptEntries

  // Every chunk has room for twice the limit. Once one of them is full, no chunk keeps more.
  void pass(const Geometry& geo, const Pass& p, Kept& kept) {
    const RowChunks chunks(geo.n);
    const auto run = kernels_.pass[f64(geo.dtype)][f64(p.precision)];
    kept_.reserve(chunks, std::min(2 * kept.limit, geo.m) * chunks.rows);
    std::atomic<bool> full{false};
    run_pass(geo, p, [&](PassArgs& args, index chunk, index i0, index i1) {
      KeptRegion region = kept_.region(chunk, kept.threshold);
      if (!full.load(std::memory_order_relaxed)) args.kept = &region;
      run(args, i0, i1);
      if (args.kept && kept_.found(chunk, i1) > kept_.capacity()) full.store(true, std::memory_order_relaxed);
    });
    kept_.publish(kept);
    kept.nnz = 0;
    for (index c = 0; c < chunks.count && !full; ++c) kept.nnz += kept_.found(c);
    kept.overflow = full || kept.nnz > kept.limit * geo.n;
  }

  void kept_apply(const Kept& T, index n, const double* x, double* out) {
    kept_product(kept_.rows(T), n, T.nnz, [=, this](const SparseRows& rows, index i0, index i1) {
      kernels_.kept_product[0](rows, x, out, i0, i1);
    });
  }
  void kept_apply_transposed(const Kept& T, index n, index m, const double* y, double* out) {
    kept_product(kept_.columns(T, n, m, workers_), m, T.nnz, [=, this](const SparseRows& columns, index j0, index j1) {
      kernels_.kept_product[0](columns, y, out, j0, j1);
    });
  }
  void kept_diagonal(const Kept& T, index n, index m, const double* w, double* out) {
    kept_product(kept_.columns(T, n, m, workers_), m, T.nnz, [=, this](const SparseRows& columns, index j0, index j1) {
      kernels_.kept_product[1](columns, w, out, j0, j1);
    });
  }
  double kept_largest(const Kept& T, index count) { return kept_.keep_largest(T, count); }

  static constexpr index kFactorPays = 150;
  bool kept_factor(const Kept& T, index n, index m, const double* rows, const double* columns) {
    kept_.check(T);
    return factor_.factor(T, n, m, rows, columns, [this] { workers_.poll(); });
  }
  void kept_solve(index n, index m, const double* y, double* out) {
    solved_.resize(static_cast<std::size_t>(n + m));
    std::fill_n(solved_.data(), n, 0.0);
    std::copy_n(y, m, solved_.data() + n);
    factor_.solve(solved_.data());
    std::copy_n(solved_.data() + n, m, out);
  }

  // ---------------------------------------------------------------- StoredKernel

  struct Kernel {
    Buffer<char> data;
    Precision precision = Precision::f64;
    index n = 0, m = 0;
    index ld = 0;  // row stride: whole cache lines
  };

  void build_kernel(const Geometry& geo, double reg, const double* phi, const double* psi, Precision precision,
                    Kernel& K) {
    const index size = f64(precision) ? 8 : 4;
    K.precision = precision;
    K.n = geo.n;
    K.m = geo.m;
    K.ld = round_up(geo.m, kLine / size);
    K.data.reserve(K.n * K.ld * size);
    const auto run = kernels_.plan_rows[f64(geo.dtype)][f64(precision)];
    workers_.for_rows(geo, [&](index, index i0, index i1, void* work) {
      const PassArgs args{.geo = geo, .inv_reg = 1 / reg, .h = psi, .phi = const_cast<double*>(phi), .work = work};
      run(args, K.data.data(), K.ld, nullptr, i0, i1);
    });
  }

  void kernel_pass(const Kernel& K, const KernelPass& p) {
    const RowChunks chunks(K.n);
    const bool arithmetic = f64(p.precision) || f64(K.precision);
    const auto run = kernels_.kernel_pass[f64(K.precision)][arithmetic];
    if (arithmetic) fill_q<double>(p.q, K.m, K.ld);
    else fill_q<float>(p.q, K.m, K.ld);
    parts_.reserve(chunks.count, K.m);
    Geometry shape;
    shape.n = K.n;
    shape.m = K.m;
    workers_.for_rows(shape, [&](index chunk, index i0, index i1, void*) {
      if (i0 == chunks.begin(chunk)) parts_.start(chunk, 0);
      run({.K = K.data.data(),
           .m = K.m,
           .ld = K.ld,
           .q = q_.data(),
           .target = p.target,
           .a = p.a,
           .u = p.u,
           .row = p.row,
           .col = parts_.of(chunk)},
          i0, i1);
    });
    add_parts(chunks.count, K.m, p.col);
  }

  // ---------------------------------------------------------------- Pricing

  // One read of C; a second one where a chunk had less room than candidates.
  void candidates(const Geometry& geo, const double* f, const double* g, double margin, index limit, Candidates& to) {
    const RowChunks chunks(geo.n);
    const auto run = kernels_.candidates[f64(geo.dtype)];
    if (candidate_capacity_ == 0) candidate_capacity_ = std::min(kFirstCandidates, geo.m) * chunks.rows;
    to.begin.reserve(geo.n + 1);
    to.nnz = 0;
    for (index most = 0;; candidate_capacity_ = most + most / 2) {
      kept_.reserve(chunks, candidate_capacity_);
      workers_.for_rows(geo, [&](index chunk, index i0, index i1, void* work) {
        KeptRegion region = kept_.region(chunk, 0);
        run({.geo = geo, .f = f, .g = g, .margin = margin, .kept = &region, .work = work}, i0, i1);
      });
      to.nnz = most = 0;
      for (index c = 0; c < chunks.count; ++c) {
        most = std::max(most, kept_.found(c));
        to.nnz += kept_.found(c);
      }
      to.overflow = to.nnz > limit;
      if (to.overflow) return;
      if (most <= candidate_capacity_) break;
    }
    to.idx.reserve(to.nnz);
    to.cost.reserve(to.nnz);
    kept_.copy(to);
  }

  // ---------------------------------------------------------------- NearestLines

  void nearest_in_rows(const Geometry& geo, const NearestQuery& query, NearestPairs& to) {
    to.reserve(geo.n, query.k);
    const auto run = kernels_.nearest_in_rows[f64(geo.dtype)];
    workers_.for_rows(geo,
                      [&](index, index i0, index i1, void* work) { run(arguments(geo, query, to, work), i0, i1); });
  }
  // A task is a tile of columns, all rows of it.
  void nearest_in_columns(const Geometry& geo, const NearestQuery& query, NearestPairs& to) {
    to.reserve(geo.m, query.k);
    const auto run = kernels_.nearest_in_columns[f64(geo.dtype)];
    workers_.for_tasks((geo.m + kTile - 1) / kTile, [&](index tile) {
      Buffer<char> work(block_rows(geo) * kTile * 8);
      run(arguments(geo, query, to, work.data()), tile * kTile, std::min(geo.m, (tile + 1) * kTile));
    });
    workers_.poll();
  }
  void pair_costs(const Geometry& geo, const std::int32_t* rows, const std::int32_t* columns, index count,
                  double* out) {
    Buffer<char> work(block_rows(geo) * kTile * 8);
    kernels_.pair_costs[f64(geo.dtype)](geo, rows, columns, out, work.data(), 0, count);
  }

  // ---------------------------------------------------------------- PlanReads

  // Copies points into the layout of the kernels, and fills in x, yt, xx, yy of the geometry.
  PackedPoints pack(Geometry& geo, const void* x, const void* y) {
    if (geo.dtype == DType::f64) return pack_points(geo, static_cast<const double*>(x), static_cast<const double*>(y));
    return pack_points(geo, static_cast<const float*>(x), static_cast<const float*>(y));
  }

  CostStats stats(Geometry geo) {
    if (geo.column_major) std::swap(geo.n, geo.m);  // in the order of storage
    const RowChunks chunks(geo.n);
    const auto run = kernels_.stats[f64(geo.dtype)];
    const CostStats none{INFINITY, -INFINITY, 0, 0, 0, -1};
    std::array<CostStats, RowChunks::kMost> part;
    part.fill(none);
    workers_.for_rows(geo, [&](index chunk, index i0, index i1, void*) {
      CostStats s = none;
      run(geo, i0, i1, s);
      merge(part[static_cast<std::size_t>(chunk)], s);
    });
    CostStats total = none;
    for (index c = 0; c < chunks.count; ++c) merge(total, part[static_cast<std::size_t>(c)]);
    return total;
  }

  void cost_rows(const Geometry& geo, void* out, index ld) {
    const auto run = kernels_.cost_rows[f64(geo.dtype)];
    workers_.for_rows(geo, [&](index, index i0, index i1, void*) { run(geo, out, ld, i0, i1); });
  }

  void cost_apply(const Geometry& geo, const double* w, double* out) {
    const auto run = kernels_.cost_apply[f64(geo.dtype)];
    workers_.for_rows(geo, [&](index, index i0, index i1, void* work) { run(geo, w, out, work, i0, i1); });
  }

  void plan_rows(const Geometry& geo, const Pass& p, index first, index last, void* out, index ld) {
    const auto run = kernels_.plan_rows[f64(geo.dtype)][f64(p.precision)];
    const index row_bytes = ld * (f64(p.precision) ? 8 : 4);
    Geometry part = geo;
    part.n = last - first;
    workers_.for_rows(part, [&](index, index i0, index i1, void* work) {
      run(arguments(geo, p, work), static_cast<char*>(out) - first * row_bytes, ld, p.a, first + i0, first + i1);
    });
  }

  void apply_plan(const Geometry& geo, const Pass& p, const double* V, index k, bool columns, double* out) {
    const RowChunks chunks(geo.n);
    const auto run = kernels_.apply_plan[f64(geo.dtype)];
    if (columns) parts_.reserve(chunks.count, k * geo.m);
    workers_.for_rows(geo, [&](index chunk, index i0, index i1, void* work) {
      if (columns && i0 == chunks.begin(chunk)) parts_.start(chunk, 0);
      run({.pass = arguments(geo, p, work),
           .V = V,
           .out = columns ? parts_.of(chunk) : out,
           .k = k,
           .columns = columns},
          i0, i1);
    });
    if (columns) add_parts(chunks.count, k * geo.m, out);
  }

  // ---------------------------------------------------------------- lines of a sparse plan (sparse/backend.hpp)

  void lines(const LineView& L, double* sums) {
    const index count = line_chunks(L);
    parts_.reserve(count, L.others);
    workers_.for_tasks(count, [&](index c) {
      kernels_.lines(L, parts_.start(c, 0), first_line(L, c, count), first_line(L, c + 1, count));
    });
    add_parts(count, L.others, sums);
  }
  void line_entries(const LineView& L) {
    const index count = line_chunks(L);
    workers_.for_tasks(
        count, [&](index c) { kernels_.line_entries(L, first_line(L, c, count), first_line(L, c + 1, count)); });
  }
  void line_step(const LineSystem& system) { kernels_.line_step(system); }

 private:
  static constexpr index kLine = 64;             // bytes of a cache line
  static constexpr index kFirstCandidates = 64;  // entries a row for which there is room at first

  static constexpr bool f64(DType type) { return type == DType::f64; }
  static const void* row_of(const Geometry& geo, index i) {
    return static_cast<const char*>(geo.C) + i * geo.ld * (f64(geo.dtype) ? 8 : 4);
  }
  static constexpr bool f64(Precision precision) { return precision == Precision::f64; }

  // At most 16 chunks of lines, of about equal numbers of entries. A line takes as long as 16 entries more.
  static index line_chunks(const LineView& L) {
    constexpr index line_work = 16, chunk_entries = 1 << 13, most = 16;
    return std::clamp<index>((L.begin[L.lines] + line_work * L.lines) / chunk_entries, 1, most);
  }
  static index first_line(const LineView& L, index chunk, index chunks) {
    if (chunk == chunks) return L.lines;
    return std::lower_bound(L.begin, L.begin + L.lines, L.begin[L.lines] * chunk / chunks) - L.begin;
  }

  // The pointers of D, moved on to element `first`.
  template <std::size_t K>
  static std::array<const double*, K> from(const std::array<const double*, K>& D, int count, index first) {
    std::array<const double*, K> d{};
    for (int k = 0; k < count; ++k) d[static_cast<std::size_t>(k)] = D[static_cast<std::size_t>(k)] + first;
    return d;
  }

  // out_c = sum_i f(i)_c. Sums stay in registers: what f writes cannot alias them.
  template <int N, class F>
  static void sum_range(index first, index last, F f, double* out) {
    double total[N] = {};
    for (index i = first; i < last; ++i) {
      double one[N] = {};
      f(i, one);
      for (int c = 0; c < N; ++c) total[c] += one[c];
    }
    for (int c = 0; c < N; ++c) out[c] = total[c];
  }

  static PassArgs arguments(const Geometry& geo, const Pass& p, void* work) {
    return {.geo = geo,
            .inv_reg = 1 / p.reg,
            .h = p.h,
            .phi = p.phi,
            .a = p.a,
            .update = p.update,
            .row = p.row,
            .cost = p.cost,
            .damp = p.damp,
            .gradient = p.gradient,
            .work = work};
  }

  static NearestArgs arguments(const Geometry& geo, const NearestQuery& query, NearestPairs& to, void* work) {
    return {.geo = geo,
            .f = query.f,
            .g = query.g,
            .k = query.k,
            .below = query.below,
            .rounding = query.rounding,
            .idx = to.idx.data(),
            .cost = to.cost.data(),
            .least = to.least.data(),
            .work = work};
  }

  // run(args, chunk, i0, i1) for all rows, then the column sums.
  template <class Run>
  void run_pass(const Geometry& geo, const Pass& p, Run&& run) {
    const RowChunks chunks(geo.n);
    if (p.col) parts_.reserve(chunks.count, geo.m);
    workers_.for_rows(geo, [&](index chunk, index i0, index i1, void* work) {
      PassArgs args = arguments(geo, p, work);
      if (p.col) args.col = i0 == chunks.begin(chunk) ? parts_.start(chunk, 0) : parts_.of(chunk);
      run(args, chunk, i0, i1);
    });
    if (p.col) add_parts(chunks.count, geo.m, p.col);
  }
  // out_j = sum over chunks, in order.
  void add_parts(index count, index m, double* out) {
    workers_.for_blocks(
        m, [&](index j0, index j1) { kernels_.add_rows(parts_.of(0), count, parts_.stride(), j0, j1, out); });
  }

  // run(rows, i0, i1) for the n rows of T: at most 16 tasks, one where there is too little to do for more.
  template <class Run>
  void kept_product(const SparseRows& T, index n, index nnz, Run&& run) const {
    constexpr index least_entries = 1 << 13, least_rows = 64, most_tasks = 16;
    const index rows = nnz < least_entries ? std::max<index>(n, 1) : std::max(least_rows, n / most_tasks);
    workers_.for_tasks((n + rows - 1) / rows, [&](index k) { run(T, k * rows, std::min(n, (k + 1) * rows)); });
  }

  // q in the type T of the products, filled up with zeros to a row of K.
  template <class T>
  void fill_q(const double* q, index m, index ld) {
    q_.reserve(ld * static_cast<index>(sizeof(T)));
    T* to = reinterpret_cast<T*>(q_.data());
    std::fill(std::copy(q, q + m, to), to + ld, T(0));
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
  Workers workers_;
  ColumnParts parts_;
  Buffer<double> sums_;  // of blocks of a vector
  Buffer<char> q_;       // of a pass over a stored kernel
  KeptStorage kept_;
  index candidate_capacity_ = 0;  // entries a chunk, as the last call needed
  GraphFactor factor_;
  std::vector<double> solved_;
};

}  // namespace ot::cpu
