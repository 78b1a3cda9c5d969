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
#include <utility>
#include <vector>

#include "core/slack.hpp"

namespace ot {

class LineDual {
 public:
  using Doubles = std::vector<double>;
  using Stop = std::function<bool()>;

  std::function<void(const LineView&, double*)> solve_lines;  // of the backend
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
    for (Doubles* v : {&beta, &theta}) v->assign(at(lines), 0);
    for (auto* v : {&near_, &end_}) v->assign(at(lines), 0);
  }

  // Takes new candidates by rows of C, at potentials f (rows) and g; rows are the lines, or the
  // list is transposed. Entries of the centre stay, whatever their slack.
  void load(const Candidates& c, const double* f, const double* g, bool by_rows) {
    auto &start = spare_begin_, &next = next_;
    auto& other = spare_idx_;
    auto& relative = spare_cost_;
    start.assign(at(lines + 1), 0);
    other.resize(at(c.nnz));
    relative.resize(at(c.nnz));
    if (by_rows) {
      std::copy(c.begin.data(), c.begin.data() + lines + 1, start.begin());
      std::copy(c.idx.data(), c.idx.data() + c.nnz, other.begin());
      for (index i = 0; i < lines; ++i)
        for (index e = c.begin[i]; e < c.begin[i + 1]; ++e) relative[at(e)] = c.cost[e] - f[i] - g[c.idx[e]];
    } else {
      for (index e = 0; e < c.nnz; ++e) ++start[at(c.idx[e] + 1)];
      for (index j = 0; j < lines; ++j) start[at(j + 1)] += start[at(j)];
      next.assign(start.begin(), start.end() - 1);
      for (index i = 0; i < others; ++i)
        for (index e = c.begin[i]; e < c.begin[i + 1]; ++e) {
          const index j = c.idx[e], to = next[at(j)]++;
          other[at(to)] = static_cast<std::int32_t>(i);
          relative[at(to)] = c.cost[e] - f[i] - g[j];
        }
    }
    if (sigma > 0) merge();
    begin.swap(start);
    idx.swap(other);
    cost.swap(relative);
    std::fill(alpha.begin(), alpha.end(), 0.0);
    std::fill(beta.begin(), beta.end(), 0.0);
    t.assign(idx.size(), 0);
  }

  // beta, theta, t and the gradient at alpha.
  void evaluate() {
    differentiate();
    solve_lines(view(), nullptr);
  }

