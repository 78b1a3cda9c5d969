// Bodies of backend.hpp.
#pragma once
#include <algorithm>
#include <cmath>

#include "cuda/backend.hpp"

namespace ot::cuda {

// Entries of C between two looks at Ctrl-C: some tens of milliseconds.
inline constexpr index kPiece = index{1} << 34;
inline constexpr index kMostParts = 64;  // chunks of a vector, and of rows where columns are folded

inline index ceil_div(index n, index k) { return (n + k - 1) / k; }
// Entries of C that take as long as a row of it: 16 coordinates of points, as an exponential.
inline index row_work(const Geometry& g) { return g.m * (1 + (g.kind == Kind::points ? g.d : 0) / 16); }

// ---------------------------------------------------------------- geometry

template <class T, int D>
Points<T, D> points_of(const Geometry& g, index j0 = 0) {
  const T *yy = static_cast<const T*>(g.yy), *y = static_cast<const T*>(g.yt);
  return {static_cast<const T*>(g.x), y + j0, static_cast<const T*>(g.xx), yy ? yy + j0 : nullptr, g.d, g.m, g.cost,
          static_cast<T>(0.5 * g.p)};
}
template <class T>
Dense<T> dense_of(const Geometry& g, index j0 = 0) {
  return {static_cast<const T*>(g.C) + j0, g.ld};
}

// f(costs from column j0 on), for each kind of costs.
template <class T, class F>
void with_costs_of(const Geometry& g, F&& f) {
  if (g.kind == Kind::dense) f([&](index j0) { return dense_of<T>(g, j0); });
  else f([&](index j0) { return points_of<T, 0>(g, j0); });
}
template <class F>
void with_costs(const Geometry& g, F&& f) {
  if (g.dtype == DType::f64) with_costs_of<double>(g, f);
  else with_costs_of<float>(g, f);
}
// The same with the dimension known at compile time where that pays.
template <class T, class F>
void with_fast_costs_of(const Geometry& g, F&& f) {
  const bool differences = g.kind == Kind::points && g.cost == Cost::sqeuclidean && !g.xx;
  if (differences && g.d == 2) f([&](index j0) { return points_of<T, 2>(g, j0); });
  else if (differences && g.d == 3) f([&](index j0) { return points_of<T, 3>(g, j0); });
  else with_costs_of<T>(g, f);
}
template <class F>
void with_fast_costs(const Geometry& g, F&& f) {
  if (g.dtype == DType::f64) with_fast_costs_of<double>(g, f);
  else with_fast_costs_of<float>(g, f);
}

template <class Costs>
Exponent<Costs> exponent_of(const Costs& costs, const Geometry& g, double reg, const double* scaled_h) {
  return {costs, g.shift, -kLog2e / reg, scaled_h};
}

template <class Device>
BackendOn<Device>::BackendOn(Device& device) : device_(device) {}

template <class Device>
Shape BackendOn<Device>::over(index n) const {
  const int threads = std::min(256, device_.threads());
  return {std::min<index>(std::max<index>(ceil_div(n, threads), 1), 16 * device_.processors()), 1, threads};
}
template <class Device>
Shape BackendOn<Device>::by_rows(index n) const {
  return {std::min<index>(std::max<index>(n, 1), 8 * device_.processors()), 1, std::min(256, device_.threads())};
}

template <class Device>
const double* BackendOn<Device>::scaled(const double* h, index m) {
  double* to = grown(h_, m);
  for_each(m, Scale{h, kLog2e, to});
  return to;
}

// ---------------------------------------------------------------- sweeps

// How rows and columns are cut up. Columns: K a thread, as many threads, then blocks, as they need.
// Rows: a piece at a time, in equal parts to the teams that fit on the device at once.
template <class Device>
struct BackendOn<Device>::Tiling {
  int K, R, threads, blocks;
  index rows, piece, teams;  // rows of a team, of a launch; teams of all launches
  index width() const { return static_cast<index>(K) * threads * blocks; }
};

template <class Device>
auto BackendOn<Device>::tiling(const Geometry& g) const -> Tiling {
  return tiling(g.n, g.m, g.kind == Kind::points && g.d >= 8, row_work(g));
}
template <class Device>
auto BackendOn<Device>::tiling(index n, index m, bool deep, index work) const -> Tiling {
  const int most = device_.threads();
  Tiling t{16, 1, most, 1, 0, 0, 0};
  // Coordinates of y are read once for R rows: worth more blocks where points have many.
  if (m <= 2 * most || (deep && m <= 4 * most * device_.blocks())) t.K = t.R = 4;
  while (t.width() < m && t.blocks < device_.blocks()) t.blocks *= 2;
  t.threads = static_cast<int>(std::min<index>(most, ceil_div(ceil_div(m, t.K * t.blocks), kWarp) * kWarp));
  const index at_once = static_cast<index>(device_.at_once(t.blocks)) * (t.blocks > 1 ? 1 : most / t.threads);
  const index piece = std::min(n, kPiece / std::max<index>(work, 1) + 1);
  t.rows = ceil_div(ceil_div(piece, at_once), t.R) * t.R;
  t.piece = t.rows * ceil_div(piece, t.rows);
  t.teams = ceil_div(n, t.rows);
  return t;
}

// Column sums from at(j0), the source from column j0 on, in panels where m is too wide for one: row
// sums must then be known, and nothing is kept.
template <class Device>
template <class Source, class At>
void BackendOn<Device>::sweep(const Tiling& t, index n, index m, At at, const KeptOut* kept, double* col) {
  const index at_once = t.piece / t.rows;
  double* parts = col ? grown(parts_, at_once * m) : nullptr;
  for (index j0 = 0; j0 < m; j0 += t.width())
    for (index first = 0; first < n; first += t.piece) {
      const index last = std::min(n, first + t.piece), team = first / t.rows;
      KeptOut to;
      if (kept) {
        to = *kept;
        to.base = team * kept->capacity;
        to.used += team;
      }
      const Shape shape{ceil_div(last - first, t.rows), t.blocks, t.threads};
      const auto run = [&]<int K, int R>() {
        device_.launch(shape, Sweep<Source, K, R>{at(j0),
                                                  {first, last, t.rows},
                                                  std::min(m - j0, t.width()),
                                                  K * t.threads,
                                                  parts ? parts + j0 : nullptr,
                                                  m,
                                                  first > 0,
                                                  to});
      };
      if (t.K == 4) run.template operator()<4, 4>();
      else run.template operator()<16, 1>();
      if (t.piece < n) device_.wait();
      device_.look();
    }
  if (col) add_parts(std::min(at_once, t.teams), m, col);
}

// run(first, last) over rows, with a look at Ctrl-C in between.
template <class Device>
template <class F>
void BackendOn<Device>::by_pieces(index n, index work, F&& run) {
  const index piece = kPiece / std::max<index>(work, 1) + 1;
  for (index first = 0; first < n; first += piece) {
    run(first, std::min(n, first + piece));
    if (piece < n) device_.wait();
    device_.look();
  }
}

template <class Device>
void BackendOn<Device>::add_parts(index count, index m, double* out) {
  const int threads = std::min(256, device_.threads());
  device_.launch(Shape{ceil_div(m, threads), 1, threads}, AddParts<Plus>{parts_.data(), count, m, out});
}

template <class Device>
void BackendOn<Device>::row_sums(const Geometry& geo, const Pass& p) {
  with_costs(geo, [&](auto costs) {
    using Costs = decltype(costs(0));
    const auto exponent = exponent_of(costs(0), geo, p.reg, h_.data());
    by_pieces(geo.n, row_work(geo), [&](index first, index last) {
      device_.launch(by_rows(last - first),
                     RowSums<Costs>{exponent, {first, last, 0}, geo.m, p.phi, p.row, p.cost, p.update, p.damp});
    });
  });
}

template <class Device>
template <class TE>
void BackendOn<Device>::pass_in(const Geometry& geo, const Pass& p, const KeptOut* kept) {
  with_fast_costs(geo, [&](auto costs) {
    using Source = PassSource<decltype(costs(0)), TE>;
    const double* h = h_.data();
    const auto at = [&](index j0) {
      return Source{exponent_of(costs(j0), geo, p.reg, h + j0), p.phi, p.a, p.row, p.update, p.damp};
    };
    sweep<Source>(tiling(geo), geo.n, geo.m, at, kept, p.col);
  });
}

// One sweep where a team holds a whole row. Beyond, row sums first, then columns by panels.
template <class Device>
void BackendOn<Device>::run_pass(const Geometry& geo, const Pass& p, const KeptOut* kept) {
  scaled(p.h, geo.m);
  const Tiling t = tiling(geo);
  const bool wide = geo.m > t.width() && (p.update || p.row || kept);
  Pass rows = p, rest = p;
  if (wide) {
    rest.row = nullptr;
    rest.update = false;
  } else {
    rows.row = nullptr;
  }
  if (wide || p.cost) row_sums(geo, rows);
  if (wide && kept) append(geo, p, *kept, t.rows);
  if (wide) kept = nullptr;
  if (rest.update || rest.row || rest.col || kept) {
    if (p.precision == Precision::f64) pass_in<double>(geo, rest, kept);
    else pass_in<float>(geo, rest, kept);
  }
  if (p.gradient) gradient(geo, p);
}

// A sweep of its own, from the potentials that the others leave.
template <class Device>
void BackendOn<Device>::gradient(const Geometry& geo, const Pass& p) {
  const auto run = [&](auto costs) {
    by_pieces(geo.n, geo.m * geo.d, [&](index first, index last) {
      device_.launch(by_rows(last - first),
                     Gradient<decltype(costs)>{
                         exponent_of(costs, geo, p.reg, h_.data()), {first, last, 0}, geo.m, p.phi, p.a, p.gradient});
    });
  };
  if (geo.dtype == DType::f64) run(points_of<double, 0>(geo));
  else run(points_of<float, 0>(geo));
}

template <class Device>
void BackendOn<Device>::append(const Geometry& geo, const Pass& p, const KeptOut& kept, index rows) {
  with_costs(geo, [&](auto costs) {
    using Costs = decltype(costs(0));
    const auto exponent = exponent_of(costs(0), geo, p.reg, h_.data());
    device_.launch(Shape{ceil_div(geo.n, rows), 1, std::min(256, device_.threads())},
                   Append<Costs>{exponent, {0, geo.n, rows}, geo.m, p.phi, p.a, p.update, p.damp, kept});
  });
}

template <class Device>
void BackendOn<Device>::pass(const Geometry& geo, const Pass& p) {
  run_pass(geo, p, nullptr);
}

// Redone with more room where the kept entries outgrow their storage, up to the limit.
template <class Device>
void BackendOn<Device>::pass(const Geometry& geo, const Pass& p, Kept& kept) {
  const Tiling t = tiling(geo);
  kept.version = ++kept_version_;
  const index most = 2 * kept.limit * t.rows;  // a team may hold twice its share
  KeptOut out;
  out.threshold = kept.threshold;
  out.begin = grown(begin_, geo.n);
  out.end = grown(end_, geo.n);
  out.used = device_.template staging<index>(t.teams);
  kept_capacity_ = std::max(kept_capacity_, std::min<index>(16, kept.limit) * t.rows);
  Pass again = p;
  for (;;) {
    out.capacity = kept_capacity_;
    out.idx = grown(idx_, t.teams * out.capacity);
    out.val = grown(val_, t.teams * out.capacity);
    run_pass(geo, again, &out);
    device_.wait();
    again.row = nullptr;  // of the potentials before the update: known from the first time
    const index need = *std::max_element(out.used, out.used + t.teams);
    kept.nnz = 0;
    for (index c = 0; c < t.teams; ++c) kept.nnz += out.used[c];
    kept.overflow = need > most || kept.nnz > kept.limit * geo.n;
    if (need <= kept_capacity_ || kept.overflow) break;
    kept_capacity_ = std::min(most, need + need / 4);
  }
  kept.idx = out.idx;
  kept.val = out.val;
  kept.begin = out.begin;
  kept.end = out.end;
  kept_n_ = geo.n;
  kept_m_ = geo.m;
}

// ---------------------------------------------------------------- entries kept

template <class Device>
void BackendOn<Device>::kept_product(const index* begin, const index* end, const std::int32_t* idx, const double* val,
                                     const double* x, index n, bool squared, double* out) {
  const int threads = std::min(256, device_.threads());
  device_.launch(Shape{ceil_div(n, threads / kWarp), 1, threads},
                 KeptProduct{begin, end, idx, val, x, n, squared, out});
}
template <class Device>
void BackendOn<Device>::kept_apply(const Kept& T, index n, const double* x, double* out) {
  check(T);
  kept_product(T.begin, T.end, T.idx, T.val, x, n, false, out);
}
template <class Device>
void BackendOn<Device>::kept_apply_transposed(const Kept& T, index n, index m, const double* y, double* out) {
  transpose(T, n, m);
  kept_product(col_begin_.data(), col_begin_.data() + 1, col_row_.data(), col_val_.data(), y, m, false, out);
}
template <class Device>
void BackendOn<Device>::kept_diagonal(const Kept& T, index n, index m, const double* w, double* out) {
  transpose(T, n, m);
  kept_product(col_begin_.data(), col_begin_.data() + 1, col_row_.data(), col_val_.data(), w, m, true, out);
}

template <class Device>
void BackendOn<Device>::gather(const Kept& T, index n, index* offset) {
  check(T);
  index* length = grown(length_, n);
  for_each(n, RowLength{T.begin, T.end, length});
  device_.scan(n, length, offset);
  const int threads = std::min(256, device_.threads());
  device_.launch(Shape{ceil_div(n, threads / kWarp), 1, threads},
                 Gather{T.begin, T.end, offset, T.idx, T.val, n, grown(keys_, T.nnz), grown(entries_, T.nnz)});
}
template <class Device>
void BackendOn<Device>::collect(const Kept& T, index n, index* offset, std::int32_t* column, double* val) {
  gather(T, n, offset);
  for_each(T.nnz, Split{keys_.data(), entries_.data(), column, val});
}

// A stable sort by column, once after each pass: sums over a column are in the order of rows.
template <class Device>
void BackendOn<Device>::transpose(const Kept& T, index n, index m) {
  check(T);
  if (T.version != 0 && T.version == transposed_version_) return;
  transposed_version_ = 0;  // not whole before the end
  gather(T, n, grown(offset_, n));
  std::uint32_t* keys = keys_.data();
  Placed* entries = entries_.data();
  device_.sort(T.nnz, keys, entries, m);
  device_.launch(over(T.nnz + 1), Columns{keys, entries, T.nnz, m, grown(col_begin_, m + 1), grown(col_row_, T.nnz),
                                          grown(col_val_, T.nnz)});
  transposed_version_ = T.version;
}

// Eliminations follow one another: the host's work. What products with T' read is what goes there, so that columns
// come first: the factor is that of T'.
template <class Device>
bool BackendOn<Device>::kept_factor(const Kept& T, index n, index m, const double* rows, const double* columns) {
  transpose(T, n, m);
  host_.begin.reserve(m + 1);
  host_.row.reserve(T.nnz);
  host_.val.reserve(T.nnz);
  host_.diagonal.reserve(m + n);
  const auto fetch = [&]<class V>(V* to, const V* from, index count) {
    if (count > 0) device_.download(to, from, count * static_cast<index>(sizeof(V)));
    device_.look();
  };
  fetch(host_.begin.data(), col_begin_.data(), m + 1);
  fetch(host_.row.data(), col_row_.data(), T.nnz);
  fetch(host_.val.data(), col_val_.data(), T.nnz);
  fetch(host_.diagonal.data(), columns, m);
  fetch(host_.diagonal.data() + m, rows, n);
  Kept transposed;
  transposed.nnz = T.nnz;
  transposed.idx = host_.row.data();
  transposed.val = host_.val.data();
  transposed.begin = host_.begin.data();
  transposed.end = host_.begin.data() + 1;
  return factor_.factor(transposed, m, n, host_.diagonal.data(), host_.diagonal.data() + m, [this] { device_.look(); });
}
// Through pinned memory: two copies at the speed of the bus, and one wait.
template <class Device>
void BackendOn<Device>::kept_solve(index n, index m, const double* y, double* out) {
  double* x = device_.template staging<double>(m + n);
  read(m, y, x);
  std::fill_n(x + m, n, 0.0);
  factor_.solve(x);
  write(m, x, out);
  device_.look();
}

template <class Device>
double BackendOn<Device>::kept_largest(const Kept& T, index count) {
  check(T);
  if (count >= T.nnz) return T.threshold;
  transpose(T, kept_n_, kept_m_);
  device_.sort_descending(T.nnz, col_val_.data());
  double cut = 0;
  device_.download(&cut, col_val_.data() + std::max<index>(count, 1) - 1, sizeof cut);
  for_each(kept_n_, Cut{T.begin, T.end, val_.data(), cut});
  transposed_version_ = 0;
  return cut;
}

// ---------------------------------------------------------------- stored kernel

template <class Device>
void BackendOn<Device>::build_kernel(const Geometry& geo, double reg, const double* phi, const double* psi,
                                     Precision precision, Kernel& K) {
  K.precision = precision;
  K.n = geo.n;
  K.m = geo.m;
  const double* h = scaled(psi, geo.m);
  with_costs(geo, [&](auto costs) {
    using Term = PlanTerm<decltype(costs(0))>;
    const Term term{exponent_of(costs(0), geo, reg, h), phi, nullptr, nullptr, nullptr};
    const auto fill = [&]<class T>(T*) {
      const index bytes = K.n * K.m * static_cast<index>(sizeof(T));
      if (K.data.size() < bytes) K.data = {}, K.data = buffer<char>(bytes);  // no more than it takes
      T* to = reinterpret_cast<T*>(K.data.data());
      device_.launch(by_rows(geo.n), Fill<Term, T>{term, 0, geo.n, geo.m, geo.m, geo.m, to});
    };
    if (precision == Precision::f32) fill(static_cast<float*>(nullptr));
    else fill(static_cast<double*>(nullptr));
  });
  device_.look();
}

template <class Device>
void BackendOn<Device>::kernel_pass(const Kernel& K, const KernelPass& p) {
  const Tiling t = tiling(K.n, K.m, false, K.m);
  const auto run = [&]<class TK, class TE>() {
    using Source = StoredSource<TK, TE>;
    Source all{{reinterpret_cast<const TK*>(K.data.data()), K.m}, p.q, p.target, p.a, p.u, p.row};
    if (t.width() < K.m && (p.target || p.row)) {
      double* s = grown(row_, K.n);
      fold_rows<Plus>(StoredTerm<TK>{all.kernel, p.q}, K.n, K.m, s);
      for_each(K.n, ScaleRows{s, p.target, p.a, p.u, p.row, kLeastSum<TE>});
      all.target = nullptr;
      all.row = nullptr;
    }
    const auto at = [&](index j0) {
      Source source = all;
      source.kernel.C += j0;
      source.q += j0;
      return source;
    };
    sweep<Source>(t, K.n, K.m, at, nullptr, p.col);
  };
  if (K.precision == Precision::f64) run.template operator()<double, double>();
  else if (p.precision == Precision::f64) run.template operator()<float, double>();
  else run.template operator()<float, float>();
}

// ---------------------------------------------------------------- passes without exponentials, and others

template <class Device>
template <class Fold, class Term>
void BackendOn<Device>::fold_rows(const Term& term, index n, index m, double* out) {
  by_pieces(n, m, [&](index first, index last) {
    device_.launch(by_rows(last - first), FoldRows<Term, Fold>{term, first, last, m, out});
  });
}

template <class Device>
template <class Fold, class Term>
void BackendOn<Device>::fold_columns(const Term& term, index n, index m, double* out) {
  const int threads = std::min(256, device_.threads());
  const index panels = ceil_div(m, threads);
  const index wanted = std::clamp<index>(8 * device_.processors() / panels, 1, kMostParts);
  const index rows = ceil_div(n, wanted), chunks = ceil_div(n, rows);
  double* parts = grown(parts_, chunks * m);
  device_.launch(Shape{chunks * panels, 1, threads}, FoldColumns<Term, Fold>{term, {0, n, rows}, m, panels, parts});
  device_.launch(Shape{panels, 1, threads}, AddParts<Fold>{parts, chunks, m, out});
  device_.look();
}

template <class Device>
void BackendOn<Device>::c_transform(const Geometry& geo, const double* g, double* row, const double* weight,
                                    double* col) {
  with_costs(geo, [&](auto costs) {
    using Term = MinTerm<decltype(costs(0))>;
    if (g) fold_rows<Least>(Term{costs(0), geo.shift, g, nullptr, nullptr}, geo.n, geo.m, row);
    if (col) fold_columns<Least>(Term{costs(0), geo.shift, nullptr, row, weight}, geo.n, geo.m, col);
  });
}

template <class Device>
void BackendOn<Device>::cost_apply(const Geometry& geo, const double* w, double* out) {
  with_costs(geo, [&](auto costs) {
    fold_rows<Plus>(CostTerm<decltype(costs(0))>{costs(0), geo.shift, w}, geo.n, geo.m, out);
  });
}

template <class Device>
void BackendOn<Device>::apply_plan(const Geometry& geo, const Pass& p, const double* V, index k, bool columns,
                                   double* out) {
  const double* h = scaled(p.h, geo.m);
  with_costs(geo, [&](auto costs) {
    using Term = PlanTerm<decltype(costs(0))>;
    const auto exponent = exponent_of(costs(0), geo, p.reg, h);
    for (index c = 0; c < k; ++c) {
      if (columns)
        fold_columns<Plus>(Term{exponent, p.phi, p.a, nullptr, V + c * geo.n}, geo.n, geo.m, out + c * geo.m);
      else fold_rows<Plus>(Term{exponent, p.phi, p.a, V + c * geo.m, nullptr}, geo.n, geo.m, out + c * geo.n);
    }
  });
}

template <class Device>
void BackendOn<Device>::plan_rows(const Geometry& geo, const Pass& p, index first, index last, void* out, index ld) {
  const double* h = scaled(p.h, geo.m);
  with_costs(geo, [&](auto costs) {
    using Term = PlanTerm<decltype(costs(0))>;
    const Term term{exponent_of(costs(0), geo, p.reg, h), p.phi, p.a, nullptr, nullptr};
    const Shape shape = by_rows(last - first);
    if (p.precision == Precision::f64)
      device_.launch(shape, Fill<Term, double>{term, first, last, geo.m, ld, ld, static_cast<double*>(out)});
    else device_.launch(shape, Fill<Term, float>{term, first, last, geo.m, ld, ld, static_cast<float*>(out)});
  });
  device_.look();
}

template <class Device>
void BackendOn<Device>::cost_rows(const Geometry& geo, void* out, index ld) {
  with_costs(geo, [&](auto costs) {
    using Costs = decltype(costs(0));
    using T = typename Costs::Real;
    device_.launch(by_rows(geo.n),
                   Fill<CostAlone<Costs>, T>{{costs(0)}, 0, geo.n, geo.m, geo.m, ld, static_cast<T*>(out)});
  });
  device_.look();
}

template <class Device>
void BackendOn<Device>::cost_of_pairs(const Geometry& geo, index count, const index* i, const index* j, double* out) {
  if (geo.dtype == DType::f64) for_each(count, CostOfPair<double>{dense_of<double>(geo), i, j, out});
  else for_each(count, CostOfPair<float>{dense_of<float>(geo), i, j, out});
}

// Their number first: storage is then as large as it must be, and too many cost one read of C.
template <class Device>
void BackendOn<Device>::candidates(const Geometry& geo, const double* f, const double* g, double margin, index limit,
                                   Candidates& to) {
  const index n = geo.n, m = geo.m;
  ++kept_version_;
  double *fs = grown(row_, n), *gs = grown(h_, m);
  index *length = grown(length_, n + 1), *begin = grown(offset_, n + 1);
  write(n, f, fs);
  write(m, g, gs);
  with_costs(geo, [&](auto costs) {
    using Costs = decltype(costs(0));
    const Slack<Costs> slack{costs(0), geo.shift, margin, fs, gs};
    by_pieces(n, m, [&](index first, index last) {
      device_.launch(by_rows(last - first), CountCandidates<Costs>{slack, first, last, n, m, length});
    });
    device_.scan(n + 1, length, begin);
    to.begin.reserve(n + 1);
    device_.download(to.begin.data(), begin, (n + 1) * static_cast<index>(sizeof(index)));
    to.nnz = to.begin[n];
    to.overflow = to.nnz > limit;
    if (to.overflow || to.nnz == 0) return;
    std::int32_t* idx = grown(idx_, to.nnz);
    double* cost = grown(val_, to.nnz);
    by_pieces(n, m, [&](index first, index last) {
      device_.launch(by_rows(last - first), FillCandidates<Costs>{slack, first, last, m, begin, idx, cost});
    });
    to.idx.reserve(to.nnz);
    to.cost.reserve(to.nnz);
    device_.download(to.idx.data(), idx, to.nnz * static_cast<index>(sizeof(std::int32_t)));
    device_.download(to.cost.data(), cost, to.nnz * static_cast<index>(sizeof(double)));
  });
}

template <class Device>
CostStats BackendOn<Device>::stats(const Geometry& geo) {
  const Shape shape = by_rows(geo.n);
  auto* parts = device_.template staging<StatsPart>(shape.teams);
  if (geo.dtype == DType::f64)
    device_.launch(shape, Scan<double>{static_cast<const double*>(geo.C), geo.n, geo.m, geo.ld, parts});
  else device_.launch(shape, Scan<float>{static_cast<const float*>(geo.C), geo.n, geo.m, geo.ld, parts});
  device_.wait();
  StatsPart s{-kInf, -kInf, 0, 0, 0, -kInf};
  for (index k = 0; k < shape.teams; ++k) {
    s.max = std::max(s.max, parts[k].max);
    s.negative_min = std::max(s.negative_min, parts[k].negative_min);
    s.nan += parts[k].nan;
    s.neg_inf += parts[k].neg_inf;
    s.pos_inf += parts[k].pos_inf;
    s.negative_first = std::max(s.negative_first, parts[k].negative_first);
  }
  return {-s.negative_min,
          s.max,
          static_cast<index>(s.nan),
          static_cast<index>(s.neg_inf),
          static_cast<index>(s.pos_inf),
          s.negative_first > -kInf ? static_cast<index>(-s.negative_first) : -1};
}

template <class Device>
PackedPoints BackendOn<Device>::pack(Geometry& geo, const void* x, const void* y) {
  const index size = geo.dtype == DType::f64 ? 8 : 4;
  const bool expand = geo.cost == Cost::sqeuclidean && geo.d >= 8;
  PackedPoints p{buffer<char>(geo.n * geo.d * size), buffer<char>(geo.m * geo.d * size), {}, {}};
  auto centre = buffer<double>(expand ? geo.d : 0);
  if (expand) {
    p.xx = buffer<char>(geo.n * size);
    p.yy = buffer<char>(geo.m * size);
  }
  const auto run = [&]<class T>(T*) {
    const T *xs = static_cast<const T*>(x), *ys = static_cast<const T*>(y);
    if (expand) device_.launch(by_rows(geo.d), Centre<T>{xs, ys, geo.n, geo.m, geo.d, centre.data()});
    for_each(geo.n + geo.m, PackPoints<T>{xs, ys, geo.n, geo.m, geo.d, centre.data(), geo.cost == Cost::cosine,
                                          reinterpret_cast<T*>(p.x.data()), reinterpret_cast<T*>(p.y.data()),
                                          reinterpret_cast<T*>(p.xx.data()), reinterpret_cast<T*>(p.yy.data())});
  };
  if (size == 8) run(static_cast<double*>(nullptr));
  else run(static_cast<float*>(nullptr));
  device_.wait();
  geo.x = p.x.data();
  geo.yt = p.y.data();
  geo.xx = p.xx.data();
  geo.yy = p.yy.data();
  return p;
}

// ---------------------------------------------------------------- vectors

template <class Device>
template <class F>
void BackendOn<Device>::for_each(index n, F f) {
  if (n > 0) device_.launch(over(n), Each<F>{n, f});
}
template <class Device>
void BackendOn<Device>::exp(index n, const double* x, double* out) {
  for_each(n, Exp{x, out});
}
template <class Device>
void BackendOn<Device>::log(index n, const double* x, double* out) {
  for_each(n, Log{x, out});
}
template <class Device>
template <std::size_t N>
void BackendOn<Device>::combine(index n, const double* x, const double* c, const std::array<const double*, N>& D,
                                int count, double* out) {
  Combine<N> body{x, {}, {}, count, out};
  for (int k = 0; k < count; ++k) {
    body.c[k] = c[k];
    body.d.d[k] = D[static_cast<std::size_t>(k)];
  }
  for_each(n, body);
}

// Each chunk is summed by one team; its sums come to the host with the one wait, and are added there.
template <class Device>
template <int N, class F>
std::array<double, N> BackendOn<Device>::sums(index n, F f) {
  std::array<double, N> total{};
  if (n == 0) return total;
  const index chunk = std::max<index>(4096, ceil_div(n, kMostParts)), count = ceil_div(n, chunk);
  double* parts = device_.template staging<double>(count * N);
  device_.launch(Shape{count, 1, device_.threads()}, Sums<N, F>{n, chunk, f, parts});
  device_.wait();
  device_.look();
  for (index c = 0; c < count; ++c)
    for (int k = 0; k < N; ++k) total[static_cast<std::size_t>(k)] += parts[c * N + k];
  return total;
}
template <class Device>
template <std::size_t N>
void BackendOn<Device>::dots(index n, const double* w, const double* v, const std::array<const double*, N>& D,
                             int count, double* out) {
  Dots<static_cast<int>(N)> body{w, v, {}, count};
  for (int k = 0; k < count; ++k) body.d.d[k] = D[static_cast<std::size_t>(k)];
  const auto total = sums<static_cast<int>(N)>(n, body);
  std::copy_n(total.begin(), count, out);
}

// ---------------------------------------------------------------- limits of the device

template <class Device>
double BackendOn<Device>::exp_rate(bool f64) {
  const Shape shape{4 * static_cast<index>(device_.processors()), 1, device_.threads()};
  constexpr int repeat = 200;
  auto sink = buffer<double>(1);
  double best = 0;
  for (int k = 0; k < 7; ++k) {
    const double s = device_.seconds([&] {
      if (f64) device_.launch(shape, ExpRate<double>{repeat, sink.data()});
      else device_.launch(shape, ExpRate<float>{repeat, sink.data()});
    });
    best = std::max(best, 64.0 * repeat * static_cast<double>(shape.teams * shape.threads) / s * 1e-9);
  }
  return best;
}

template <class Device>
double BackendOn<Device>::copy_rate() {
  const index size = index{1} << 27;  // 1 GB, beyond any cache
  auto from = buffer<double>(size), to = buffer<double>(size);
  for_each(size, Scale{from.data(), 0.0, from.data()});
  double best = 0;
  for (int k = 0; k < 7; ++k) {
    const double kernel = device_.seconds([&] { for_each(size, Scale{from.data(), 1.0, to.data()}); });
    const double driver = device_.seconds([&] { device_.upload(to.data(), from.data(), 8 * size); });
    best = std::max(best, 16.0 * static_cast<double>(size) / std::min(kernel, driver) * 1e-9);
  }
  return best;
}

}  // namespace ot::cuda
