// The lines of the dual of a sparse plan: for alpha given, beta, theta and the support of each (sparse/line_view.hpp).
#pragma once
#include "cpu/kernels/line_step-inl.hpp"
#include "cpu/kernels/line_vector-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

static_assert(LineView::kPad % lanes<double> == 0);

// Lines of up to so many entries are reduced, on the stack, to those that can be in the support.
inline constexpr index kShort = 256;
// How far below the last theta - beta entries are taken from a short line at first, in units of b (reg + sigma).
inline constexpr double kGuessMargin = 0.005;

// Eight zeros, eight infinities: load(kEnd + 8 - count) is infinite behind the first `count` lanes.
alignas(64) inline constexpr double kEnd[16] = {
    0, 0, 0, 0, 0, 0, 0, 0, kInfinity, kInfinity, kInfinity, kInfinity, kInfinity, kInfinity, kInfinity, kInfinity};

// z = alpha - cost of `count` entries from e on, a register at most; -inf in the other lanes.
inline Vec<double> end_slacks(const LineView& L, index e, index count) {
  const Vec<double> v = gather_first(L.alpha, L.idx + e, count) - load_first(L.cost + e, count);
  return v - load(kEnd + 8 - count);
}

// z of line j, and -inf up to a whole register. Returns a number below which no z is in the support: with theta = 0 and
// some entries alone, those above `hint` or the largest, beta is at least that of the line, and z > -beta there.
// Memory traffic: 12 bytes read, one gather from alpha, 8 bytes written an entry.
inline double slacks(const LineView& L, index j, double* z, double hint) {
  const index e0 = L.begin[j], n = L.begin[j + 1] - e0, whole = n - n % lanes<double>;
  Vec<double> most = splat(-kInfinity), sums{};
  index count = 0;
  for (index e = 0; e < whole; e += lanes<double>) {
    const Vec<double> v = gather(L.alpha, L.idx + e0 + e) - load(L.cost + e0 + e);
    most = v > most ? v : most;
    count += add_where<false>(v, hint, v, sums);
    store(z + e, v);
  }
  if (whole < n) {
    const Vec<double> v = end_slacks(L, e0 + whole, n - whole);
    most = v > most ? v : most;
    count += add_where<false>(v, hint, v, sums);
    store(z + whole, v);
  }
  const double target = L.b[j] * (L.reg + L.sigma), top = reduce_max(most);
  const double low = (reduce<double>(sums) - target) / static_cast<double>(count), alone = top - target;
  return low > alone ? (low < top ? low : top) : alone;
}

// Entries of a line: z and their others.
struct LineEntries {
  const double* z;
  const std::int32_t* idx;
  index n;
};

// beta and theta of line j from its entries, starting from their last values; `support` and `support_t` are scratch
// from p0 on.
inline void solve_line(const LineView& L, index j, const LineEntries& of, index p0) {
  const double b = L.b[j];
  double beta = L.beta[j], theta = L.theta[j];
  const double hint = theta > 0 ? theta - beta : -kInfinity, guess = beta;
  if (!(theta > 0 && L.k < of.n && tied_line(L, of.z, of.n, b, beta, theta))) {
    beta = guess;
    theta = 0;
    if (free_line(of.z, of.n, b * (L.reg + L.sigma), beta) > L.k) {
      index n = 0;
      for (index e = 0; e < of.n; e += lanes<double>) {
        const index some = of.n - e < lanes<double> ? of.n - e : lanes<double>;
        n += pack_between(load(of.z + e), -beta, kInfinity, of.idx + e, some, L.support + p0 + n, L.support_t + p0 + n);
      }
      bound_line(L, L.support_t + p0, n, b, hint, beta, theta);
    }
  }
  L.beta[j] = beta;
  L.theta[j] = theta;
}

// t of entries z.
inline Vec<double> plan_of(Vec<double> z, double beta, double theta, double slope_above, double slope_tied) {
  const Vec<double> w = z + beta, tied = (w - theta) * (theta > 0 ? slope_tied : slope_above), above = w * slope_above,
                    low = tied < above ? tied : above;
  return low > 0.0 ? low : Vec<double>{};
}

