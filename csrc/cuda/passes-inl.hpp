// Passes over C: sweeps, and what goes row by row.
#pragma once
#include "cuda/costs-inl.hpp"
#include "cuda/kernels/append.hpp"
#include "cuda/kernels/folds.hpp"
#include "cuda/kernels/gradient.hpp"
#include "cuda/kernels/sweep.hpp"
#include "cuda/vectors-inl.hpp"

namespace ot::cuda {

// h log2(e): exponentials have base 2.
template <class Device>
const double* BackendOn<Device>::scaled(const double* h, index m) {
  double* to = grown(scratch_.h, m);
  for_each(m, Scale{h, kLog2e, to});
  return to;
}

// Coordinates from which on reading y is a large part of the work.
inline constexpr index kDeep = 8;

// How a sweep divides rows and columns. Columns: K a thread, as many threads of a block as they need, then as many
// blocks of a team. Rows: pieces, between which Ctrl-C is polled, in equal parts to the teams that run side by side.
template <class Device>
struct BackendOn<Device>::Tiling {
  int K;        // columns of a thread
  int R;        // rows that go together
  int threads;  // of a block
  int blocks;   // of a team
  index rows;   // of a team
  index piece;  // rows of a launch
  index teams;  // of all launches
  index width() const { return static_cast<index>(K) * threads * blocks; }
};

template <class Device>
auto BackendOn<Device>::tiling(const Geometry& g) const -> Tiling {
  return tiling(g.n, g.m, g.kind == Kind::points && g.d >= kDeep, row_work(g));
}
template <class Device>
auto BackendOn<Device>::tiling(index n, index m, bool deep, index row_work) const -> Tiling {
  const int most = device_.threads();
  Tiling t{.K = 16, .R = 1, .threads = most, .blocks = 1, .rows = 0, .piece = 0, .teams = 0};
  // A coordinate of y is read once for R rows. Many coordinates: fewer columns a thread and more blocks pay.
  if (m <= 2 * most || (deep && m <= 4 * most * device_.blocks())) t.K = t.R = 4;
  while (t.width() < m && t.blocks < device_.blocks()) t.blocks *= 2;
  t.threads = static_cast<int>(std::min<index>(most, ceil_div(ceil_div(m, t.K * t.blocks), kWarp) * kWarp));
  const index at_once = static_cast<index>(device_.at_once(t.blocks)) * (t.blocks > 1 ? 1 : most / t.threads);
  const index piece = std::min(n, kPiece / std::max<index>(row_work, 1) + 1);
  t.rows = ceil_div(ceil_div(piece, at_once), t.R) * t.R;
  t.piece = t.rows * ceil_div(piece, t.rows);
  t.teams = ceil_div(n, t.rows);
  return t;
}

// Sweeps over the sources at(j0), from column j0 on, and adds their column sums. Where m is wider than a team, columns
// go in panels; row sums must then be known, and nothing is kept.
template <class Device>
template <class Source, class At>
void BackendOn<Device>::sweep(const Tiling& t, index n, index m, At at, const KeptOut* kept, double* col) {
  const index at_once = t.piece / t.rows;
  double* parts = col ? grown(scratch_.parts, at_once * m) : nullptr;
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
        device_.launch(shape, Sweep<Source, K, R>{.source = at(j0),
                                                  .rows = {first, last, t.rows},
                                                  .m = std::min(m - j0, t.width()),
                                                  .slab = K * t.threads,
                                                  .parts = parts ? parts + j0 : nullptr,
                                                  .stride = m,
                                                  .add = first > 0,
                                                  .kept = to});
      };
      if (t.K == 4) run.template operator()<4, 4>();
      else run.template operator()<16, 1>();
      if (t.piece < n) device_.wait();
      device_.poll();
    }
  if (col) add_parts(std::min(at_once, t.teams), m, col);
}

template <class Device>
void BackendOn<Device>::add_parts(index count, index m, double* out) {
  const int threads = block_threads();
  device_.launch(Shape{ceil_div(m, threads), 1, threads}, AddParts<Plus>{scratch_.parts.data(), count, m, out});
}

template <class Device>
void BackendOn<Device>::row_sums(const Geometry& geo, const Pass& p) {
  with_costs(geo, [&](auto costs) {
    using Costs = decltype(costs(0));
    const auto exponent = exponent_of(costs(0), geo, p.reg, scratch_.h.data());
    by_pieces(geo.n, row_work(geo), [&](index first, index last) {
      device_.launch(team_each(last - first), RowSums<Costs>{.exponent = exponent,
                                                             .rows = {first, last, 0},
                                                             .m = geo.m,
                                                             .phi = p.phi,
                                                             .row = p.row,
                                                             .cost = p.cost,
                                                             .update = p.update,
                                                             .damp = p.damp});
    });
  });
}

template <class Device>
void BackendOn<Device>::append(const Geometry& geo, const Pass& p, const KeptOut& kept, index rows) {
  with_costs(geo, [&](auto costs) {
    using Costs = decltype(costs(0));
    const auto exponent = exponent_of(costs(0), geo, p.reg, scratch_.h.data());
    device_.launch(Shape{ceil_div(geo.n, rows), 1, block_threads()}, Append<Costs>{.exponent = exponent,
                                                                                   .rows = {0, geo.n, rows},
                                                                                   .m = geo.m,
                                                                                   .phi = p.phi,
                                                                                   .a = p.a,
                                                                                   .update = p.update,
                                                                                   .damp = p.damp,
                                                                                   .kept = kept});
  });
}

// A pass of its own, with the potentials that the others have left.
template <class Device>
void BackendOn<Device>::gradient(const Geometry& geo, const Pass& p) {
  const auto run = [&](auto costs) {
    by_pieces(geo.n, geo.m * geo.d, [&](index first, index last) {
      device_.launch(team_each(last - first),
                     Gradient<decltype(costs)>{.exponent = exponent_of(costs, geo, p.reg, scratch_.h.data()),
                                               .rows = {first, last, 0},
                                               .m = geo.m,
                                               .phi = p.phi,
                                               .a = p.a,
                                               .out = p.gradient});
    });
  };
  if (geo.dtype == DType::f64) run(points_of<double, 0>(geo));
  else run(points_of<float, 0>(geo));
}

template <class Device>
template <class TE>
void BackendOn<Device>::sweep_costs(const Geometry& geo, const Pass& p, const KeptOut* kept) {
  with_fast_costs(geo, [&](auto costs) {
    using Source = PassSource<decltype(costs(0)), TE>;
    const double* h = scratch_.h.data();
    const auto at = [&](index j0) {
      return Source{.exponent = exponent_of(costs(j0), geo, p.reg, h + j0),
                    .phi = p.phi,
                    .a = p.a,
                    .row = p.row,
                    .update = p.update,
                    .damp = p.damp};
    };
    sweep<Source>(tiling(geo), geo.n, geo.m, at, kept, p.col);
  });
}

// One sweep where a team holds a whole row: one read of C, and one more for costs. Wider rows: sums first, then kept
// entries, then columns by panels, a read of C each.
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
    if (p.precision == Precision::f64) sweep_costs<double>(geo, rest, kept);
    else sweep_costs<float>(geo, rest, kept);
  }
  if (p.gradient) gradient(geo, p);
}

template <class Device>
void BackendOn<Device>::pass(const Geometry& geo, const Pass& p) {
  run_pass(geo, p, nullptr);
}

}  // namespace ot::cuda
