// From a Geometry to the costs that kernels are instantiated for.
#pragma once
#include "core/types.hpp"
#include "cuda/costs.hpp"
#include "cuda/kernels/sources.hpp"

namespace ot::cuda {

template <class T, int D>
Points<T, D> points_of(const Geometry& g, index j0 = 0) {
  const T *yy = static_cast<const T*>(g.yy), *y = static_cast<const T*>(g.yt);
  return {static_cast<const T*>(g.x), y + j0, static_cast<const T*>(g.xx), yy ? yy + j0 : nullptr, g.d, g.m, g.cost,
          static_cast<T>(0.5 * g.p)};
}
template <class T, bool kColumnMajor>
Dense<T, kColumnMajor> dense_of(const Geometry& g, index j0 = 0) {
  const Dense<T, kColumnMajor> all{static_cast<const T*>(g.C), g.ld};
  return {all.address(0, j0), g.ld};
}

// f(costs), where costs(j0) are the costs from column j0 on, in the type of C.
template <class T, class F>
void with_costs_of(const Geometry& g, F&& f) {
  if (g.kind == Kind::dense && g.column_major) f([&](index j0) { return dense_of<T, true>(g, j0); });
  else if (g.kind == Kind::dense) f([&](index j0) { return dense_of<T, false>(g, j0); });
  else f([&](index j0) { return points_of<T, 0>(g, j0); });
}
template <class F>
void with_costs(const Geometry& g, F&& f) {
  if (g.dtype == DType::f64) with_costs_of<double>(g, f);
  else with_costs_of<float>(g, f);
}
// The same with the dimension of squared differences known at compile time where it is 2 or 3.
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

// The work of a row in entries: an exponential takes as long as 16 coordinates of points.
inline index row_work(const Geometry& g) { return g.m * (1 + (g.kind == Kind::points ? g.d : 0) / 16); }

}  // namespace ot::cuda
