// What is read of costs and plans beside the solvers: products with the plan, its rows, costs, their range.
#pragma once
#include "cpu/kernels/block-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// out = P V for k vectors over columns, or out += P'V for k vectors over rows. P is never stored.
// Memory traffic: one read of C for all k vectors.
template <class TC>
void apply_plan(const ApplyArgs& B, index i0, index i1) {
  const PassArgs& A = B.pass;
  const Block<TC, double> block(A, i1);
  const index n = A.geo.n, m = A.geo.m;
  for (index i = i0; i < i1; i += block.height) {
    const index rows = i1 - i < block.height ? i1 - i : block.height;
    double sum[kMaxRows], w[kMaxRows];
    block.exponentials(i, rows, sum);
    for (index k = 0; k < B.k; ++k) {
      if (B.columns) {
        for (index r = 0; r < rows; ++r) w[r] = A.a[i + r] * B.V[k * n + i + r];
        block.add_columns(rows, w, B.out + k * m);
      } else {
        const double* __restrict v = B.V + k * m;
        for (index r = 0; r < rows; ++r) {
          const double* __restrict e = block.row(r);
          double s = 0;
#pragma omp simd reduction(+ : s)
          for (index j = 0; j < m; ++j) s += e[j] * v[j];
          B.out[k * n + i + r] = A.a[i + r] * s;
        }
      }
    }
  }
}

// out_ij = scale_i e_ij, and 0 in columns [m, ld): the plan (scale = a, h = psi + log b), or a kernel to be stored
// (scale null: 1, h = psi). Memory traffic: one read of C, one write of out.
template <class TC, class TE>
void plan_rows(const PassArgs& A, void* out, index ld, const double* scale, index i0, index i1) {
  const Block<TC, TE> block(A, i1);
  for (index i = i0; i < i1; i += block.height) {
    const index rows = i1 - i < block.height ? i1 - i : block.height;
    double sum[kMaxRows];
    block.exponentials(i, rows, sum);
    for (index r = 0; r < rows; ++r) {
      TE* __restrict to = static_cast<TE*>(out) + (i + r) * ld;
      const TE* __restrict e = block.row(r);
      const double s = scale ? scale[i + r] : 1.0;
      for (index j = 0; j < A.geo.m; ++j) to[j] = static_cast<TE>(s * e[j]);
      for (index j = A.geo.m; j < ld; ++j) to[j] = 0;
    }
  }
}

// out_i = sum_j (C_ij - shift) w_j with 0 inf = 0. Memory traffic: one read of C.
template <class TC>
void cost_apply(const Geometry& g, const double* w, double* out, void* work, index i0, index i1) {
  const Tiles<TC> tiles(g, i1, work);
  const index height = block_rows(g);
  for (index i = i0; i < i1; i += height) {
    const index rows = i1 - i < height ? i1 - i : height;
    for (index r = 0; r < rows; ++r) out[i + r] = 0;
    tiles.each(i, rows, [&](index r, index j, index len, const TC* __restrict c) {
      const double* __restrict v = w + j;
      double sum = out[i + r];
#pragma omp simd reduction(+ : sum)
      for (index l = 0; l < len; ++l) sum += v[l] != 0 ? (static_cast<double>(c[l]) - g.shift) * v[l] : 0.0;
      out[i + r] = sum;
    });
  }
}

// out_ij = C_ij in the dtype of C. Memory traffic: one read of C, one write of out.
template <class TC>
void cost_rows(const Geometry& g, void* out, index ld, index i0, index i1) {
  if (g.column_major) return rows_of_columns(g, i0, i1 - i0, static_cast<TC*>(out) + i0 * ld, ld);
  TC buffer[kRows * kTile];
  const Tiles<TC> tiles(g, i1, buffer);
  for (index i = i0; i < i1; i += kRows) {
    const index rows = i1 - i < kRows ? i1 - i : kRows;
    tiles.each(i, rows, [&](index r, index j, index len, const TC* c) {
      __builtin_memcpy(static_cast<TC*>(out) + (i + r) * ld + j, c, len * sizeof(TC));
    });
  }
}

// The least and the largest finite entry; counts of NaN, -inf and +inf. x - x is 0 for finite x and NaN otherwise: one
// sum a tile tells whether its entries must be examined one by one. Memory traffic: one read of C.
template <class TC>
void stats(const Geometry& g, index i0, index i1, CostStats& out) {
  constexpr TC inf = __builtin_inf();
  TC low = inf, high = -inf;
  for (index i = i0; i < i1; ++i) {
    for_tiles(g.m, [&](index j, index len) {
      const TC* __restrict c = static_cast<const TC*>(g.C) + i * g.ld + j;
      TC a = inf, b = -inf, bad = 0;
#pragma omp simd reduction(OT_MIN : a) reduction(OT_MAX : b) reduction(+ : bad)
      for (index l = 0; l < len; ++l) {
        a = c[l] < a ? c[l] : a;
        b = c[l] > b ? c[l] : b;
        bad += c[l] - c[l];
      }
      if (bad != 0) {
        for (index l = 0; l < len; ++l) {
          const TC v = c[l];
          if (v != v || v == -inf) {
            if (out.first_bad < 0) out.first_bad = i * g.m + j + l;
            ++(v != v ? out.nan : out.neg_inf);
          } else if (v == inf) {
            ++out.pos_inf;
          } else {
            low = v < low ? v : low;
            high = v > high ? v : high;
          }
        }
      } else {
        low = a < low ? a : low;
        high = b > high ? b : high;
      }
    });
  }
  out.min = low;
  out.max = high;
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
