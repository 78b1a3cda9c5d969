// Points as the kernels of the CPU read them: x row-major, y in panels of kPanel bytes a coordinate (cpu/kernels.hpp).
#pragma once
#include <algorithm>
#include <cmath>
#include <utility>

#include "core/array.hpp"
#include "core/backend.hpp"
#include "cpu/kernels.hpp"

namespace ot::cpu {

// Element (j, k) of m points stored in panels of `width` points: column k of a panel is contiguous.
template <class T>
struct Panels {
  static constexpr index kWidth = kPanel / static_cast<index>(sizeof(T));
  T* data;
  index d;
  T& operator()(index j, index k) const { return data[j / kWidth * kWidth * d + k * kWidth + j % kWidth]; }
};

// The mean of all points of both clouds, by coordinate.
template <class T>
Array<double> mean_of(const Geometry& g, const T* x, const T* y) {
  Array<double> centre(g.d, 0.0);
  for (const auto& [points, count] : {std::pair{x, g.n}, std::pair{y, g.m}})
    for (index i = 0; i < count; ++i)
      for (index k = 0; k < g.d; ++k) centre[k] += points[i * g.d + k] / static_cast<double>(g.n + g.m);
  return centre;
}

// at(j, k): coordinate k of point j.
template <class T, class At>
void squared_norms(index count, index d, At at, T* out) {
  for (index j = 0; j < count; ++j) {
    double s = 0;
    for (index k = 0; k < d; ++k) s += static_cast<double>(at(j, k)) * at(j, k);
    out[j] = static_cast<T>(s);
  }
}

// Fills in x, yt, xx, yy of a geometry. Points are normalised for the cosine cost; where squared distances are
// expanded they are centred, so that |x|^2 + |y|^2 - 2 x.y cancels little. O((n + m) d) memory.
template <class T>
PackedPoints pack_points(Geometry& g, const T* xs, const T* ys) {
  constexpr index size = sizeof(T);
  const bool expand = expands_squares(g);
  const index n = g.n, m = g.m, d = g.d, padded = round_up(m, Panels<T>::kWidth);
  PackedPoints out;
  out.x = Buffer<char>(n * d * size);
  out.y = Buffer<char>(padded * d * size);
  T* x = reinterpret_cast<T*>(out.x.data());
  const Panels<T> y{reinterpret_cast<T*>(out.y.data()), d};
  const Array<double> centre = expand ? mean_of(g, xs, ys) : Array<double>(d, 0.0);
  const auto write = [&](const T* from, auto to) {
    double scale = 1;
    if (g.cost == Cost::cosine) {
      double s = 0;
      for (index k = 0; k < d; ++k) s += static_cast<double>(from[k]) * from[k];
      scale = 1 / std::sqrt(s);
    }
    for (index k = 0; k < d; ++k) to(k) = static_cast<T>((from[k] - centre[k]) * scale);
  };
  std::fill(y.data, y.data + padded * d, T(0));
  for (index i = 0; i < n; ++i) write(xs + i * d, [&](index k) -> T& { return x[i * d + k]; });
  for (index j = 0; j < m; ++j) write(ys + j * d, [&](index k) -> T& { return y(j, k); });
  if (expand) {
    out.xx = Buffer<char>(n * size);
    out.yy = Buffer<char>((m + kPad) * size);
    squared_norms(n, d, [&](index i, index k) { return x[i * d + k]; }, reinterpret_cast<T*>(out.xx.data()));
    squared_norms(m, d, y, reinterpret_cast<T*>(out.yy.data()));
    g.xx = out.xx.data();
    g.yy = out.yy.data();
  }
  g.x = x;
  g.yt = y.data;
  return out;
}

}  // namespace ot::cpu
