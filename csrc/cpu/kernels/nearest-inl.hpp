// The pairs of least reduced cost of every row and of every column.
#pragma once
#include "cpu/kernels/candidates-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// r_ij, always in the same order of operations.
inline double reduced_cost(double c, double f, double g) { return (c - g) - f; }

// A pair of reduced cost r < bound goes to its place in a sorted list, whose last one drops out.
// reduced_of(q) is the reduced cost of place q.
template <class F>
inline double insert_pair(std::int32_t* idx, double* cost, index k, std::int32_t at, double c, double r, double below,
                          F reduced_of) {
  index q = k - 1;
  for (; q > 0 && (idx[q - 1] < 0 || reduced_of(q - 1) > r); --q) {
    idx[q] = idx[q - 1];
    cost[q] = cost[q - 1];
  }
  idx[q] = at;
  cost[q] = c;
  return idx[k - 1] < 0 ? below : reduced_of(k - 1);
}

inline bool counts(const NearestArgs& A, double r, double c, double f, double g) {
  if (A.rounding == 0) return true;
  return r < A.below - A.rounding * (__builtin_fabs(c) + __builtin_fabs(f) + __builtin_fabs(g));
}

// Memory traffic: one read of C. Groups of 32 columns are tested by their least reduced cost first.
template <class TC>
void nearest_in_rows(const NearestArgs& A, index i0, index i1) {
  constexpr index G = 32;
  const index m = A.geo.m, k = A.k;
  const double shift = A.geo.shift;
  const double* __restrict g = A.g;
  for_rows<TC>(A.geo, A.work, i0, i1, [&](index i, const TC* __restrict c) {
    const double f = A.f[i];
    std::int32_t* idx = A.idx + i * k;
    double* cost = A.cost + i * k;
    for (index q = 0; q < k; ++q) idx[q] = -1;
    double bound = A.below, least = __builtin_inf();
    const auto reduced_of = [&](index q) { return reduced_cost(cost[q], f, g[idx[q]]); };
    for (index j0 = 0; j0 < m && f > -__builtin_inf(); j0 += G) {
      const index j1 = m - j0 < G ? m : j0 + G;
      double low = __builtin_inf();
#pragma omp simd reduction(OT_MIN : low)
      for (index j = j0; j < j1; ++j) {
        const double r = reduced_cost(static_cast<double>(c[j]) - shift, f, g[j]);
        low = r < low ? r : low;
      }
      least = low < least ? low : least;
      if (!(low < bound)) continue;
      for (index j = j0; j < j1; ++j) {
        const double v = static_cast<double>(c[j]) - shift, r = reduced_cost(v, f, g[j]);
        if (r < bound && counts(A, r, v, f, g[j]))
          bound = insert_pair(idx, cost, k, static_cast<std::int32_t>(j), v, r, A.below, reduced_of);
      }
    }
    A.least[i] = least;
  });
}

// The same for the columns [j0, j1) of one tile. Memory traffic: one read of C, in pieces of kTile columns of a row.
template <class TC>
void nearest_in_columns(const NearestArgs& A, index j0, index j1) {
  constexpr index G = 32;
  const index len = j1 - j0, k = A.k;
  const double shift = A.geo.shift;
  const double* __restrict g = A.g + j0;
  const Tiles<TC> tiles(A.geo, A.geo.n, A.work);
  double bound[kTile], least[kTile];
  for (index l = 0; l < len; ++l) {
    bound[l] = g[l] > -__builtin_inf() ? A.below : -__builtin_inf();
    least[l] = __builtin_inf();
    for (index q = 0; q < k; ++q) A.idx[(j0 + l) * k + q] = -1;
  }
  const index height = block_rows(A.geo);
  for (index i = 0; i < A.geo.n; i += height) {
    const index rows = A.geo.n - i < height ? A.geo.n - i : height;
    const auto costs = tiles.window(i, rows, j0, len);
    for (index s = 0; s < rows; ++s) {
      const double f = A.f[i + s];
      if (!(f > -__builtin_inf())) continue;
      const TC* __restrict c = costs.at + s * costs.stride;
      for (index l0 = 0; l0 < len; l0 += G) {
        const index l1 = len - l0 < G ? len : l0 + G;
        int below = 0;
#pragma omp simd reduction(+ : below)
        for (index l = l0; l < l1; ++l) {
          const double r = reduced_cost(static_cast<double>(c[l]) - shift, f, g[l]);
          least[l] = r < least[l] ? r : least[l];
          below += r < bound[l];
        }
        if (!below) continue;
        for (index l = l0; l < l1; ++l) {
          const double v = static_cast<double>(c[l]) - shift, r = reduced_cost(v, f, g[l]);
          if (!(r < bound[l] && counts(A, r, v, f, g[l]))) continue;
          std::int32_t* idx = A.idx + (j0 + l) * k;
          double* cost = A.cost + (j0 + l) * k;
          bound[l] = insert_pair(idx, cost, k, static_cast<std::int32_t>(i + s), v, r, A.below,
                                 [&](index q) { return reduced_cost(cost[q], A.f[idx[q]], g[l]); });
        }
      }
    }
  }
  for (index l = 0; l < len; ++l) A.least[j0 + l] = least[l];
}

// Costs of single pairs, as the passes have them: of points a panel is computed for each.
template <class TC>
void pair_costs(const Geometry& g, const std::int32_t* rows, const std::int32_t* columns, double* out, void* work,
                index k0, index k1) {
  constexpr index P = kPanel / sizeof(TC);
  const Tiles<TC> tiles(g, g.n, work);
  for (index k = k0; k < k1; ++k) {
    const index i = rows[k], j = columns[k], first = g.kind == Kind::dense ? j : j - j % P;
    const index len = g.kind == Kind::dense ? 1 : g.m - first < P ? g.m - first : P;
    out[k] = static_cast<double>(tiles.window(i, 1, first, len).at[j - first]) - g.shift;
  }
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
