// Element-wise operations that several solvers need, on vectors of a backend.
#pragma once
#include <algorithm>

#include "core/backend.hpp"

namespace ot {

// Potentials over reg stay within +-kMostScaled, so that sums of two are finite.
inline constexpr double kMostScaled = 1e300;

template <Vectors B>
void copy(B& be, index n, const double* from, double* to) {
  be.for_each(n, [=] OT_HD(index i) { to[i] = from[i]; });
}

template <Vectors B>
void fill(B& be, index n, double value, double* to) {
  be.for_each(n, [=] OT_HD(index i) { to[i] = value; });
}

// to = x + alpha y
template <Vectors B>
void add(B& be, index n, const double* x, double alpha, const double* y, double* to) {
  be.for_each(n, [=] OT_HD(index i) { to[i] = x[i] + alpha * y[i]; });
}

// v *= factor, clipped to +-kMostScaled. NaN, which marks unknown potentials, stays.
template <Vectors B>
void rescale(B& be, index n, double factor, double* v) {
  const double most = kMostScaled;  // device code cannot refer to a constant of the host
  be.for_each(n, [=] OT_HD(index i) { v[i] = std::min(std::max(v[i] * factor, -most), most); });
}

}  // namespace ot
