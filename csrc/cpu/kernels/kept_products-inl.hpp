// Products with kept entries.
#pragma once
#include "cpu/kernels.hpp"
#include "cpu/kernels/simd-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// out_i = sum_k val_k x[idx_k] over the entries k of row i; val_k^2 where `squared`.
// Memory traffic: 12 bytes read and one gather from x an entry.
template <bool squared>
void kept_product(const SparseRows& T, const double* x, double* out, index i0, index i1) {
  constexpr index W = lanes<double>;
  for (index i = i0; i < i1; ++i) {
    Vec<double> s0{}, s1{};
    index k = T.begin[i];
    const index end = T.end[i];
    const auto term = [&](index at) {
      const Vec<double> v = load(T.val + at);
      return (squared ? v * v : v) * gather(x, T.idx + at);
    };
    for (; k + 2 * W <= end; k += 2 * W) {
      s0 += term(k);
      s1 += term(k + W);
    }
    if (k + W <= end) {
      s0 += term(k);
      k += W;
    }
    if (k < end) {
      const Vec<double> v = load_first(T.val + k, end - k);
      s1 += (squared ? v * v : v) * gather_first(x, T.idx + k, end - k);
    }
    out[i] = reduce<double>(s0 + s1);
  }
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