  // Newton steps, their components clipped, each with a line search; until error <= tol. Returns
  // false where potentials rose by more than `reach`, so that other entries may matter now.
  bool maximise(double tol, double reach, double clip, index most, const Stop& stop) {
    differentiate();
    const bool within = ascend(tol, reach, clip, most, stop);
    solve_lines(view(), nullptr);
    return within;
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
      for (index e = begin[at(j)]; e < begin[at(j + 1)]; ++e) {
        const double z = alpha[at(idx[at(e)])] - cost[at(e)];
        if (order_.size() < at(k)) {
          if (z > least) order_.push_back(z);
          if (order_.size() == at(k)) std::make_heap(order_.begin(), order_.end(), std::greater<>());
        } else if (z > order_.front()) {  // a heap of the k largest
          std::pop_heap(order_.begin(), order_.end(), std::greater<>());
          order_.back() = z;
          std::push_heap(order_.begin(), order_.end(), std::greater<>());
        }
      }
      double x = beta[at(j)], square = 0;
      if (project && !order_.empty()) {  // the projection of the k largest on the simplex, relative to the largest
        const double top = *std::max_element(order_.begin(), order_.end());
        for (double& z : order_) z -= top;
        for (std::size_t before = 0; before != order_.size();) {
          before = order_.size();
          x = (reg * b[j] - std::accumulate(order_.begin(), order_.end(), 0.0)) / static_cast<double>(before);
          order_.erase(std::remove_if(order_.begin(), order_.end(), [x](double z) { return z + x <= 0; }),
                       order_.end());
        }
        for (double& z : order_) z += x;
        beta[at(j)] = x - top;
      } else {
        for (double& z : order_) z += x;
      }
      for (const double z : order_) square += z * (z / reg);  // costs of any scale: z alone may not be squared
      total += b[j] * beta[at(j)] - 0.5 * square;
    }
    return total;
  }

  // How far potentials have risen since the candidates were taken: up to their margin, no other entry matters.
  double risen() const { return rise(alpha) + rise(beta); }
  index positive(index j) const { return end_[at(j)] - first(j); }

  static constexpr double kDamping = 1e-3;

 private:
  static std::size_t at(index i) { return static_cast<std::size_t>(i); }

  LineView view() {
    positive_.resize(idx.size() + at(LineView::kPad * lines));
    z_.resize(positive_.size());
    val_.resize(positive_.size());
    return {lines,
            others,
            k,
            reg,
            sigma,
            begin.data(),
            idx.data(),
            cost.data(),
            sigma > 0 && !centre.empty() ? centre.data() : nullptr,
            b,
            alpha.data(),
            beta.data(),
            theta.data(),
            t.data(),
            near_.data(),
            end_.data(),
            positive_.data(),
            z_.data(),
            val_.data()};
  }

  // beta, theta and the gradient at alpha.
  void differentiate() {
    solve_lines(view(), product_.data());
    error = 0;
    for (index i = 0; i < others; ++i) {
      gradient[at(i)] = a[i] > 0 ? a[i] - product_[at(i)] : 0.0;
      error += std::fabs(gradient[at(i)]);
    }
  }

  bool ascend(double tol, double reach, double clip, index most, const Stop& stop) {
    for (index round = 0; round < most && error > tol && !stop(); ++round) {
      base_ = alpha;
      linearise();
      const double slope = solve(clip);
      if (!(slope > 0)) break;
      double tau = search(slope);
      if (tau > 0.7) damping = std::max(1e-9, 0.2 * damping);
      if (tau < 0.2) damping = std::min(1e3, 4 * damping);
      double far = risen();
      if (!(far > reach)) continue;
      while (far > 8 * reach && tau > 1e-9) {  // too far to come back from
        tau *= std::max(0.1, 2 * reach / far);
        for (std::size_t i = 0; i < at(others); ++i) alpha[i] = base_[i] + tau * step_[i];
        differentiate();
        far = risen();
      }
      return false;
    }
    return true;
  }

  index first(index j) const { return begin[at(j)] + LineView::kPad * j; }  // in positive_

  static double rise(const Doubles& v) {
    double most = -INFINITY;
    for (const double d : v) most = std::max(most, d);
    return most;
  }

  // Entries of the centre that the new candidates lack join them.
  void merge() {
    bool lacking = false;
    merged_centre_.resize(spare_idx_.size());
    held_.assign(at(others), 0);
    for (index j = 0; j < lines; ++j) {
      for (index o = begin[at(j)]; o < begin[at(j + 1)]; ++o) held_[at(idx[at(o)])] = centre[at(o)];
      for (index e = spare_begin_[at(j)]; e < spare_begin_[at(j + 1)]; ++e)
        merged_centre_[at(e)] = std::exchange(held_[at(spare_idx_[at(e)])], 0.0);
      for (index o = begin[at(j)]; o < begin[at(j + 1)]; ++o) lacking |= std::exchange(held_[at(idx[at(o)])], 0.0) > 0;
    }
    if (lacking) join();
    centre.swap(merged_centre_);
  }

  void join() {
    auto &start = merged_begin_, &from = spare_begin_;
    start.resize(at(lines + 1));
    merged_idx_.clear();
    merged_cost_.clear();
    merged_centre_.clear();
    const auto push = [this](std::int32_t i, double c, double held) {
      merged_idx_.push_back(i);
      merged_cost_.push_back(c);
      merged_centre_.push_back(held);
    };
    for (index j = 0; j < lines; ++j) {
      start[at(j)] = static_cast<index>(merged_idx_.size());
      index o = begin[at(j)];
      const auto keep_until = [&](std::int32_t end) {
        for (; o < begin[at(j + 1)] && idx[at(o)] < end; ++o)
          if (centre[at(o)] > 0) push(idx[at(o)], cost[at(o)] - alpha[at(idx[at(o)])] - beta[at(j)], centre[at(o)]);
      };
      for (index e = from[at(j)]; e < from[at(j + 1)]; ++e) {
        const std::int32_t i = spare_idx_[at(e)];
        keep_until(i);
        const bool same = o < begin[at(j + 1)] && idx[at(o)] == i;
        push(i, spare_cost_[at(e)], same ? centre[at(o)] : 0.0);
        o += same;
      }
      keep_until(std::numeric_limits<std::int32_t>::max());
    }
    start[at(lines)] = static_cast<index>(merged_idx_.size());
    from.swap(start);
    spare_idx_.swap(merged_idx_);
    spare_cost_.swap(merged_cost_);
  }

  // The Schur complement of the generalised Hessian after beta is eliminated. Per line, with J the
  // derivative of t: J - J1 1'J / 1'J1, where J = diag(weight) less a rank one over the entries near the
  // tie. The weight is 1/sigma near the tie and 1/(reg + sigma) above; J1 is `share` near it.
  void linearise() {
    curved_.clear();
    std::fill(inverse_.begin(), inverse_.end(), 0.0);
    const double flat = 1 / (reg + sigma);
    for (index j = 0; j < lines; ++j) {
      Curved line{first(j), near_[at(j)], end_[at(j)], 0, 0, 0};
      const index near = line.near - line.first, top = line.end - line.near;
      if (near + top < 2) continue;  // one entry follows its line: no curvature
      if (near > 0) {
        const auto m = static_cast<double>(near);
        const double rest = m + static_cast<double>(std::max<index>(0, k - top)) * sigma / reg;
        line.rank = 1 / (sigma * rest);
        line.share = (1 - m / rest) / sigma;
      }
      const double h = static_cast<double>(top) * flat + static_cast<double>(near) * line.share;
      line.height = h > 0 ? 1 / h : 0;
      curved_.push_back(line);
      const double d_near = 1 / sigma - line.rank - line.share * line.share * line.height;
      const double d_top = flat - flat * flat * line.height;
      const std::int32_t* to = positive_.data();
      for (index q = line.first; q < line.near; ++q) inverse_[at(to[q])] += d_near;
      for (index q = line.near; q < line.end; ++q) inverse_[at(to[q])] += d_top;
    }
  }

  void apply(const Doubles& in, Doubles& out, double ridge) const {
    const double* x = in.data();
    double* y = out.data();
    const std::int32_t* to = positive_.data();
    const double flat = 1 / (reg + sigma), steep = 1 / sigma;
    for (index i = 0; i < others; ++i) y[i] = ridge * x[i];
    for (const Curved& line : curved_) {
      double near = 0, top = 0;
      for (index p = line.first; p < line.near; ++p) near += x[to[p]];
      for (index p = line.near; p < line.end; ++p) top += x[to[p]];
      const double all = (line.share * near + flat * top) * line.height;
      const double fall = line.rank * near + line.share * all;
      for (index p = line.first; p < line.near; ++p) y[to[p]] += steep * x[to[p]] - fall;
      for (index p = line.near; p < line.end; ++p) y[to[p]] += flat * (x[to[p]] - all);
    }
  }

  // step = (H + damping)^-1 gradient by conjugate gradients, clipped, without its mean; returns <gradient, step>.
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
    double slope = 0, mean = 0, mass = 0;
    for (std::size_t i = 0; i < at(others); ++i) {
      step_[i] = std::min(clip, std::max(-clip, step_[i]));
      slope += gradient[i] * step_[i];
      mean += a[i] * step_[i];
      mass += a[i];
    }
    // beta takes back what all of alpha rise by, but for its digits.
    for (std::size_t i = 0; i < at(others); ++i)
      if (a[i] > 0) step_[i] -= mean / mass;
    return slope;
  }

  // The dual is concave along the step: its derivative falls from `slope` through zero.
  double search(double slope) {
    double low = 0, high = 1, tau = 1, at_low = slope, at_high = 0;
    for (int round = 0; round < 30; ++round) {
      double d = 0;
      for (std::size_t i = 0; i < at(others); ++i) alpha[i] = base_[i] + tau * step_[i];
      differentiate();
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
  Doubles z_, val_, order_, base_, step_, residual_, direction_, product_, scaled_, inverse_;
  struct Curved {
    index first, near, end;  // its positive entries, those near the tie before `near`
    double rank, share, height;
  };
  std::vector<Curved> curved_;          // lines of two entries or more
  std::vector<std::int32_t> positive_;  // others of positive entries, line by line
  std::vector<index> near_, end_;       // (lines) their ends
  // New candidates, before they replace the old ones.
  std::vector<index> spare_begin_, next_, merged_begin_;
  std::vector<std::int32_t> spare_idx_, merged_idx_;
  Doubles spare_cost_, merged_cost_, merged_centre_, held_;
};

}  // namespace ot
