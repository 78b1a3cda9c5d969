// Lines of the dual of sparse plans: for potentials alpha of the others given, beta_j, theta_j and the
// entries of every line (solvers/lines.hpp). Part of kernels-inl.hpp.
#pragma once

namespace ot::cpu::OT_CONCAT(level_, OT_LEVEL) {

// z of a line ends in values -inf that fill its last vector: less what stands behind the last `rest` of zeros.
static_assert(LineView::kPad % lanes<double> == 0);
inline constexpr double kNone = __builtin_inf();
// The least t that counts, and a theta that is as good as zero. Denormal numbers cost a hundred cycles each.
inline constexpr double kLeast = 1e-300, kTiny = 1e-200;
inline constexpr index kShort = 64;  // entries of a line of which those that matter are taken first
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
  double y = tie - x, h = tie * L.sigma / L.reg, last_top = -1, last_near = -1;
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
      tie = h * L.reg / L.sigma;
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

// z of line j; -inf in the rest of its last vector. Returns the largest.
inline double slacks(const LineView& L, index j, double* z) {
  const index e0 = L.begin[j], n = L.begin[j + 1] - e0, whole = n - n % lanes<double>, rest = n - whole;
  const std::int32_t* to = L.idx + e0;
  const double *cost = L.cost + e0, *centre = L.centre ? L.centre + e0 : nullptr;
  Vec<double> most = splat(-kNone);
  for (index e = 0; e < whole; e += lanes<double>) {
    Vec<double> v = gather(L.alpha, to + e) - load(cost + e);
    if (centre) v += L.sigma * load(centre + e);
    most = v > most ? v : most;
    store(z + e, v);
  }
  if (rest > 0) {
    Vec<double> v = gather_some(L.alpha, to + whole, rest) - load_some(cost + whole, rest);
    if (centre) v += L.sigma * load_some(centre + whole, rest);
    v -= load(kBeyond + 8 - rest);
    most = v > most ? v : most;
    store(z + whole, v);
  }
  return reduce_max(most);
}

// Entries z of a line, and their others.
struct LineEntries {
  const double* z;
  const std::int32_t* idx;
  index n;
};

// beta and theta of a line.
inline void solve_line(const LineView& L, index j, const LineEntries& of) {
  const double mass = L.b[j];
  double x = L.beta[j], tie = L.theta[j];
  const double hint = tie > 0 ? tie - x : -kNone, free = x;
  if (!(tie > 0 && L.k < of.n && tied_line(L, of.z, of.n, mass, x, tie))) {
    x = free;
    tie = 0;
    if (free_line(of.z, of.n, mass * (L.reg + L.sigma), x) > L.k) {
      const index p0 = L.begin[j] + LineView::kPad * j;
      index n = 0;
      for (index e = 0; e < of.n; e += lanes<double>) {
        const index some = of.n - e < lanes<double> ? of.n - e : lanes<double>;
        n += pack_between(load(of.z + e), -x, kNone, of.idx + e, some, L.positive + p0 + n, L.val + p0 + n);
      }
      bound_line(L, L.val + p0, n, mass, hint, x, tie);
    }
  }
  L.beta[j] = x;
  L.theta[j] = tie;
}

// t of entries z of a line.
inline Vec<double> entry(const LineView& L, const double* z, double x, double tie) {
  const double flat = 1 / (L.reg + L.sigma), slope = tie > 0 ? 1 / L.sigma : flat;
  const Vec<double> w = load(z) + x, near = (w - tie) * slope, top = w * flat, low = near < top ? near : top;
  return low > 0.0 ? low : Vec<double>{};
}

// The positive entries of line j packed, those near its tie first; `sums` += t.
inline void pack_line(const LineView& L, index j, const LineEntries& of, double* __restrict sums) {
  const double x = L.beta[j], tie = L.theta[j];
  const index p0 = L.begin[j] + LineView::kPad * j;
  double* val = L.val + p0;
  std::int32_t* positive = L.positive + p0;
  // Near the tie: below the t of an entry that leaves it upwards.
  const double edge = tie > kTiny ? tie / L.reg : kLeast;
  const auto pack = [&](double low, double high, index end) {
    for (index e = 0; e < of.n; e += lanes<double>) {
      const index some = of.n - e < lanes<double> ? of.n - e : lanes<double>;
      end += pack_between(entry(L, of.z + e, x, tie), low, high, of.idx + e, some, positive + end, val + end);
    }
    return end;
  };
  const index near = edge > kLeast ? pack(kLeast, edge, 0) : 0, end = pack(edge, kNone, near);
  for (index e = 0; e < end; ++e) sums[positive[e]] += val[e];
  L.near[j] = p0 + near;
  L.end[j] = p0 + end;
}

// Lines [j0, j1); `sums` (others) += t. Of the entries of a short line only those that can be positive: no t
// exceeds b_j, so that these have z > top - (reg + sigma) b_j.
inline void lines(const LineView& L, double* __restrict sums, index j0, index j1) {
  double short_z[kShort], z[kShort + LineView::kPad];
  std::int32_t idx[kShort + LineView::kPad];
  for (index j = j0; j < j1; ++j) {
    const index e0 = L.begin[j], p0 = e0 + LineView::kPad * j, n = L.begin[j + 1] - e0;
    L.near[j] = L.end[j] = p0;
    if (n == 0 || !(L.b[j] > 0)) continue;
    LineEntries of{L.z + p0, L.idx + e0, n};
    if (n <= kShort) {
      const double least = slacks(L, j, short_z) - (1 + 1e-9) * (L.reg + L.sigma) * L.b[j];
      index count = 0;
      for (index e = 0; e < n; e += lanes<double>) {
        const index some = n - e < lanes<double> ? n - e : lanes<double>;
        count += pack_between(load(short_z + e), least, kNone, L.idx + e0 + e, some, idx + count, z + count);
      }
      store(z + count, splat(-kNone));
      of = {z, idx, count};
    } else {
      slacks(L, j, L.z + p0);
    }
    solve_line(L, j, of);
    pack_line(L, j, of, sums);
  }
}

// t of lines [j0, j1), where beta and theta are known.
inline void line_entries(const LineView& L, index j0, index j1) {
  for (index j = j0; j < j1; ++j) {
    const index e0 = L.begin[j], n = L.begin[j + 1] - e0;
    double *t = L.t + e0, *z = L.z + e0 + LineView::kPad * j;
    const bool in = L.b[j] > 0;
    if (in) slacks(L, j, z);
    for (index e = 0; e < n; e += lanes<double>)
      store_some(t + e, in ? entry(L, z + e, L.beta[j], L.theta[j]) : Vec<double>{}, n - e);
  }
}

}  // namespace ot::cpu::OT_CONCAT(level_, OT_LEVEL)
