// The Newton step on the lines of a sparse plan (LineSystem in sparse/line_view.hpp).
#pragma once
#include "cpu/kernels.hpp"
#include "cpu/kernels/simd-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// Eight numbers, in as many registers as that takes.
struct Eight {
  static constexpr index kParts = 8 / lanes<double>;
  Vec<double> part[kParts];
};

// Sums of x[idx] over the slots [first, last) of a slice.
inline Eight sum_slots(const std::int32_t* idx, index first, index last, const double* x) {
  Eight sum{};
  for (index s = first; s < last; ++s)
    for (index p = 0; p < Eight::kParts; ++p) sum.part[p] += gather(x, idx + 8 * s + p * lanes<double>);
  return sum;
}

// q of the lines, from the direction.
inline void line_products(const LineSystem& S) {
  constexpr index W = lanes<double>;
  for (index s = 0; s < S.line_slices; ++s) {
    const index* slot = S.line_slots + 2 * s;
    const Eight v = sum_slots(S.line_idx, slot[1], slot[2], S.direction);
    if (slot[0] == slot[1]) {  // no tied entries
      for (index p = 0; p < Eight::kParts; ++p)
        store(S.q + 16 * s + p * W, load(S.above_above + 8 * s + p * W) * v.part[p]);
      continue;
    }
    const Eight u = sum_slots(S.line_idx, slot[0], slot[1], S.direction);
    for (index p = 0; p < Eight::kParts; ++p) {
      const Vec<double> both = load(S.tied_above + 8 * s + p * W);
      store(S.q + 16 * s + p * W, both * u.part[p] + load(S.above_above + 8 * s + p * W) * v.part[p]);
      store(S.q + 16 * s + 8 + p * W, load(S.tied_tied + 8 * s + p * W) * u.part[p] + both * v.part[p]);
    }
  }
}

// product = H direction, from q; returns direction' H direction.
inline double other_products(const LineSystem& S) {
  constexpr index W = lanes<double>;
  Vec<double> curvatures{};
  for (index s = 0; s < S.other_slices; ++s) {
    const Eight sum = sum_slots(S.other_idx, S.other_slots[s], S.other_slots[s + 1], S.q);
    for (index p = 0; p < Eight::kParts; ++p) {
      const index i = 8 * s + p * W;
      const Vec<double> x = load(S.direction + i), y = load(S.diagonal + i) * x - sum.part[p];
      store(S.product + i, y);
      curvatures += x * y;
    }
  }
  return reduce<double>(curvatures);
}

// H step = gradient by conjugate gradients, preconditioned by the diagonal, until the L1 norm of the residual is at
// most `left` times that of the gradient; at most 300 iterations.
// Memory traffic of an iteration: two gathers and 8 bytes of indices for every entry of the support, and five vectors
// of the length of the others; all of it usually lies in cache.
void line_step(const LineSystem& S) {
  using V = Vec<double>;
  constexpr index W = lanes<double>, most = 300;
  const index n = 8 * S.other_slices;
  const auto size = [](V v) { return v < 0.0 ? -v : v; };
  V sum{}, sizes{};
  for (index i = 0; i < n; i += W) {
    const V r = load(S.gradient + i), z = load(S.inverse + i) * r;
    store(S.step + i, V{});
    store(S.residual + i, r);
    store(S.direction + i, z);
    sum += r * z;
    sizes += size(r);
  }
  double rz = reduce<double>(sum), norm = reduce<double>(sizes);
  const double goal = S.left * norm;
  for (index round = 0; round < most && norm > goal && rz > 0; ++round) {
    line_products(S);
    const double curvature = other_products(S);
    if (!(curvature > 0)) return;
    const double length = rz / curvature;
    sum = sizes = V{};
    for (index i = 0; i < n; i += W) {
      const V r = load(S.residual + i) - length * load(S.product + i);
      store(S.step + i, load(S.step + i) + length * load(S.direction + i));
      store(S.residual + i, r);
      sum += r * r * load(S.inverse + i);
      sizes += size(r);
    }
    const double next = reduce<double>(sum), factor = next / rz;
    norm = reduce<double>(sizes);
    for (index i = 0; i < n; i += W)
      store(S.direction + i, load(S.inverse + i) * load(S.residual + i) + factor * load(S.direction + i));
    rz = next;
  }
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
