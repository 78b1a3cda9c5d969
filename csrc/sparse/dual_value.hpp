// The value of the dual of a sparse plan (line_dual.hpp), without the proximal term:
//   <a, alpha> + <b, beta> - (1/2 reg) sum over lines of the k largest [s]+^2.
#pragma once
#include "sparse/line_dual.hpp"

namespace ot {

enum class Beta {
  given,
  maximising,  // the semi-dual: of every line the beta with the largest value
};

struct DualValue {
  double value = 0;
  // Entries that are no candidates cannot change the value where the margin is at least this.
  double margin_needed = -INFINITY;
  Array<double> beta;  // where the value is taken
};

// order: the k largest alpha - cost of a line, in descending order unless k is no bound.
inline void find_largest(const LineDual& dual, index j, Array<double>& order) {
  constexpr index kInsert = 16;  // up to this k by insertion, which reads the line once
  const Indices line = dual.entries.of_line(j);
  const index k = dual.problem.k, count = line.size(), most = std::min(k, count);
  const auto z = [&](index e) { return dual.at.alpha[dual.entries.idx[e]] - dual.entries.cost[e]; };
  order.clear();
  if (most > kInsert || most == count) {
    for (const index e : line) order.push_back(z(e));
    if (k < LineProblem::kUnbounded)
      std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end(),
                        std::greater<>());
    order.resize(most);
    return;
  }
  for (const index e : line) {
    const double v = z(e);
    if (order.size() < most) order.push_back(v);
    else if (!(v > order.back())) continue;
    index r = order.size() - 1;
    for (; r > 0 && order[r - 1] < v; --r) order[r] = order[r - 1];
    order[r] = v;
  }
}

// The root of sum (z + x)+ = whole over z in descending order: the least over r of the roots of the first r alone.
inline double root_of_line(const Array<double>& order, double whole) {
  const double top = order.front();
  double sum = 0, x = INFINITY;
  for (index r = 0; r < order.size(); ++r) {
    sum += order[r] - top;
    x = std::min(x, (whole - sum) / static_cast<double>(r + 1));
  }
  return x - top;
}

inline DualValue dual_value(const LineDual& dual, Beta rule) {
  const LineProblem& p = dual.problem;
  DualValue out;
  out.beta = dual.at.beta;
  const double top_alpha = LineDual::largest(dual.at.alpha);
  Array<double> order;
  order.reserve(p.others);
  for (index i = 0; i < p.others; ++i)
    if (p.a[i] > 0) out.value += p.a[i] * dual.at.alpha[i];
  for (index j = 0; j < p.lines; ++j) {
    if (!(p.b[j] > 0)) continue;
    find_largest(dual, j, order);
    double& beta = out.beta[j];
    if (rule == Beta::maximising && !order.empty()) {
      if (p.k == LineProblem::kUnbounded) std::sort(order.begin(), order.end(), std::greater<>());
      beta = root_of_line(order, p.reg * p.b[j]);
    }
    double square = 0;
    for (const double z : order) {
      const double s = std::max(0.0, z + beta);
      square += s * (s / p.reg);  // s^2 alone may leave the range of a double
    }
    const double kth = order.size() < p.k ? -INFINITY : order.back();
    out.margin_needed = std::max(out.margin_needed, top_alpha + dual.window.level[j] - std::max(kth, -beta));
    out.value += p.b[j] * beta - 0.5 * square;
  }
  return out;
}

}  // namespace ot
