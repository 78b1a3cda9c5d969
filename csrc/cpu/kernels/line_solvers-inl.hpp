// One line of the dual of a sparse plan (sparse/line_view.hpp): beta and theta from its entries.
//
// Line j has entries z = alpha - cost and mass b. Wanted are beta and theta >= 0, so that with w = z + beta
//   t = 0                   where w <= theta,
//   t = (w - theta)/sigma   where theta < w < theta (reg + sigma)/reg      (tied)
//   t = w/(reg + sigma)     from there on                                  (above the tie)
// sums to b, and sum min(1, (w - theta)+ reg/(theta sigma)) = k, or theta = 0 where no more than k entries are
// positive. The solvers use y = theta - beta and h = theta sigma/reg: entries with 0 < z - y < h are tied, those with
// z - y >= h are above. All loops run over whole registers: z ends in values -inf.
#pragma once
#include "cpu/kernels.hpp"
#include "cpu/kernels/compress-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

inline constexpr double kInfinity = __builtin_inf();
inline constexpr double kLeast = 1e-300;  // t below is no part of the support: sums of denormals take 100 cycles each
inline constexpr double kTiny = 1e-200;   // theta of a line whose tie is at 0 (theta = 0: without a tie)

// theta = 0: beta by Newton's method on sum (z + beta)+ = `target` = b (reg + sigma), a convex function of beta. From
// the second step on beta only falls, and entries only become 0. beta holds a guess. Returns how many are positive.
inline index free_line(const double* z, index n, double target, double& beta) {
  using V = Vec<double>;
  index before = -1;
  for (int round = 0;; ++round) {
    index count = 0;
    V sums{};
    for (index e = 0; e < n; e += lanes<double>) {
      const V v = load(z + e);
      count += add_where<false>(v + beta, 0, v, sums);
    }
    if (count == 0) {  // the guess was too small, or rounding made it so: start with the largest entry alone
      double top = -__builtin_inf();
      for (index e = 0; e < n; ++e) top = z[e] > top ? z[e] : top;
      beta = target - top;
      if (round > 0) return 1;
      continue;
    }
    if (count == before || (round > 1 && count > before)) return count;
    beta = (target - reduce<double>(sums)) / static_cast<double>(count);
    before = count;
  }
}

// theta > 0, from a guess of both: the sets A of entries above and T of tied ones determine y and h by two linear
// equations,
//   sum_T (z - y) = (k - |A|) h,   k h/sigma + sum_A (z - y - h)/(reg + sigma) = b,
// which determine the sets; repeated until these stay. False where they do not within 10 rounds.
inline bool tied_line(const LineView& L, const double* z, index n, double b, double& beta, double& theta) {
  const double slope_above = 1 / (L.reg + L.sigma), slope_tied = 1 / L.sigma, k = static_cast<double>(L.k);
  double y = theta - beta, h = theta * (L.sigma / L.reg), last_above = -1, last_tied = -1;
  for (int round = 0; round < 10; ++round) {
    using V = Vec<double>;
    V sums_above{}, sums_positive{};
    index count_above = 0, count_positive = 0;
    for (index e = 0; e < n; e += lanes<double>) {
      const V w = load(z + e), v = w - y;
      count_above += add_where<true>(v, h, w, sums_above);
      count_positive += add_where<false>(v, 0, w, sums_positive);
    }
    const double above = static_cast<double>(count_above), tied = static_cast<double>(count_positive - count_above);
    const double sum_above = reduce<double>(sums_above), sum_tied = reduce<double>(sums_positive) - sum_above;
    if (above == last_above && tied == last_tied) {
      theta = h / (L.sigma / L.reg);
      beta = theta - y;
      return true;
    }
    if (above > k || (tied == 0 && above < k)) return false;
    const double rest = b - sum_above * slope_above;
    if (above == k) {  // k entries above share the mass: a solution if the next one is not positive then
      double least = __builtin_inf(), next = -__builtin_inf();
      for (index e = 0; e < n; ++e) {
        const bool in = z[e] - y >= h;
        least = in && z[e] < least ? z[e] : least;
        next = !in && z[e] > next ? z[e] : next;
      }
      beta = rest / (k * slope_above);
      theta = next + beta;
      return theta > 0 && least + beta >= (1 + L.sigma / L.reg) * theta;
    }
    const double slope = k * slope_tied - above * slope_above,
                 determinant = tied * slope + (k - above) * above * slope_above;
    y = (sum_tied * slope - (k - above) * rest) / determinant;
    h = (tied * rest + above * slope_above * sum_tied) / determinant;
    if (!(h > 0)) return false;
    last_above = above;
    last_tied = tied;
  }
  return false;
}

