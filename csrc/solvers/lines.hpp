// The dual of transport with quadratic regularisation and at most k entries a line, on a list of
// candidate entries. Lines are the rows or the columns of C, whichever are bounded; the entries of
// a line lie together. All of it is small and runs on the host.
//
// With s = alpha_i + beta_j - C_ij, P a proximal centre and w = s + sigma P_ij, the plan is
//   t_ij = min((w - theta_j)+ / sigma, w+ / (reg + sigma)),
// where theta_j >= 0 solves sum_i clip((w/theta_j - 1) reg/sigma, 0, 1) = k, or is 0 where at most k
// entries are positive. t is the gradient of the Moreau envelope of (1/2 reg) sum of the k largest [s]+^2,
// a function that is not differentiable where the k-th and the next largest tie (its conjugate is
// reg/2 times the squared k-support norm of nonnegative vectors; Argyriou, Foygel, Srebro 2012).
// sigma = 0 with k unbounded is quadratic transport. beta is eliminated: every line sums to b_j.
//
// Potentials are relative to those at which the candidates were taken, and costs are their negative
// slacks there: small reg loses no digits to them.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "core/slack.hpp"

namespace ot {

class LineDual {
 public:
  using Doubles = std::vector<double>;
  using Stop = std::function<bool()>;

  index lines = 0, others = 0;
  const double *a = nullptr, *b = nullptr;  // masses of the others and of the lines
  index k = std::numeric_limits<index>::max();
  double reg = 1, sigma = 0;
  std::vector<index> begin;       // (lines + 1)
  std::vector<std::int32_t> idx;  // by entry: the other
  Doubles cost, t, centre;        // by entry; no centre: zeros
  Doubles alpha, beta, theta;     // (others), (lines), (lines)
  Doubles gradient;               // a - row sums of t, by other
  double error = 1;               // its L1 norm
  double damping = kDamping;      // of Newton steps, adapted; in units of the curvature of one entry

  void shape(index line_count, index other_count) {
    lines = line_count;
    others = other_count;
    begin.assign(at(lines + 1), 0);
    for (Doubles* v : {&alpha, &gradient, &base_, &step_, &residual_, &direction_, &product_, &scaled_, &inverse_})
      v->assign(at(others), 0);
    for (Doubles* v : {&beta, &theta, &rank_, &height_}) v->assign(at(lines), 0);
    first_.assign(at(lines + 1), 0);
    near_.assign(at(lines), 0);
  }

  // Takes new candidates by rows of C, at potentials f (rows) and g; rows are the lines, or the
  // list is transposed. Entries of the centre stay, whatever their slack.
  void load(const Candidates& c, const double* f, const double* g, bool by_rows) {
    const index n = by_rows ? lines : others;
    std::vector<index> start(at(lines + 1), 0);
    if (by_rows) {
      std::copy(c.begin.data(), c.begin.data() + n + 1, start.begin());
    } else {
      for (index e = 0; e < c.nnz; ++e) ++start[at(c.idx[e] + 1)];
      for (index j = 0; j < lines; ++j) start[at(j + 1)] += start[at(j)];
    }
    std::vector<std::int32_t> other(at(c.nnz));
    Doubles relative(at(c.nnz));
    std::vector<index> next(start.begin(), start.end() - 1);
    for (index i = 0; i < n; ++i)
      for (index e = c.begin[i]; e < c.begin[i + 1]; ++e) {
        const index j = c.idx[e], to = by_rows ? e : next[at(j)]++;
        other[at(to)] = static_cast<std::int32_t>(by_rows ? j : i);
        relative[at(to)] = c.cost[e] - f[i] - g[j];
      }
    if (centre.empty()) {
      begin.swap(start);
      idx.swap(other);
      cost.swap(relative);
    } else {
      merge(start, other, relative);
    }
    std::fill(alpha.begin(), alpha.end(), 0.0);
    std::fill(beta.begin(), beta.end(), 0.0);
    t.assign(idx.size(), 0);
  }

