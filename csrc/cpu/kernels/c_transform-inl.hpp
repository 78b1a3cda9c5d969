// Minima of reduced costs by rows and columns: the c-transform of dual potentials.
#pragma once
#include "cpu/kernels/costs-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// row_i = min_j C_ij - shift - g_j (g null: row is given), then col_j = min(col_j, C_ij - shift - row_i).
// Memory traffic: one read of C for both; the costs of a block of rows stay in cache in between.
template <class TC>
void c_transform(const CTransformArgs& A, index i0, index i1) {
  const index m = A.geo.m;
  const double shift = A.geo.shift;
  const index stride = row_stride(m), height = block_rows(A.geo);
  double* cost = static_cast<double*>(A.work);
  const Tiles<TC> tiles(A.geo, i1, cost + height * stride);
  for (index i = i0; i < i1; i += height) {
    const index rows = i1 - i < height ? i1 - i : height;
    double best[kMaxRows];
    for (index r = 0; r < rows; ++r) best[r] = __builtin_inf();
    tiles.each(i, rows, [&](index r, index j, index len, const TC* __restrict c) {
      double* __restrict to = cost + r * stride + j;
      for (index l = 0; l < len; ++l) to[l] = static_cast<double>(c[l]) - shift;
      if (A.g) {
        const double* __restrict g = A.g + j;
        double low = __builtin_inf();
#pragma omp simd reduction(OT_MIN : low)
        for (index l = 0; l < len; ++l) {
          const double w = to[l] - g[l];
          low = w < low ? w : low;
        }
        best[r] = low < best[r] ? low : best[r];
      }
    });
    for (index r = 0; r < rows; ++r) {
      if (A.g) A.row[i + r] = best[r];
      if (!A.col || (A.weight && A.weight[i + r] == 0)) continue;
      const double f = A.row[i + r];
      const double* __restrict from = cost + r * stride;
      double* __restrict col = A.col;
      for (index j = 0; j < m; ++j) {
        const double w = from[j] - f;
        col[j] = w < col[j] ? w : col[j];
      }
    }
  }
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