// Quickselect: the k largest of n come first, in no order.
inline void select_largest(double* v, index n, index k) {
  index low = 0, high = n - 1;
  while (low < high) {
    const double pivot = v[(low + high) / 2];
    index i = low, j = high;
    while (i <= j) {
      while (v[i] > pivot) ++i;
      while (v[j] < pivot) --j;
      if (i > j) break;
      const double w = v[i];
      v[i++] = v[j];
      v[j--] = w;
    }
    if (k - 1 <= j) high = j;
    else if (k - 1 >= i) low = i;
    else break;
  }
}

// theta > 0, without a guess that must be good: the n > k entries z are those that are positive for theta = 0, and y
// only rises from there. For each y,
//   sum min(1, (z - y)+/h) = k   determines h(y), and t sums to
//   S(y) = sum min(z - y, h)+/sigma + sum (z - y - h)+/(reg + sigma),
// decreasing and piecewise linear in y: Newton's method on S(y) = b, kept in a bracket. `hint` guesses y; z is
// reordered.
inline void bound_line(const LineView& L, double* z, index n, double b, double hint, double& beta, double& theta) {
  const index k = L.k;
  const double sigma = L.sigma, reg_sigma = L.reg + sigma, ratio = sigma / L.reg, inf = __builtin_inf();
  select_largest(z, n, k);
  double sum = 0, least = inf, next = -inf;
  for (index e = 0; e < k; ++e) {
    sum += z[e];
    least = z[e] < least ? z[e] : least;
  }
  for (index e = k; e < n; ++e) next = z[e] > next ? z[e] : next;
  beta = (reg_sigma * b - sum) / static_cast<double>(k);
  // The k largest are above and share the mass: theta may be anything between them and the rest.
  if (next + beta <= 0 || least + beta >= (1 + ratio) * (next + beta)) {
    theta = next + beta > kTiny ? next + beta : kTiny;
    return;
  }
  double low = -inf, high = next, y = hint < next ? hint : -inf, h = 0;
  if (y == -inf) y = next - (least - next > 1e-3 * reg_sigma * b ? least - next : 1e-3 * reg_sigma * b);
  index last_above = -1, last_tied = -1;
  for (int round = 0; round < 100; ++round) {
    // h(y) by Newton's method on a concave function of u = 1/h, from u = 0: it rises, and ends after finitely many
    // steps.
    double u = 0;
    index above = 0, tied = 0;
    for (index before = -1;; before = above) {
      double sum_tied = 0, count_above = 0, count_tied = 0;
#pragma omp simd reduction(+ : sum_tied, count_above, count_tied)
      for (index e = 0; e < n; ++e) {
        const double v = z[e] - y;
        count_above += v > 0 && v * u >= 1 ? 1.0 : 0.0;
        count_tied += v > 0 && v * u < 1 ? 1.0 : 0.0;
        sum_tied += v > 0 && v * u < 1 ? v : 0.0;
      }
      above = static_cast<index>(count_above);
      tied = static_cast<index>(count_tied);
      if (above == before || tied == 0 || above >= k) break;
      u = static_cast<double>(k - above) / sum_tied;
    }
    h = 1 / u;
    if (above == last_above && tied == last_tied) break;  // y is on the piece that Newton's step took
    double total = 0;
    for (index e = 0; e < n; ++e)
      if (const double v = z[e] - y; v > 0) total += (v < h ? v : h) / sigma + (v > h ? v - h : 0.0) / reg_sigma;
    if (__builtin_fabs(total - b) <= 4e-16 * b) break;
    (total > b ? low : high) = y;
    const double h_slope = -static_cast<double>(tied) / static_cast<double>(k - above > 1 ? k - above : 1);
    const double slope = (static_cast<double>(above) * h_slope - static_cast<double>(tied)) / sigma -
                         static_cast<double>(above) * (1 + h_slope) / reg_sigma;
    double to = slope < 0 ? y + (b - total) / slope : inf;
    last_above = above;
    last_tied = tied;
    if (!(to > low && to < high)) {  // outside of the bracket: bisection
      const double step = high - y > reg_sigma * b ? high - y : reg_sigma * b;
      to = low == -inf ? y - 2 * step : 0.5 * (low + high);
      last_above = -1;
    }
    if (to == y || __builtin_fabs(to - y) <= 1e-16 * (__builtin_fabs(y) + h)) break;
    y = to;
  }
  theta = h / ratio;
  beta = theta - y;
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
