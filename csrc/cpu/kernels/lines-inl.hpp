// Lines of the dual of sparse plans: for potentials alpha of the others given, beta_j, theta_j and the
// entries of every line (solvers/lines.hpp). Part of kernels-inl.hpp.
#pragma once
#include "cpu/kernels.hpp"
#include "cpu/kernels/compress-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// z of a line ends in values -inf that fill its last vector: less what stands behind the last `rest` of zeros.
static_assert(LineView::kPad % lanes<double> == 0);
inline constexpr double kNone = __builtin_inf();
// The least t that counts, and a theta that is as good as zero. Denormal numbers cost a hundred cycles each.
inline constexpr double kLeast = 1e-300, kTiny = 1e-200;
inline constexpr double kReach = 0.005;
inline constexpr index kShort = 256;  // entries of a line of which those that matter are taken first
alignas(64) inline constexpr double kBeyond[16] = {0,     0,     0,     0,     0,     0,     0,     0,
                                                   kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone};

// Without the bound: Newton's method on the convex sum (z + x)+ = whole. After its first step x only
// falls, and entries only leave. Returns the number of positive entries.
inline index free_line(const double* z, index n, double whole, double& x) {
  using V = Vec<double>;
  index before = -1;
  for (int round = 0;; ++round) {
    index count = 0;
    V sums{};
    for (index e = 0; e < n; e += lanes<double>) {
      const V v = load(z + e);
      count += add_where<false>(v + x, 0, v, sums);
    }
    if (count == 0) {  // a poor hint, or rounding: the largest alone
      double top = -__builtin_inf();
      for (index e = 0; e < n; ++e) top = z[e] > top ? z[e] : top;
      x = whole - top;
      if (round > 0) return 1;
      continue;
    }
    if (count == before || (round > 1 && count > before)) return count;
    x = (whole - reduce<double>(sums)) / static_cast<double>(count);
    before = count;
  }
}

// With a tie, from the last one: with y = theta - x and h = theta sigma/reg, the entries T of z - y >= h and N
// of 0 < z - y < h obey
//   sum_N (z - y) = (k - |T|) h,   k h / sigma + sum_T (z - y - h) / (reg + sigma) = mass,
// two linear equations. False where the sets do not settle.
inline bool tied_line(const LineView& L, const double* z, index n, double mass, double& x, double& tie) {
  const double flat = 1 / (L.reg + L.sigma), steep = 1 / L.sigma, k = static_cast<double>(L.k);
  double y = tie - x, h = tie * (L.sigma / L.reg), last_top = -1, last_near = -1;
  for (int round = 0; round < 10; ++round) {
    using V = Vec<double>;
    V sum_tops{}, sum_above{};
    index tops = 0, above = 0;
    for (index e = 0; e < n; e += lanes<double>) {
      const V w = load(z + e), v = w - y;
      tops += add_where<true>(v, h, w, sum_tops);
      above += add_where<false>(v, 0, w, sum_above);
    }
    const double top = static_cast<double>(tops), near = static_cast<double>(above - tops);
    const double sum_top = reduce<double>(sum_tops), sum_near = reduce<double>(sum_above) - sum_top;
    if (top == last_top && near == last_near) {
      tie = h / (L.sigma / L.reg);
      x = tie - y;
      return true;
    }
    if (top > k || (near == 0 && top < k)) return false;
    const double rest = mass - sum_top * flat;
    if (top == k) {  // no tie, perhaps
      double least = __builtin_inf(), next = -__builtin_inf();
      for (index e = 0; e < n; ++e) {
        const bool in = z[e] - y >= h;
        least = in && z[e] < least ? z[e] : least;
        next = !in && z[e] > next ? z[e] : next;
      }
      x = rest / (k * flat);
      tie = next + x;
      return tie > 0 && least + x >= (1 + L.sigma / L.reg) * tie;
    }
    const double slope = k * steep - top * flat, det = near * slope + (k - top) * top * flat;
    y = (sum_near * slope - (k - top) * rest) / det;
    h = (near * rest + top * flat * sum_near) / det;
    if (!(h > 0)) return false;
    last_top = top;
    last_near = near;
  }
  return false;
}