  // beta, theta, t and the gradient at alpha.
  void evaluate() {
    std::copy(a, a + others, gradient.begin());
    for (index j = 0; j < lines; ++j) {
      if (!(b[j] > 0)) continue;
      solve_line(j);
      for (index e = begin[at(j)]; e < begin[at(j + 1)]; ++e) gradient[at(idx[at(e)])] -= t[at(e)];
    }
    error = 0;
    for (index i = 0; i < others; ++i) {
      if (!(a[i] > 0)) gradient[at(i)] = 0;
      error += std::fabs(gradient[at(i)]);
    }
  }

  // Newton steps, their components clipped, each with a line search; until error <= tol. Returns
  // false where potentials rose by more than `reach`, so that other entries may matter now.
  bool maximise(double tol, double reach, double clip, index most, const Stop& stop) {
    evaluate();
    for (index round = 0; round < most && error > tol && !stop(); ++round) {
      base_ = alpha;
      linearise();
      const double slope = solve(clip);
      if (!(slope > 0)) break;
      const double tau = search(slope);
      if (tau > 0.7) damping = std::max(1e-9, 0.2 * damping);
      if (tau < 0.2) damping = std::min(1e3, 4 * damping);
      if (rise(alpha) + rise(beta) > reach) return false;
    }
    return true;
  }

  // <a, alpha> + <b, beta> - (1/2 reg) sum of the k largest [s]+^2 of every line: the dual itself, without
  // the proximal term. With `project`, beta is its maximiser first: the semi-dual.
  double value(bool project) {
    double total = 0;
    for (index i = 0; i < others; ++i)
      if (a[i] > 0) total += a[i] * alpha[at(i)];
    for (index j = 0; j < lines; ++j) {
      if (!(b[j] > 0)) continue;
      order_.clear();
      const double least = project ? -INFINITY : -beta[at(j)];
      for (index e = begin[at(j)]; e < begin[at(j + 1)]; ++e)
        if (const double z = alpha[at(idx[at(e)])] - cost[at(e)]; z > least) order_.push_back(z);
      if (order_.size() > at(k)) {
        std::nth_element(order_.begin(), order_.begin() + k, order_.end(), std::greater<>());
        order_.resize(at(k));
      }
      double x = beta[at(j)], square = 0;
      if (project) {  // the projection of the k largest on the simplex
        for (std::size_t before = 0; before != order_.size();) {
          before = order_.size();
          x = (reg * b[j] - std::accumulate(order_.begin(), order_.end(), 0.0)) / static_cast<double>(before);
          order_.erase(std::remove_if(order_.begin(), order_.end(), [x](double z) { return z + x <= 0; }),
                       order_.end());
        }
        beta[at(j)] = x;
      }
      for (const double z : order_) square += (z + x) * (z + x);
      total += b[j] * x - square / (2 * reg);
    }
    return total;
  }

  index positive(index j) const {
    index count = 0;
    for (index e = begin[at(j)]; e < begin[at(j + 1)]; ++e) count += t[at(e)] > 0;
    return count;
  }

  static constexpr double kDamping = 1e-3;

 private:
  static std::size_t at(index i) { return static_cast<std::size_t>(i); }

  static double rise(const Doubles& v) {
    double most = -INFINITY;
    for (const double d : v) most = std::max(most, d);
    return most;
  }

  void merge(const std::vector<index>& start, const std::vector<std::int32_t>& other, const Doubles& relative) {
    const auto old_begin = begin;
    const auto old_idx = std::move(idx);
    const auto old_cost = std::move(cost), old_centre = std::move(centre);
    idx = {};
    cost = {};
    centre = {};
    const auto push = [this](std::int32_t i, double c, double held) {
      idx.push_back(i);
      cost.push_back(c);
      centre.push_back(held);
    };
    for (index j = 0; j < lines; ++j) {
      begin[at(j)] = static_cast<index>(idx.size());
      index o = old_begin[at(j)];
      const auto keep_until = [&](std::int32_t end) {
        for (; o < old_begin[at(j + 1)] && old_idx[at(o)] < end; ++o)
          if (old_centre[at(o)] > 0)
            push(old_idx[at(o)], old_cost[at(o)] - alpha[at(old_idx[at(o)])] - beta[at(j)], old_centre[at(o)]);
      };
      for (index e = start[at(j)]; e < start[at(j + 1)]; ++e) {
        keep_until(other[at(e)]);
        const bool same = o < old_begin[at(j + 1)] && old_idx[at(o)] == other[at(e)];
        push(other[at(e)], relative[at(e)], same ? old_centre[at(o)] : 0.0);
        o += same;
      }
      keep_until(std::numeric_limits<std::int32_t>::max());
    }
    begin[at(lines)] = static_cast<index>(idx.size());
  }

