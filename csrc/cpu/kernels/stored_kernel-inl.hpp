// The pass over a stored kernel.
#pragma once
#include "cpu/kernels.hpp"
#include "cpu/kernels/simd-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// A register of TA from TA or, where TA is float64, from float32.
template <class TA>
inline Vec<TA> load_as(const TA* p) {
  return load(p);
}
template <class TA>
inline Vec<TA> load_as(const float* p)
  requires(sizeof(TA) == 8)
{
  return load_f64(p);
}

// s_i = sum_j K_ij q_j, u_i = target_i / s_i, col_j += a_i u_i K_ij. TK is the type of K, TA that of q and of the
// products. q, the rows of K and col are filled up with zeros to whole registers.
// Memory traffic: n m sizeof(TK) bytes, one read of K. The second use of a block of kRows rows finds it in cache, and
// prefetches the next block: loads from memory go on while columns are summed.
template <class TK, class TA>
void kernel_pass(const KernelArgs& A, index i0, index i1) {
  constexpr index W = lanes<TA>, span = 64 * W;  // columns summed in TA before float64 takes over
  const index m = round_up(A.m, W);
  const TA* __restrict q = static_cast<const TA*>(A.q);
  for (index i = i0; i < i1; i += kRows) {
    const index rows = i1 - i < kRows ? i1 - i : kRows;
    const TK* k[kRows];
    for (index r = 0; r < kRows; ++r) k[r] = static_cast<const TK*>(A.K) + (i + (r < rows ? r : 0)) * A.ld;
    double s[kRows] = {}, w[kRows] = {};
    for (index j0 = 0; j0 < m; j0 += span) {
      const index j1 = m - j0 < span ? m : j0 + span;
      Vec<TA> acc[kRows] = {};
      for (index j = j0; j < j1; j += W) {
        const Vec<TA> v = load(q + j);
#pragma GCC unroll 4
        for (index r = 0; r < kRows; ++r) acc[r] += load_as<TA>(k[r] + j) * v;
      }
      for (index r = 0; r < kRows; ++r) s[r] += reduce<TA>(acc[r]);
    }
    for (index r = 0; r < rows; ++r) {
      if (A.target) A.u[i + r] = s[r] > kLeastSum<TA> ? A.target[i + r] / s[r] : 0.0;
      w[r] = A.a[i + r] * A.u[i + r];
      if (A.row) A.row[i + r] = w[r] * s[r];
    }
    constexpr index line = 64 / sizeof(TK);
    const TK* next = k[0] + (i + kRows < i1 ? kRows * A.ld : 0);
    double* __restrict col = A.col;
    TA c[kRows];
    for (index r = 0; r < kRows; ++r) c[r] = static_cast<TA>(w[r]);
    for (index j = 0; j < m; j += line) {
#pragma GCC unroll 4
      for (index r = 0; r < kRows; ++r) __builtin_prefetch(next + r * A.ld + j, 0, 2);
      for (index l = j; l < j + line && l < m; l += W) {
        Vec<TA> s0 = load_as<TA>(k[0] + l) * c[0], s1 = load_as<TA>(k[1] + l) * c[1];
#pragma GCC unroll 4
        for (index r = 2; r < kRows; r += 2) {
          s0 += load_as<TA>(k[r] + l) * c[r];
          s1 += load_as<TA>(k[r + 1] + l) * c[r + 1];
        }
        add_to(col + l, s0 + s1);
      }
    }
  }
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