// The k largest first.
inline void select(double* v, index n, index k) {
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

// More than k entries, z, are positive: theta - x only rises. With y and h as above,
//   sum min(1, (z - y)+/h) = k   determines h(y), and the line sums to
//   S(y) = sum min(z - y, h)+ / sigma + sum (z - y - h)+ / (reg + sigma),
// decreasing and piecewise linear: Newton's method, kept in a bracket.
inline void bound_line(const LineView& L, double* z, index n, double mass, double hint, double& x, double& tie) {
  const index k = L.k;
  const double sigma = L.sigma, whole = L.reg + sigma, ratio = sigma / L.reg, inf = __builtin_inf();
  select(z, n, k);
  double sum = 0, least = inf, next = -inf;
  for (index e = 0; e < k; ++e) {
    sum += z[e];
    least = z[e] < least ? z[e] : least;
  }
  for (index e = k; e < n; ++e) next = z[e] > next ? z[e] : next;
  x = (whole * mass - sum) / static_cast<double>(k);
  // No tie: the k largest share the mass, and theta is anything between them and the rest.
  if (next + x <= 0 || least + x >= (1 + ratio) * (next + x)) {
    tie = next + x > kTiny ? next + x : kTiny;
    return;
  }
  double low = -inf, high = next, y = hint < next ? hint : -inf, h = 0;
  if (y == -inf) y = next - (least - next > 1e-3 * whole * mass ? least - next : 1e-3 * whole * mass);
  index last_top = -1, last_near = -1;
  for (int round = 0; round < 100; ++round) {
    // h by Newton's method on a concave function of 1/h: from below, finite.
    double u = 0;
    index top = 0, near = 0;
    for (index before = -1;; before = top) {
      double reach = 0, above = 0, below = 0;
#pragma omp simd reduction(+ : reach, above, below)
      for (index e = 0; e < n; ++e) {
        const double v = z[e] - y;
        above += v > 0 && v * u >= 1 ? 1.0 : 0.0;
        below += v > 0 && v * u < 1 ? 1.0 : 0.0;
        reach += v > 0 && v * u < 1 ? v : 0.0;
      }
      top = static_cast<index>(above);
      near = static_cast<index>(below);
      if (top == before || near == 0 || top >= k) break;
      u = static_cast<double>(k - top) / reach;
    }
    h = 1 / u;
    if (top == last_top && near == last_near) break;  // the piece that Newton's step aimed at
    double total = 0;
    for (index e = 0; e < n; ++e)
      if (const double v = z[e] - y; v > 0) total += (v < h ? v : h) / sigma + (v > h ? v - h : 0.0) / whole;
    if (__builtin_fabs(total - mass) <= 4e-16 * mass) break;
    (total > mass ? low : high) = y;
    const double fall = -static_cast<double>(near) / static_cast<double>(k - top > 1 ? k - top : 1);
    const double slope = (static_cast<double>(top) * fall - static_cast<double>(near)) / sigma -
                         static_cast<double>(top) * (1 + fall) / whole;
    double to = slope < 0 ? y + (mass - total) / slope : inf;
    last_top = top;
    last_near = near;
    if (!(to > low && to < high)) {
      const double step = high - y > whole * mass ? high - y : whole * mass;
      to = low == -inf ? y - 2 * step : 0.5 * (low + high);
      last_top = -1;
    }
    if (to == y || __builtin_fabs(to - y) <= 1e-16 * (__builtin_fabs(y) + h)) break;
    y = to;
  }
  tie = h / ratio;
  x = tie - y;
}

// ---------------------------------------------------------------- lines of one vector
// No loop, and hardly a branch: that a processor foretells the lengths of lines wrongly costs more than they do.

// Lane l ^ step, or l - step, of v.
template <index... l>
struct Lanes {
  using Int = Vec<std::int64_t>;
  template <index step>
  static Vec<double> across(Vec<double> v) {
    return __builtin_shufflevector(v, v, (l ^ step)...);
  }
  // The larger of a pair where it belongs: blocks of `block` fall and rise in turn.
  template <index block, index step>
  static Vec<double> exchange(Vec<double> v) {
    const Vec<double> w = across<step>(v), low = v < w ? v : w, high = v < w ? w : v;
    return Int{-static_cast<std::int64_t>(((l & step) == 0) == ((l & block) == 0))...} ? high : low;
  }
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

alignas(64) inline constexpr double share[8] = {1, 1. / 2, 1. / 3, 1. / 4, 1. / 5, 1. / 6, 1. / 7, 1. / 8};

// Falling.
inline Vec<double> sort(Vec<double> v) {
  using L = AllLanes;
  v = L::exchange<2, 1>(v);
  if constexpr (lanes<double> > 2) {
    v = L::exchange<4, 2>(v);
    v = L::exchange<4, 1>(v);
  }
  if constexpr (lanes<double> > 4) {
    v = L::exchange<8, 4>(v);
    v = L::exchange<8, 2>(v);
    v = L::exchange<8, 1>(v);
  }
  return v;
}

// Of the first lanes.
inline Vec<double> sums(Vec<double> v) {
  v += AllLanes::shift<1>(v);
  if constexpr (lanes<double> > 2) v += AllLanes::shift<2>(v);
  if constexpr (lanes<double> > 4) v += AllLanes::shift<4>(v);
  return v;
}

// beta and theta of line j of entries z. With S the first r of the falling z, sum_S (z + x) <= sum (z + x)+: the
// smallest root of all r is that of sum (z + x)+ = whole. False where there are ties, and the sets of the
// last one do not lead there.
inline bool solve_vector(const LineView& L, index j, Vec<double> z, double flat, double steep) {
  using V = Vec<double>;
  const double mass = L.b[j], whole = L.reg + L.sigma;
  const V sorted = sort(z);
  const double largest = sorted[0];
  const V fall = sorted - largest, sum = sums(fall);
  const double x = reduce_min((mass * whole - sum) * load(share));
  const double tie = L.theta[j], before = tie - L.beta[j] - largest;
  L.beta[j] = x - largest;
  L.theta[j] = 0;
  const index k = L.k;
  if (count_above(fall, -x) <= k) return true;
  double value[lanes<double>], first[lanes<double> + 1];
  store(value, fall);
  first[0] = 0;
  store(first + 1, sum);
  // No tie: the k largest share the mass.
  const double alone = (mass * whole - first[k]) * share[k - 1], next = value[k] + alone;
  if (next <= 0 || value[k - 1] + alone >= (1 + L.sigma / L.reg) * next) {
    L.beta[j] = alone - largest;
    L.theta[j] = next > kTiny ? next : kTiny;
    return true;
  }
  // With y and h as above, relative to the largest: the sets of the last tie, or the least ones.
  const double h0 = tie * (L.sigma / L.reg);
  index tops = tie > 0 ? count_above(fall - h0, before) : k, above = tie > 0 ? count_above(fall, before) : k;
  for (int round = 0; round < 10; ++round) {
    tops = tops < k ? tops : k - 1;
    above = above > k ? above : k + 1;
    const double top = static_cast<double>(tops), near = static_cast<double>(above - tops);
    const double rest = mass - first[tops] * flat, sum_near = first[above] - first[tops];
    const double slope = static_cast<double>(k) * steep - top * flat, others = static_cast<double>(k) - top;
    const double scale = 1 / (near * slope + others * top * flat);
    const double y = (sum_near * slope - others * rest) * scale, h = (near * rest + top * flat * sum_near) * scale;
    const index now_tops = count_above(fall - h, y), now_above = count_above(fall, y);
    if (now_tops == tops && now_above == above) {
      L.theta[j] = h / (L.sigma / L.reg);
      L.beta[j] = L.theta[j] - y - largest;
      return h > 0;
    }
    tops = now_tops;
    above = now_above;
  }
  return false;
}

// z of `count` entries from e on, a vector at most; -inf behind them.
inline Vec<double> line_slacks(const LineView& L, index e, index count) {
  const Vec<double> v = gather_first(L.alpha, L.idx + e, count) - load_first(L.cost + e, count);
  return v - load(kBeyond + 8 - count);
}

// z of line j; -inf in the rest of its last vector. Returns a bound under which none is positive: the line without
// its bound, of those above `hint` alone or of the largest alone, has the greater x.
inline double slacks(const LineView& L, index j, double* z, double hint) {
  const index e0 = L.begin[j], n = L.begin[j + 1] - e0, whole = n - n % lanes<double>;
  Vec<double> most = splat(-kNone), sums{};
  index count = 0;
  for (index e = 0; e < whole; e += lanes<double>) {
    const Vec<double> v = gather(L.alpha, L.idx + e0 + e) - load(L.cost + e0 + e);
    most = v > most ? v : most;
    count += add_where<false>(v, hint, v, sums);
    store(z + e, v);
  }
  if (whole < n) {
    const Vec<double> v = line_slacks(L, e0 + whole, n - whole);
    most = v > most ? v : most;
    count += add_where<false>(v, hint, v, sums);
    store(z + whole, v);
  }
  const double mass = L.b[j] * (L.reg + L.sigma), top = reduce_max(most);
  const double low = (reduce<double>(sums) - mass) / static_cast<double>(count), alone = top - mass;
  return low > alone ? (low < top ? low : top) : alone;
}

// Entries z of a line, and their others.
struct LineEntries {
  const double* z;
  const std::int32_t* idx;
  index n;
};

// beta and theta of a line; scratch from p0 on.
inline void solve_line(const LineView& L, index j, const LineEntries& of, index p0) {
  const double mass = L.b[j];
  double x = L.beta[j], tie = L.theta[j];
  const double hint = tie > 0 ? tie - x : -kNone, free = x;
  if (!(tie > 0 && L.k < of.n && tied_line(L, of.z, of.n, mass, x, tie))) {
    x = free;
    tie = 0;
    if (free_line(of.z, of.n, mass * (L.reg + L.sigma), x) > L.k) {
      index n = 0;
      for (index e = 0; e < of.n; e += lanes<double>) {
        const index some = of.n - e < lanes<double> ? of.n - e : lanes<double>;
        n += pack_between(load(of.z + e), -x, kNone, of.idx + e, some, L.support + p0 + n, L.support_t + p0 + n);
      }
      bound_line(L, L.support_t + p0, n, mass, hint, x, tie);
    }
  }
  L.beta[j] = x;
  L.theta[j] = tie;
}

// t of entries z of a line.
inline Vec<double> entry(Vec<double> z, double x, double tie, double flat, double steep) {
  const Vec<double> w = z + x, near = (w - tie) * (tie > 0 ? steep : flat), top = w * flat,
                    low = near < top ? near : top;
  return low > 0.0 ? low : Vec<double>{};
}

// Lines [j0, j1); `sums` (others) += t. Their positive entries are packed one line behind the other, in each
// line those near its tie first: below the t of an entry that leaves it upwards.
// Of the entries of a short line only those that can be positive are taken.
inline void lines(const LineView& L, double* __restrict sums, index j0, index j1) {
  constexpr index W = lanes<double>;
  const double flat = 1 / (L.reg + L.sigma), steep = L.sigma > 0 ? 1 / L.sigma : flat, whole = L.reg + L.sigma;
  double short_z[kShort], z[kShort + LineView::kPad];
  std::int32_t idx[kShort + LineView::kPad];
  double* const val = L.support_t;
  std::int32_t* const positive = L.support;
  const index begin = L.begin[j0] + LineView::kPad * j0;
  index end = begin;
  for (index j = j0; j < j1; ++j) {
    const index e0 = L.begin[j], n = L.begin[j + 1] - e0;
    L.tied_begin[j] = L.above_begin[j] = L.above_end[j] = end;
    if (n == 0 || !(L.b[j] > 0)) continue;
    if (n == 1) {
      const double z = L.alpha[L.idx[e0]] - L.cost[e0];
      L.beta[j] = whole * L.b[j] - z;
      L.theta[j] = 0;
      positive[end] = L.idx[e0];
      val[end] = (z + L.beta[j]) * flat;
      end += val[end] > kLeast;
      L.above_end[j] = end;
      continue;
    }
    LineEntries of{L.slack + e0 + LineView::kPad * j, L.idx + e0, n};
    double guess = -kNone;
    if (n <= W) {
      store(z, line_slacks(L, e0, n));
      of = {z, L.idx + e0, n};
    } else if (n <= kShort) {
      const double tie = L.theta[j], hint = tie - L.beta[j];
      double least = slacks(L, j, short_z, hint);
      if (const double near = hint - kReach * whole * L.b[j]; tie > 0 && near > least) least = guess = near;
      index count = 0;
      for (index e = 0; e < n; e += W) {
        const index some = n - e < W ? n - e : W;
        count += pack_between(load(short_z + e), least, kNone, L.idx + e0 + e, some, idx + count, z + count);
      }
      store(z + count, splat(-kNone));
      of = {z, idx, count};
    } else {
      slacks(L, j, L.slack + e0 + LineView::kPad * j, L.theta[j] - L.beta[j]);
    }
    bool solved = of.n <= W && solve_vector(L, j, load(of.z), flat, steep);
    if (guess > -kNone && !(L.theta[j] - L.beta[j] >= guess)) {
      of = {short_z, L.idx + e0, n};
      solved = false;
    }
    if (!solved) solve_line(L, j, of, end);
    const double x = L.beta[j], tie = L.theta[j], edge = tie > kTiny ? tie / L.reg : kLeast;
    const auto pack = [&](double low, double high) {
      for (index e = 0; e < of.n; e += W) {
        const index some = of.n - e < W ? of.n - e : W;
        end += pack_between(entry(load(of.z + e), x, tie, flat, steep), low, high, of.idx + e, some, positive + end,
                            val + end);
      }
    };
    if (L.k < of.n) pack(kLeast, edge);
    L.above_begin[j] = end;
    pack(edge, kNone);
    L.above_end[j] = end;
  }
  for (index e = begin; e < end; ++e) sums[positive[e]] += val[e];
}

// t of lines [j0, j1), where beta and theta are known.
inline void line_entries(const LineView& L, index j0, index j1) {
  const double flat = 1 / (L.reg + L.sigma), steep = L.sigma > 0 ? 1 / L.sigma : flat;
  for (index j = j0; j < j1; ++j) {
    const index e0 = L.begin[j], n = L.begin[j + 1] - e0;
    double *t = L.t + e0, *z = L.slack + e0 + LineView::kPad * j;
    const bool in = L.b[j] > 0;
    if (in) slacks(L, j, z, 0);
    for (index e = 0; e < n; e += lanes<double>)
      store_first(t + e, in ? entry(load(z + e), L.beta[j], L.theta[j], flat, steep) : Vec<double>{}, n - e);
  }
}

// The sums over the slots [first, last) of a slice of eight, x gathered.
struct Eight {
  static constexpr index kParts = 8 / lanes<double>;
  Vec<double> part[kParts];
};
inline Eight slots(const std::int32_t* idx, index first, index last, const double* x) {
  Eight sum{};
  for (index s = first; s < last; ++s)
    for (index p = 0; p < Eight::kParts; ++p) sum.part[p] += gather(x, idx + 8 * s + p * lanes<double>);
  return sum;
}

// Conjugate gradients, preconditioned by the diagonal, until little of the residual is left. An
// iteration gathers twice for every positive entry and reads five vectors.
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
  double rz = reduce<double>(sum), left = reduce<double>(sizes);
  const double goal = S.left * left;
  for (index round = 0; round < most && left > goal && rz > 0; ++round) {
    for (index s = 0; s < S.line_slices; ++s) {
      const index* at = S.line_slots + 2 * s;
      const Eight v = slots(S.line_idx, at[1], at[2], S.direction);
      if (at[0] == at[1]) {
        for (index p = 0; p < Eight::kParts; ++p)
          store(S.q + 16 * s + p * W, load(S.above_above + 8 * s + p * W) * v.part[p]);
        continue;
      }
      const Eight u = slots(S.line_idx, at[0], at[1], S.direction);
      for (index p = 0; p < Eight::kParts; ++p) {
        const V both = load(S.tied_above + 8 * s + p * W);
        store(S.q + 16 * s + p * W, both * u.part[p] + load(S.above_above + 8 * s + p * W) * v.part[p]);
        store(S.q + 16 * s + 8 + p * W, load(S.tied_tied + 8 * s + p * W) * u.part[p] + both * v.part[p]);
      }
    }
    V curvatures{};
    for (index s = 0; s < S.other_slices; ++s) {
      const Eight fall = slots(S.other_idx, S.other_slots[s], S.other_slots[s + 1], S.q);
      for (index p = 0; p < Eight::kParts; ++p) {
        const index i = 8 * s + p * W;
        const V x = load(S.direction + i), y = load(S.diagonal + i) * x - fall.part[p];
        store(S.product + i, y);
        curvatures += x * y;
      }
    }
    const double curvature = reduce<double>(curvatures);
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
    left = reduce<double>(sizes);
    for (index i = 0; i < n; i += W)
      store(S.direction + i, load(S.inverse + i) * load(S.residual + i) + factor * load(S.direction + i));
    rz = next;
  }
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
