// Lines of at most one register of entries, solved in registers. No loop over entries and hardly a branch: line lengths
// are not predictable, and a mispredicted branch takes longer than the arithmetic of such a line.
#pragma once
#include "cpu/kernels/line_solvers-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// Permutations of the lanes l of a register.
template <index... l>
struct Lanes {
  using Int = Vec<std::int64_t>;
  // Lane l ^ step in lane l.
  template <index step>
  static Vec<double> across(Vec<double> v) {
    return __builtin_shufflevector(v, v, (l ^ step)...);
  }
  // One step of a bitonic sort: pairs of lanes `step` apart are ordered, falling and rising in blocks of `block` lanes
  // in turn.
  template <index block, index step>
  static Vec<double> order_pairs(Vec<double> v) {
    const Vec<double> w = across<step>(v), low = v < w ? v : w, high = v < w ? w : v;
    return Int{-static_cast<std::int64_t>(((l & step) == 0) == ((l & block) == 0))...} ? high : low;
  }
  // Lane l - step in lane l, 0 in the first ones.
  template <index step>
  static Vec<double> shift(Vec<double> v) {
    return __builtin_shufflevector(v, Vec<double>{}, (l < step ? lanes<double> : l - step)...);
  }
};
#if OT_VEC == 64
using AllLanes = Lanes<0, 1, 2, 3, 4, 5, 6, 7>;
#elif OT_VEC == 32
using AllLanes = Lanes<0, 1, 2, 3>;
#else
using AllLanes = Lanes<0, 1>;
#endif

alignas(64) inline constexpr double kInverse[8] = {1, 1. / 2, 1. / 3, 1. / 4, 1. / 5, 1. / 6, 1. / 7, 1. / 8};

// The lanes in falling order.
inline Vec<double> sort(Vec<double> v) {
  using L = AllLanes;
  v = L::order_pairs<2, 1>(v);
  if constexpr (lanes<double> > 2) {
    v = L::order_pairs<4, 2>(v);
    v = L::order_pairs<4, 1>(v);
  }
  if constexpr (lanes<double> > 4) {
    v = L::order_pairs<8, 4>(v);
    v = L::order_pairs<8, 2>(v);
    v = L::order_pairs<8, 1>(v);
  }
  return v;
}

// Lane l: the sum of lanes 0 .. l.
inline Vec<double> prefix_sums(Vec<double> v) {
  v += AllLanes::shift<1>(v);
  if constexpr (lanes<double> > 2) v += AllLanes::shift<2>(v);
  if constexpr (lanes<double> > 4) v += AllLanes::shift<4>(v);
  return v;
}

// beta and theta of line j from its entries z. With theta = 0: of the r largest entries alone,
// sum (z + beta) = b (reg + sigma) at beta_r; since sum_S (z + beta) <= sum (z + beta)+ for every set S, beta is the
// least beta_r. With theta > 0 as in tied_line, by prefix sums; entries are relative to the largest. False where
// the sets do not settle: solve_line is then to be called.
inline bool solve_vector(const LineView& L, index j, Vec<double> z, double slope_above, double slope_tied) {
  using V = Vec<double>;
  const double b = L.b[j], reg_sigma = L.reg + L.sigma;
  const V sorted = sort(z);
  const double largest = sorted[0];
  const V fall = sorted - largest, sum = prefix_sums(fall);
  const double free = reduce_min((b * reg_sigma - sum) * load(kInverse));
  const double guess = L.theta[j], guess_y = guess - L.beta[j] - largest;
  L.beta[j] = free - largest;
  L.theta[j] = 0;
  const index k = L.k;
  if (count_above(fall, -free) <= k) return true;
  double value[lanes<double>], first[lanes<double> + 1];  // first[r]: the sum of the r largest
  store(value, fall);
  first[0] = 0;
  store(first + 1, sum);
  // The k largest are above and share the mass: theta may be anything between them and the rest.
  const double alone = (b * reg_sigma - first[k]) * kInverse[k - 1], next = value[k] + alone;
  if (next <= 0 || value[k - 1] + alone >= (1 + L.sigma / L.reg) * next) {
    L.beta[j] = alone - largest;
    L.theta[j] = next > kTiny ? next : kTiny;
    return true;
  }
  // The sets of the guess, or k entries above.
  const double guess_h = guess * (L.sigma / L.reg);
  index count = guess > 0 ? count_above(fall - guess_h, guess_y) : k;
  index positive = guess > 0 ? count_above(fall, guess_y) : k;
  for (int round = 0; round < 10; ++round) {
    count = count < k ? count : k - 1;
    positive = positive > k ? positive : k + 1;
    const double above = static_cast<double>(count), tied = static_cast<double>(positive - count);
    const double rest = b - first[count] * slope_above, sum_tied = first[positive] - first[count];
    const double slope = static_cast<double>(k) * slope_tied - above * slope_above,
                 others = static_cast<double>(k) - above;
    const double scale = 1 / (tied * slope + others * above * slope_above);
    const double y = (sum_tied * slope - others * rest) * scale,
                 h = (tied * rest + above * slope_above * sum_tied) * scale;
    const index count_now = count_above(fall - h, y), positive_now = count_above(fall, y);
    if (count_now == count && positive_now == positive) {
      L.theta[j] = h / (L.sigma / L.reg);
      L.beta[j] = L.theta[j] - y - largest;
      return h > 0;
    }
    count = count_now;
    positive = positive_now;
  }
  return false;
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