  // beta_j and theta_j such that t_j sums to b_j. Without the bound, Newton's method on the convex
  // sum (z + x)+ = (reg + sigma) b_j: after its first step x only falls, and entries only leave.
  void solve_line(index j) {
    const index e0 = begin[at(j)], n = begin[at(j + 1)] - e0;
    if (n == 0) return;
    if (z_.size() < at(n)) {
      z_.resize(at(2 * n));
      active_.resize(at(2 * n));
    }
    double *z = z_.data(), *active = active_.data();
    double top = -INFINITY;
    for (index e = 0; e < n; ++e) {
      z[e] = alpha[at(idx[at(e0 + e)])] - cost[at(e0 + e)];
      if (sigma > 0 && !centre.empty()) z[e] += sigma * centre[at(e0 + e)];
      top = std::max(top, z[e]);
    }
    const double whole = reg + sigma, mass = whole * b[j];
    double x = std::max(beta[at(j)], 0.5 * mass - top), tie = 0;  // at least one entry is positive
    const double hint = theta[at(j)] > 0 ? theta[at(j)] - beta[at(j)] : -INFINITY;
    index count = 0;
    for (int round = 0; round < 2; ++round) {
      double sum = 0;
      count = 0;
      for (index e = 0; e < n; ++e)
        if (z[e] + x > 0) {
          sum += z[e];
          active[count++] = z[e];
        }
      x = (mass - sum) / static_cast<double>(count);
    }
    for (index before = 0; count != before;) {
      before = count;
      double sum = 0;
      count = 0;
      for (index e = 0; e < before; ++e)
        if (const double v = active[e]; v + x > 0) {
          sum += v;
          active[count++] = v;
        }
      if (count == 0) {  // rounding: the largest alone
        sum = top;
        before = count = 1;
      }
      x = (mass - sum) / static_cast<double>(count);
    }
    if (count > k) bound_line(active, count, b[j], hint, x, tie);
    beta[at(j)] = x;
    theta[at(j)] = tie;
    double* to = t.data() + e0;
    if (tie > 0) {
      for (index e = 0; e < n; ++e) {
        const double w = z[e] + x;
        to[e] = w > tie ? std::min((w - tie) / sigma, w / whole) : 0.0;
      }
    } else {
      const double inverse = 1 / whole;
      for (index e = 0; e < n; ++e) to[e] = std::max(0.0, z[e] + x) * inverse;
    }
  }

