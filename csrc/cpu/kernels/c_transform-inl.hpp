// Minima of reduced costs by rows and columns: the c-transform of dual potentials.
#pragma once
#include "cpu/kernels/costs-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// row_i = min_j C_ij - shift - g_j (g null: row is given), then col_j = min(col_j, C_ij - shift - row_i).
// Memory traffic: one read of C for both; the costs of a row stay in cache in between.
template <class TC>
void c_transform(const CTransformArgs& A, index i0, index i1) {
  const index m = A.geo.m;
  const double shift = A.geo.shift;
  double* cost = static_cast<double*>(A.work);
  const Tiles<TC> tiles(A.geo, static_cast<char*>(A.work) + block_rows(A.geo) * row_stride(m) * 8);
  for (index i = i0; i < i1; ++i) {
    double best = __builtin_inf();
    for_tiles(m, [&](index j, index len) {
      tiles.load(i, 1, j, len);
      const TC* __restrict c = tiles.row(i, 0, j);
      double* __restrict to = cost + j;
      for (index l = 0; l < len; ++l) to[l] = static_cast<double>(c[l]) - shift;
      if (A.g) {
        const double* __restrict g = A.g + j;
        double low = __builtin_inf();
#pragma omp simd reduction(OT_MIN : low)
        for (index l = 0; l < len; ++l) {
          const double w = to[l] - g[l];
          low = w < low ? w : low;
        }
        best = low < best ? low : best;
      }
    });
    if (A.g) A.row[i] = best;
    if (A.col && !(A.weight && A.weight[i] == 0)) {
      const double f = A.row[i];
      double* __restrict col = A.col;
      for (index j = 0; j < m; ++j) {
        const double w = cost[j] - f;
        col[j] = w < col[j] ? w : col[j];
      }
    }
  }
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
