// What is read of costs and plans beside passes: folds over all pairs, rows, the range of the costs.
#pragma once
#include "cuda/kernels/stats.hpp"
#include "cuda/passes-inl.hpp"

namespace ot::cuda {

template <class Device>
template <class Fold, class Term>
void BackendOn<Device>::fold_rows(const Term& term, index n, index m, double* out) {
  by_pieces(n, m, [&](index first, index last) {
    device_.launch(team_each(last - first),
                   FoldRows<Term, Fold>{.term = term, .first = first, .last = last, .m = m, .out = out});
  });
}

template <class Device>
template <class Fold, class Term>
void BackendOn<Device>::fold_columns(const Term& term, index n, index m, double* out) {
  const int threads = block_threads();
  const index panels = ceil_div(m, threads);
  const index wanted = std::clamp<index>(kBlocksAtOnce * device_.processors() / panels, 1, kMostParts);
  const index rows = ceil_div(n, wanted), chunks = ceil_div(n, rows);
  double* parts = grown(scratch_.parts, chunks * m);
  device_.launch(Shape{chunks * panels, 1, threads},
                 FoldColumns<Term, Fold>{.term = term, .rows = {0, n, rows}, .m = m, .panels = panels, .parts = parts});
  device_.launch(Shape{panels, 1, threads}, AddParts<Fold>{parts, chunks, m, out});
  device_.poll();
}

template <class Device>
void BackendOn<Device>::c_transform(const Geometry& geo, const double* g, double* row, const double* weight,
                                    double* col) {
  with_costs(geo, [&](auto costs) {
    using Term = MinTerm<decltype(costs(0))>;
    if (g) fold_rows<Least>(Term{.costs = costs(0), .shift = geo.shift, .g = g}, geo.n, geo.m, row);
    if (col)
      fold_columns<Least>(Term{.costs = costs(0), .shift = geo.shift, .f = row, .weight = weight}, geo.n, geo.m, col);
  });
}

template <class Device>
void BackendOn<Device>::cost_apply(const Geometry& geo, const double* w, double* out) {
  with_costs(geo, [&](auto costs) {
    fold_rows<Plus>(CostTerm<decltype(costs(0))>{costs(0), geo.shift, w}, geo.n, geo.m, out);
  });
}

// k reads of C, one for each vector.
template <class Device>
void BackendOn<Device>::apply_plan(const Geometry& geo, const Pass& p, const double* V, index k, bool columns,
                                   double* out) {
  const double* h = scaled(p.h, geo.m);
  with_costs(geo, [&](auto costs) {
    using Term = PlanTerm<decltype(costs(0))>;
    const auto exponent = exponent_of(costs(0), geo, p.reg, h);
    for (index c = 0; c < k; ++c) {
      if (columns)
        fold_columns<Plus>(Term{.exponent = exponent, .phi = p.phi, .a = p.a, .over_rows = V + c * geo.n}, geo.n, geo.m,
                           out + c * geo.m);
      else
        fold_rows<Plus>(Term{.exponent = exponent, .phi = p.phi, .a = p.a, .over_columns = V + c * geo.m}, geo.n, geo.m,
                        out + c * geo.n);
    }
  });
}

template <class Device>
void BackendOn<Device>::plan_rows(const Geometry& geo, const Pass& p, index first, index last, void* out, index ld) {
  const double* h = scaled(p.h, geo.m);
  with_costs(geo, [&](auto costs) {
    using Term = PlanTerm<decltype(costs(0))>;
    const Term term{.exponent = exponent_of(costs(0), geo, p.reg, h), .phi = p.phi, .a = p.a};
    const auto fill = [&]<class T>(T* to) {
      device_.launch(
          team_each(last - first),
          Fill<Term, T>{.term = term, .first = first, .last = last, .m = geo.m, .width = ld, .ld = ld, .out = to});
    };
    if (p.precision == Precision::f64) fill(static_cast<double*>(out));
    else fill(static_cast<float*>(out));
  });
  device_.poll();
}

template <class Device>
void BackendOn<Device>::cost_rows(const Geometry& geo, void* out, index ld) {
  with_costs(geo, [&](auto costs) {
    using Costs = decltype(costs(0));
    using T = typename Costs::Real;
    device_.launch(team_each(geo.n), Fill<CostOf<Costs>, T>{.term = {costs(0)},
                                                            .first = 0,
                                                            .last = geo.n,
                                                            .m = geo.m,
                                                            .width = geo.m,
                                                            .ld = ld,
                                                            .out = static_cast<T*>(out)});
  });
  device_.poll();
}

template <class Device>
void BackendOn<Device>::cost_of_pairs(const Geometry& geo, index count, const index* i, const index* j, double* out) {
  if (geo.column_major) std::swap(i, j);  // rows and columns of what is stored
  if (geo.dtype == DType::f64) for_each(count, CostOfPair<double>{dense_of<double, false>(geo), i, j, out});
  else for_each(count, CostOfPair<float>{dense_of<float, false>(geo), i, j, out});
}

template <class Device>
CostStats BackendOn<Device>::stats(Geometry geo) {
  if (geo.column_major) std::swap(geo.n, geo.m);  // in the order of storage
  const Shape shape = team_each(geo.n);
  auto* parts = device_.template staging<StatsPart>(shape.teams);
  if (geo.dtype == DType::f64)
    device_.launch(shape, Stats<double>{static_cast<const double*>(geo.C), geo.n, geo.m, geo.ld, parts});
  else device_.launch(shape, Stats<float>{static_cast<const float*>(geo.C), geo.n, geo.m, geo.ld, parts});
  device_.wait();
  StatsPart s{.max = -kInf, .negative_min = -kInf, .nan = 0, .neg_inf = 0, .pos_inf = 0, .negative_first = -kInf};
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

}  // namespace ot::cuda
