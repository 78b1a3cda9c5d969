// The pass over C.
#pragma once
#include "cpu/kernels/gradient-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// Bounds of a row sum. Outside of them exponentials may have overflowed or become 0, and the row is redone with its
// largest exponent subtracted. float32: exponentials below e^-75 = 3e-33 are 0 (kFloor32).
template <class T>
struct Range;
template <>
struct Range<double> {
  static constexpr double low = 1e-200, high = 1e200;
};
template <>
struct Range<float> {
  static constexpr double low = 1e-12, high = 1e20;
};

// Appends the entries a_i e_ij / s_i of row i, the r-th of the block, that exceed the threshold to the region of the
// chunk: relative to the row sum with an update, a_i e_ij itself without. Beyond the capacity they are only counted.
// Memory traffic: one read of the row from cache, 12 bytes written an entry kept. Kept entries are rare: groups of
// four registers are tested by their largest values first.
template <class TC, class TE>
inline void keep(const Block<TC, TE>& block, index i, index r, double scale, double sum) {
  const PassArgs& A = block.A;
  KeptRegion& k = *A.kept;
  const TE* v = block.row(r);
  // The cut is never negative, or the zeros that fill up a row would be kept; the sum is where exponents overflow.
  const double least =
      A.update ? (sum > 0 ? k.threshold * sum : __builtin_inf()) : (scale > 0 ? k.threshold / scale : __builtin_inf());
  const TE cut = static_cast<TE>(least);
  index at = k.begin[i + r] - k.base;
  constexpr index W = lanes<TE>, G = 4;
  const index m = A.geo.m;
  for (index j0 = 0; j0 < m; j0 += G * W) {  // rows are filled up with zeros
    Vec<TE> best{};
    for (index j = j0; j < j0 + G * W && j < m; j += W) best = load(v + j) > best ? load(v + j) : best;
    if (!any_above<TE>(best, cut)) continue;
    for (index j = j0; j < j0 + G * W && j < m; j += W) {
      if (at + W <= k.capacity) {
        at += pack_above<TE>(load(v + j), cut, scale, j, k.idx + at, k.val + at);
      } else {
        std::int32_t idx[W];
        double val[W];
        const index count = pack_above<TE>(load(v + j), cut, scale, j, idx, val);
        for (index l = 0; l < count; ++l, ++at) {
          if (at >= k.capacity) continue;
          k.idx[at] = idx[l];
          k.val[at] = val[l];
        }
      }
    }
  }
  k.end[i + r] = k.base + at;
}

// Rows [i0, i1) of one pass over C (core/backend.hpp). Per row:
//   1. e_ij = exp(phi_i + h_j - (C_ij - shift)/reg), s_i = sum_j e_ij
//   2. with an update: phi_i = damp (phi_i - log s_i)
//   3. what is asked for: row_i = s_i, cost_i, kept entries, col_j += w_i e_ij, gradient_i
// Memory traffic: one read of C for all of these but cost_i, which reads it twice, and one exponential an entry. Rows
// go in blocks whose exponentials stay in cache between steps 1 and 3.
template <class TC, class TE>
void pass(const PassArgs& A, index i0, index i1) {
  const Block<TC, TE> block(A, i1);
  for (index i = i0; i < i1; i += block.height) {
    const index rows = i1 - i < block.height ? i1 - i : block.height;
    double sum[kMaxRows], w[kMaxRows];
    block.exponentials(i, rows, sum);
    if (A.row)
      for (index r = 0; r < rows; ++r) A.row[i + r] = sum[r];
    if (A.update) {
      bool bad[kMaxRows], any = false;
      for (index r = 0; r < rows; ++r) {
        bad[r] = !(sum[r] > Range<TE>::low && sum[r] < Range<TE>::high);
        any |= bad[r];
      }
      if (any) block.restabilise(i, rows, bad, sum);
    }
    for (index r = 0; r < rows; ++r) {
      const index k = i + r;
      w[r] = A.a[k];
      if (A.update) {
        if (sum[r] > 0 && A.damp == 1) {
          A.phi[k] -= __builtin_log(sum[r]);
          w[r] /= sum[r];
        } else if (sum[r] > 0) {
          const double before = A.phi[k];
          A.phi[k] = A.damp * (before - __builtin_log(sum[r]));
          w[r] *= __builtin_exp(A.phi[k] - before);
        }
      }
      if (A.kept) {
        A.kept->begin[k] = k == A.kept->first ? A.kept->base : A.kept->end[k - 1];
        keep(block, i, r, w[r], sum[r]);
      }
    }
    if (A.cost) block.costs(i, rows, A.cost + i);
    if (A.col) block.add_columns(rows, w, A.col);
    if (A.gradient) gradient(block, i, rows, w);
  }
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