  // More than k entries are positive; z are those: theta - x only rises. With y = theta - x and h = theta sigma/reg,
  //   sum min(1, (z - y)+/h) = k   determines h(y), and the line sums to
  //   S(y) = sum min(z - y, h)+ / sigma + sum (z - y - h)+ / (reg + sigma),
  // decreasing and piecewise linear: Newton's method, kept in a bracket.
  void bound_line(const double* z, index n, double mass, double hint, double& x, double& tie) {
    const double whole = reg + sigma, ratio = sigma / reg, bound = static_cast<double>(k);
    order_.assign(z, z + n);
    std::nth_element(order_.begin(), order_.begin() + k, order_.end(), std::greater<>());
    const double next = order_[at(k)];
    double sum = 0, least = INFINITY;
    for (index e = 0; e < k; ++e) {
      sum += order_[at(e)];
      least = std::min(least, order_[at(e)]);
    }
    x = (whole * mass - sum) / bound;
    // No tie: the k largest share the mass, and theta is anything between them and the rest.
    if (next + x <= 0 || least + x >= (1 + ratio) * (next + x)) {
      tie = std::max(next + x, std::numeric_limits<double>::min());
      return;
    }
    double low = -INFINITY, high = next, y = hint < next ? hint : -INFINITY, h = 0;
    if (std::isinf(y)) y = next - std::max(least - next, 1e-3 * whole * mass);
    index last_top = -1, last_near = -1;
    for (int round = 0; round < 100; ++round) {
      // h by Newton's method on a concave function of 1/h: from below, finite.
      double u = 0;
      index top = 0, near = 0;
      for (index before = -1;; before = top) {
        double reach = 0;
        top = near = 0;
        for (index e = 0; e < n; ++e) {
          const double v = z[e] - y;
          if (!(v > 0)) continue;
          if (v * u >= 1) {
            ++top;
          } else {
            reach += v;
            ++near;
          }
        }
        if (top == before || near == 0 || top >= k) break;
        u = static_cast<double>(k - top) / reach;
      }
      h = 1 / u;
      if (top == last_top && near == last_near) break;  // the piece that Newton's step aimed at
      double total = 0;
      for (index e = 0; e < n; ++e)
        if (const double v = z[e] - y; v > 0) total += std::min(v, h) / sigma + std::max(0.0, v - h) / whole;
      if (std::fabs(total - mass) <= 4e-16 * mass) break;
      (total > mass ? low : high) = y;
      const double fall = -static_cast<double>(near) / static_cast<double>(std::max<index>(1, k - top));
      const double slope = (static_cast<double>(top) * fall - static_cast<double>(near)) / sigma -
                           static_cast<double>(top) * (1 + fall) / whole;
      double to = slope < 0 ? y + (mass - total) / slope : INFINITY;
      last_top = top;
      last_near = near;
      if (!(to > low && to < high)) {
        to = std::isinf(low) ? y - 2 * std::max(whole * mass, high - y) : 0.5 * (low + high);
        last_top = -1;
      }
      if (to == y || std::fabs(to - y) <= 1e-16 * (std::fabs(y) + h)) break;
      y = to;
    }
    tie = h / ratio;
    x = tie - y;
  }

  // The Schur complement of the generalised Hessian after beta is eliminated. Per line, with J the
  // derivative of t: J - J1 1'J / 1'J1, where J = diag(weight) less a rank one over the entries near the tie.
  void linearise() {
    to_.clear();
    weight_.clear();
    share_.clear();
    std::fill(inverse_.begin(), inverse_.end(), 0.0);
    const double whole = reg + sigma;
    for (index j = 0; j < lines; ++j) {
      const auto line = at(j);
      first_[line] = near_[line] = static_cast<index>(to_.size());
      height_[line] = rank_[line] = 0;
      if (!(b[j] > 0)) continue;
      const double tie = theta[line], edge = tie / reg;  // t of an entry that leaves the tie upwards
      index near = 0, top = 0;
      for (index e = begin[line]; tie > 0 && e < begin[line + 1]; ++e)
        if (t[at(e)] > 0 && t[at(e)] < edge) {
          to_.push_back(idx[at(e)]);
          weight_.push_back(1 / sigma);
          ++near;
        }
      near_[line] = static_cast<index>(to_.size());
      for (index e = begin[line]; e < begin[line + 1]; ++e)
        if (t[at(e)] > 0 && t[at(e)] >= edge) {
          to_.push_back(idx[at(e)]);
          weight_.push_back(1 / whole);
          ++top;
        }
      double above = 0;
      if (near > 0) {
        const auto m = static_cast<double>(near);
        const double rest = m + static_cast<double>(std::max<index>(0, k - top)) * sigma / reg;
        rank_[line] = 1 / (sigma * rest);
        above = (1 - m / rest) / sigma;
      }
      const double h = static_cast<double>(top) / whole + static_cast<double>(near) * above;
      height_[line] = h > 0 ? 1 / h : 0;
      for (index p = first_[line]; p < static_cast<index>(to_.size()); ++p) {
        const bool tied = p < near_[line];
        const double u = tied ? above : weight_[at(p)];
        share_.push_back(u);
        inverse_[at(to_[at(p)])] += weight_[at(p)] - (tied ? rank_[line] : 0.0) - u * u * height_[line];
      }
    }
    first_[at(lines)] = static_cast<index>(to_.size());
  }

