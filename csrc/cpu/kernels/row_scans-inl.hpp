// Scans of one row of costs that an assignment makes. Ties go to the first column, so that every instruction-set level
// finds the same one.
#pragma once
#include "cpu/kernels/simd-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

using Places = decltype(Vec<double>{} < Vec<double>{});  // an integer for each lane of float64

inline Places first_places() {
  Places p{};
  for (index l = 0; l < lanes<double>; ++l) p[l] = l;
  return p;
}

// The two least of C_ij - v_j. Memory traffic: one read of the row and of v.
template <class TC>
void row_minima(const void* row, const double* v, index m, TwoLeast& out) {
  constexpr index W = lanes<double>, U = 2;  // U chains hide the latency of comparisons
  const TC* c = static_cast<const TC*>(row);
  Vec<double> least[U], second[U];
  Places at[U] = {}, here = first_places();
  for (index u = 0; u < U; ++u) least[u] = second[u] = splat(__builtin_inf());
  index j = 0;
  for (; j + U * W <= m; j += U * W)
#pragma GCC unroll 2
    for (index u = 0; u < U; ++u, here += W) {
      const Vec<double> x = load_f64(c + j + u * W) - load(v + j + u * W);
      const auto less = x < least[u];
      const Vec<double> other = less ? least[u] : x;
      second[u] = other < second[u] ? other : second[u];
      least[u] = less ? x : least[u];
      at[u] = less ? here : at[u];
    }
  out = {.least = __builtin_inf(), .second = __builtin_inf(), .at = 0};
  const auto add = [&](double x, index k) {
    if (x < out.least || (x == out.least && k < out.at)) {
      out.second = out.least;
      out.least = x;
      out.at = k;
    } else if (x < out.second) {
      out.second = x;
    }
  };
  for (index u = 0; u < U; ++u)
    for (index l = 0; l < W; ++l) {
      add(least[u][l], at[u][l]);
      if (second[u][l] < out.second) out.second = second[u][l];
    }
  for (; j < m; ++j) add(static_cast<double>(c[j]) - v[j], j);
}

// A step of Dijkstra's method: distances by way of this row, and the nearest column. Memory traffic: one read of the
// row and of v, one read and write of distances and parents.
template <class TC>
void relax_row(const void* row, index m, const RowStep& step, Nearest& out) {
  constexpr index W = lanes<double>;
  const TC* c = static_cast<const TC*>(row);
  Vec<double> nearest = splat(__builtin_inf());
  Places at{}, here = first_places(), from{};
  from += step.from;
  index j = 0;
  for (; j + W <= m; j += W, here += W) {
    const Vec<double> x = load_f64(c + j) - load(step.v + j) - step.offset;
    const Vec<double> d = load(step.distance + j);
    Places parent;
    __builtin_memcpy(&parent, step.parent + j, sizeof parent);
    const auto shorter = x < d;
    const Vec<double> to = shorter ? x : d;
    store(step.distance + j, to);
    store(step.parent + j, shorter ? from : parent);
    const auto nearer = to < nearest;
    nearest = nearer ? to : nearest;
    at = nearer ? here : at;
  }
  out = {.distance = __builtin_inf(), .column = -1};
  const auto add = [&](double d, index k) {
    if (d < out.distance || (d == out.distance && k < out.column)) out = {.distance = d, .column = k};
  };
  for (index l = 0; l < W; ++l) add(nearest[l], at[l]);
  for (; j < m; ++j) {
    const double x = static_cast<double>(c[j]) - step.v[j] - step.offset;
    if (x < step.distance[j]) {
      step.distance[j] = x;
      step.parent[j] = step.from;
    }
    add(step.distance[j], j);
  }
}

// least_j = min(least_j, C_ij), with the row where it stands.
template <class TC>
void column_minima(const void* row, index m, index i, double* least, index* at) {
  const TC* c = static_cast<const TC*>(row);
  for (index j = 0; j < m; ++j) {
    const double x = static_cast<double>(c[j]);
    const bool less = x < least[j];
    least[j] = less ? x : least[j];
    at[j] = less ? i : at[j];
  }
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