// beta, theta and the support of lines [j0, j1); sums (others) += t. Supports lie one behind another, in each line the
// tied entries first: those with t < theta/reg, its value where an entry leaves the tie upwards.
// Memory traffic: see slacks; 12 bytes written an entry of the support, which `sums` gathers at the end.
inline void lines(const LineView& L, double* __restrict sums, index j0, index j1) {
  constexpr index W = lanes<double>;
  const double reg_sigma = L.reg + L.sigma, slope_above = 1 / (L.reg + L.sigma);
  const double slope_tied = L.sigma > 0 ? 1 / L.sigma : slope_above;
  double all_z[kShort], z[kShort + LineView::kPad];
  std::int32_t idx[kShort + LineView::kPad];
  double* const t = L.support_t;
  std::int32_t* const support = L.support;
  const index begin = L.begin[j0] + LineView::kPad * j0;
  index end = begin;
  for (index j = j0; j < j1; ++j) {
    const index e0 = L.begin[j], n = L.begin[j + 1] - e0;
    L.tied_begin[j] = L.above_begin[j] = L.above_end[j] = end;
    if (n == 0 || !(L.b[j] > 0)) continue;
    if (n == 1) {  // the entry takes the mass
      const double slack = L.alpha[L.idx[e0]] - L.cost[e0];
      L.beta[j] = reg_sigma * L.b[j] - slack;
      L.theta[j] = 0;
      support[end] = L.idx[e0];
      t[end] = (slack + L.beta[j]) * slope_above;
      end += t[end] > kLeast;
      L.above_end[j] = end;
      continue;
    }
    LineEntries of{L.slack + e0 + LineView::kPad * j, L.idx + e0, n};
    double guess = -kInfinity;  // a line from which only entries above it are taken
    if (n <= W) {
      store(z, end_slacks(L, e0, n));
      of = {z, L.idx + e0, n};
    } else if (n <= kShort) {
      const double theta = L.theta[j], y = theta - L.beta[j];
      double least = slacks(L, j, all_z, y);
      if (const double near = y - kGuessMargin * reg_sigma * L.b[j]; theta > 0 && near > least) least = guess = near;
      index count = 0;
      for (index e = 0; e < n; e += W) {
        const index some = n - e < W ? n - e : W;
        count += pack_between(load(all_z + e), least, kInfinity, L.idx + e0 + e, some, idx + count, z + count);
      }
      store(z + count, splat(-kInfinity));
      of = {z, idx, count};
    } else {
      slacks(L, j, L.slack + e0 + LineView::kPad * j, L.theta[j] - L.beta[j]);
    }
    bool solved = of.n <= W && solve_vector(L, j, load(of.z), slope_above, slope_tied);
    if (guess > -kInfinity && !(L.theta[j] - L.beta[j] >= guess)) {  // entries below the guess matter too
      of = {all_z, L.idx + e0, n};
      solved = false;
    }
    if (!solved) solve_line(L, j, of, end);
    const double beta = L.beta[j], theta = L.theta[j], edge = theta > kTiny ? theta / L.reg : kLeast;
    const auto pack = [&](double low, double high) {
      for (index e = 0; e < of.n; e += W) {
        const index some = of.n - e < W ? of.n - e : W;
        end += pack_between(plan_of(load(of.z + e), beta, theta, slope_above, slope_tied), low, high, of.idx + e, some,
                            support + end, t + end);
      }
    };
    if (L.k < of.n) pack(kLeast, edge);
    L.above_begin[j] = end;
    pack(edge, kInfinity);
    L.above_end[j] = end;
  }
  for (index e = begin; e < end; ++e) sums[support[e]] += t[e];
}

// t of all entries of lines [j0, j1), for beta and theta given.
inline void line_entries(const LineView& L, index j0, index j1) {
  const double slope_above = 1 / (L.reg + L.sigma), slope_tied = L.sigma > 0 ? 1 / L.sigma : slope_above;
  for (index j = j0; j < j1; ++j) {
    const index e0 = L.begin[j], n = L.begin[j + 1] - e0;
    double *t = L.t + e0, *z = L.slack + e0 + LineView::kPad * j;
    const bool in = L.b[j] > 0;
    if (in) slacks(L, j, z, 0);
    for (index e = 0; e < n; e += lanes<double>)
      store_first(t + e, in ? plan_of(load(z + e), L.beta[j], L.theta[j], slope_above, slope_tied) : Vec<double>{},
                  n - e);
  }
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