  void apply(const Doubles& in, Doubles& out, double ridge) const {
    const double* x = in.data();
    double* y = out.data();
    const std::int32_t* to = to_.data();
    const double *weight = weight_.data(), *share = share_.data();
    for (index i = 0; i < others; ++i) y[i] = ridge * x[i];
    for (index j = 0; j < lines; ++j) {
      const index p0 = first_[at(j)], p1 = near_[at(j)], p2 = first_[at(j + 1)];
      if (p2 - p0 < 2) continue;  // one entry follows its line: no curvature
      double all = 0, tied = 0;
      for (index p = p0; p < p2; ++p) all += share[p] * x[to[p]];
      for (index p = p0; p < p1; ++p) tied += x[to[p]];
      all *= height_[at(j)];
      tied *= rank_[at(j)];
      for (index p = p0; p < p1; ++p) y[to[p]] -= tied;
      for (index p = p0; p < p2; ++p) y[to[p]] += weight[p] * x[to[p]] - share[p] * all;
    }
  }

  // step = (H + damping)^-1 gradient by conjugate gradients, clipped; returns <gradient, step>.
  double solve(double clip) {
    const double ridge = damping / (reg + sigma);
    double rz = 0, norm = 0;
    for (std::size_t i = 0; i < at(others); ++i) {
      inverse_[i] = 1 / (std::max(0.0, inverse_[i]) + ridge);
      step_[i] = 0;
      residual_[i] = gradient[i];
      direction_[i] = inverse_[i] * residual_[i];
      rz += residual_[i] * direction_[i];
      norm += std::fabs(residual_[i]);
    }
    double left = norm;
    for (index round = 0; round < kMaxCg && left > kResidual * norm && rz > 0; ++round) {
      apply(direction_, product_, ridge);
      double curvature = 0;
      for (std::size_t i = 0; i < at(others); ++i) curvature += direction_[i] * product_[i];
      if (!(curvature > 0)) break;
      const double length = rz / curvature;
      double next = 0;
      left = 0;
      for (std::size_t i = 0; i < at(others); ++i) {
        step_[i] += length * direction_[i];
        residual_[i] -= length * product_[i];
        scaled_[i] = inverse_[i] * residual_[i];
        next += residual_[i] * scaled_[i];
        left += std::fabs(residual_[i]);
      }
      const double factor = next / rz;
      for (std::size_t i = 0; i < at(others); ++i) direction_[i] = scaled_[i] + factor * direction_[i];
      rz = next;
    }
    double slope = 0;
    for (std::size_t i = 0; i < at(others); ++i) {
      step_[i] = std::min(clip, std::max(-clip, step_[i]));
      slope += gradient[i] * step_[i];
    }
    return slope;
  }

  // The dual is concave along the step: its derivative falls from `slope` through zero.
  double search(double slope) {
    double low = 0, high = 1, tau = 1, at_low = slope, at_high = 0;
    for (int round = 0; round < 30; ++round) {
      double d = 0;
      for (std::size_t i = 0; i < at(others); ++i) alpha[i] = base_[i] + tau * step_[i];
      evaluate();
      for (std::size_t i = 0; i < at(others); ++i) d += gradient[i] * step_[i];
      if (std::fabs(d) <= 0.3 * slope || (d > 0 && tau == 1)) break;
      if (d > 0) {
        low = tau;
        at_low = d;
      } else {
        high = tau;
        at_high = d;
      }
      const double secant = low + (high - low) * at_low / (at_low - at_high), edge = 0.1 * (high - low);
      tau = std::min(std::max(secant, low + edge), high - edge);
    }
    return tau;
  }

  static constexpr index kMaxCg = 300;
  static constexpr double kResidual = 0.1;
  Doubles z_, active_, order_, base_, step_, residual_, direction_, product_, scaled_, inverse_;
  std::vector<index> first_, near_;  // by line: its entries in the lists below, those near the tie first
  Doubles rank_, height_, weight_, share_;
  std::vector<std::int32_t> to_;
};

}  // namespace ot
