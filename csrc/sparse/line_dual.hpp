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
//
// An entry enters its line above a level: theta_j, or where nothing ties the largest theta that would do,
// reg/(reg + sigma) times the k-th w; 0 where fewer than k are positive. Entries of slack up to level - margin
// are no candidates, and need not be before alpha_i + beta_j - level_j has risen by the margin.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "core/array.hpp"
#include "sparse/backend.hpp"
#include "sparse/line_system.hpp"

namespace ot {

template <Lined B>
class LineDual {
 public:
  using Doubles = Array<double>;
  using Stop = std::function<bool()>;

  B* backend = nullptr;
  index lines = 0, others = 0;
  const double *a = nullptr, *b = nullptr;  // masses of the others and of the lines
  index k = std::numeric_limits<index>::max();
  double reg = 1, sigma = 0;
  Array<index> begin;          // (lines + 1)
  Array<std::int32_t> idx;     // by entry: the other
  Doubles cost, t, centre;     // by entry; no centre: zeros
  Doubles alpha, beta, theta;  // (others), (lines), (lines)
  Doubles level;               // (lines) of the candidates: entries of slack up to level - margin are none
  Doubles gradient;            // a - row sums of t, by other
  double error = 1;            // its L1 norm
  double first_error = 1;      // where maximise() began
  double damping = kDamping;   // of Newton steps, adapted; in units of the curvature of one entry

  void shape(index line_count, index other_count) {
    lines = line_count;
    others = other_count;
    begin.assign(lines + 1, 0);
    for (Doubles* v : {&alpha, &gradient, &base_, &step_, &sums_, &last_alpha_}) v->assign(others, 0);
    for (Doubles* v : {&beta, &theta, &level, &last_edge_}) v->assign(lines, 0);
    for (auto* v : {&tied_begin_, &above_begin_, &above_end_}) v->assign(lines, 0);
  }

  // Levels at the last evaluation; with `positive`, zero.
  void find_level(bool positive) {
    for (index j = 0; j < lines; ++j) level[j] = positive ? 0.0 : level_of(j);
  }

  // Takes new candidates by rows of C, at potentials f (rows) and g; rows are the lines, or the
  // list is transposed. Entries of the centre stay, whatever their slack.
  void load(const Candidates& c, const double* f, const double* g, bool by_rows) {
    auto &start = spare_begin_, &next = next_;
    auto& other = spare_idx_;
    auto& relative = spare_cost_;
    start.assign(lines + 1, 0);
    other.resize(c.nnz);
    relative.resize(c.nnz);
    if (by_rows) {
      std::copy(c.begin.data(), c.begin.data() + lines + 1, start.begin());
      std::copy(c.idx.data(), c.idx.data() + c.nnz, other.begin());
      for (index i = 0; i < lines; ++i)
        for (index e = c.begin[i]; e < c.begin[i + 1]; ++e) relative[e] = c.cost[e] - f[i] - g[c.idx[e]];
    } else {
      for (index e = 0; e < c.nnz; ++e) ++start[c.idx[e] + 1];
      for (index j = 0; j < lines; ++j) start[j + 1] += start[j];
      next.assign(start.begin(), start.end() - 1);
      for (index i = 0; i < others; ++i)
        for (index e = c.begin[i]; e < c.begin[i + 1]; ++e) {
          const index j = c.idx[e], to = next[j]++;
          other[to] = static_cast<std::int32_t>(i);
          relative[to] = c.cost[e] - f[i] - g[j];
        }
    }
    if (sigma > 0) merge();
    begin.swap(start);
    idx.swap(other);
    cost.swap(relative);
    rebase();
    t.assign(idx.size(), 0);
  }

  // How far potentials have risen, and levels fallen, since the last call.
  double moved() {
    double top = -INFINITY, most = -INFINITY;
    for (index i = 0; i < (others); ++i) top = std::max(top, alpha[i] - std::exchange(last_alpha_[i], alpha[i]));
    for (index j = 0; j < lines; ++j) {
      const double edge = beta[j] - level_of(j);
      most = std::max(most, edge - std::exchange(last_edge_[j], edge));
    }
    return std::max(0.0, top + most);
  }

  // How many candidates, about, are in the plan or within the margin of the level of their line.
  index within(double margin) const {
    const index stride = 1 + lines / 512;
    index count = 0;
    for (index j = 0; j < lines; j += stride) {
      const double least = level_of(j) - margin;
      for (index e = begin[j]; e < begin[j + 1]; ++e) count += t[e] > 0 || slack(j, e) > least;
    }
    return stride * count;
  }

  // Leaves only those, at the potentials reached, as if they had been taken there. The plan becomes the centre.
  void keep_within(double margin) {
    find_level(false);
    index to = 0, e = 0;
    for (index j = 0; j < lines; ++j) {
      for (; e < begin[j + 1]; ++e) {
        const double s = slack(j, e);
        if (!(t[e] > 0 || s > level[j] - margin)) continue;
        idx[to] = idx[e];
        cost[to] = -s;
        t[to] = t[e];
        ++to;
      }
      begin[j + 1] = to;
    }
    for (auto* v : {&cost, &t}) v->resize(to);
    idx.resize(to);
    centre = t;
    rebase();
  }

  double slack(index j, index e) const { return alpha[idx[e]] + beta[j] - cost[e]; }

  // beta, theta, t and the gradient at alpha.
  void evaluate() {
    shift();
    differentiate();
    backend->line_entries(view());
  }

  // Newton steps, their components clipped, each with a line search; until error <= tol. Returns
  // false where potentials rose by more than `reach`, so that other entries may matter now; by how much
  // at most says `beyond`, in units of it.
  bool maximise(double tol, double reach, double clip, index most, const Stop& stop, double beyond = kBeyond) {
    shift();
    differentiate();
    first_error = error;
    const bool within = ascend(tol, reach, clip, most, stop, beyond);
    backend->line_entries(view());
    return within;
  }

  // <a, alpha> + <b, beta> - (1/2 reg) sum of the k largest [s]+^2 of every line: the dual itself, without
  // the proximal term. With `project`, beta is its maximiser first: the semi-dual.
  // `beyond`: the margin that makes sure of it; with less, entries that are no candidates may matter.
  double value(bool project, double* beyond = nullptr) {
    const double top_alpha = rise(alpha);
    double total = 0, most = -INFINITY;
    for (index i = 0; i < others; ++i)
      if (a[i] > 0) total += a[i] * alpha[i];
    for (index j = 0; j < lines; ++j) {
      if (!(b[j] > 0)) continue;
      largest(j);
      const double kth = order_.size() < (k) ? -INFINITY : order_.back();
      if (project && !order_.empty()) {  // of the sums of z + x that the first r make, the least x
        const double top = order_.front();
        double sum = 0, x = INFINITY;
        for (index r = 0; r < order_.size(); ++r) {
          sum += order_[r] - top;
          x = std::min(x, (reg * b[j] - sum) / static_cast<double>(r + 1));
        }
        beta[j] = x - top;
      }
      double square = 0;
      for (const double z : order_) {
        const double s = std::max(0.0, z + beta[j]);
        square += s * (s / reg);  // costs of any scale: s alone may not be squared
      }
      most = std::max(most, top_alpha + level[j] - std::max(kth, -beta[j]));
      total += b[j] * beta[j] - 0.5 * square;
    }
    if (beyond) *beyond = most;
    return total;
  }

  // How far potentials have risen, and levels fallen, since the candidates were taken: up to their margin, no
  // other entry matters.
  double risen() const {
    double most = -INFINITY;
    for (index j = 0; j < lines; ++j) most = std::max(most, beta[j] - level_of(j) + level[j]);
    return rise(alpha) + most;
  }
  index positive(index j) const { return above_end_[j] - tied_begin_[j]; }

  static constexpr double kDamping = 1e-3, kBeyond = 8;

 private:
  static constexpr index kInserted = 16;

  // order_: the k largest z = alpha - cost of a line, falling unless there is no bound.
  void largest(index j) {
    const index first = begin[j], end = begin[j + 1];
    const index most = std::min(k, end - first);
    const auto z = [this](index e) { return alpha[idx[e]] - cost[e]; };
    order_.clear();
    if (most > kInserted || most == end - first) {
      for (index e = first; e < end; ++e) order_.push_back(z(e));
      if (k < std::numeric_limits<index>::max())
        std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(most), order_.end(),
                          std::greater<>());
      order_.resize(most);
      return;
    }
    for (index e = first; e < end; ++e) {
      const double v = z(e);
      if (order_.size() < most) order_.push_back(v);
      else if (!(v > order_.back())) continue;
      index r = order_.size() - 1;
      for (; r > 0 && order_[r - 1] < v; --r) order_[r] = order_[r - 1];
      order_[r] = v;
    }
  }

  // The potentials reached become zero.
  void rebase() {
    for (index i = 0; i < (others); ++i) last_alpha_[i] -= std::exchange(alpha[i], 0.0);
    for (index j = 0; j < (lines); ++j) last_edge_[j] -= std::exchange(beta[j], 0.0);
  }

  // Rounding can leave an entry at the tie where there is none: then k others are above it.
  double level_of(index j) const {
    if (positive(j) < k) return 0;
    const index near = above_begin_[j], end = above_end_[j];
    if (end - near < k) return theta[j];
    return reg * *std::min_element(val_.begin() + near, val_.begin() + end);
  }

  LineView view() {
    positive_.resize(idx.size() + LineView::kPad * lines);
    z_.resize(positive_.size());
    val_.resize(positive_.size());
    return {.lines = lines,
            .others = others,
            .k = k,
            .reg = reg,
            .sigma = sigma,
            .begin = begin.data(),
            .idx = idx.data(),
            .cost = shifted_.empty() ? cost.data() : shifted_.data(),
            .b = b,
            .alpha = alpha.data(),
            .beta = beta.data(),
            .theta = theta.data(),
            .t = t.data(),
            .tied_begin = tied_begin_.data(),
            .above_begin = above_begin_.data(),
            .above_end = above_end_.data(),
            .support = positive_.data(),
            .support_t = val_.data(),
            .slack = z_.data()};
  }

  // Costs less sigma times the centre.
  void shift() {
    shifted_.clear();
    if (!(sigma > 0) || centre.empty()) return;
    shifted_.resize(cost.size());
    for (index e = 0; e < cost.size(); ++e) shifted_[e] = cost[e] - sigma * centre[e];
  }

  // beta, theta and the gradient at alpha.
  void differentiate() {
    backend->lines(view(), sums_.data());
    error = 0;
    for (index i = 0; i < others; ++i) {
      gradient[i] = a[i] > 0 ? a[i] - sums_[i] : 0.0;
      error += std::fabs(gradient[i]);
    }
  }

  bool ascend(double tol, double reach, double clip, index most, const Stop& stop, double beyond) {
    for (index round = 0; round < most && error > tol && !stop(); ++round) {
      base_ = alpha;
      const double slope = step(clip);
      if (!(slope > 0)) break;
      double tau = search(slope);
      if (tau > 0.7) damping = std::max(1e-9, 0.2 * damping);
      if (tau < 0.2) damping = std::min(1e3, 4 * damping);
      double far = risen();
      if (!(far > reach)) continue;
      while (far > beyond * reach && tau > 1e-9) {  // too far to come back from
        tau *= std::max(0.1, std::min(2.0, 0.9 * beyond) * reach / far);
        for (index i = 0; i < (others); ++i) alpha[i] = base_[i] + tau * step_[i];
        differentiate();
        far = risen();
      }
      return false;
    }
    return true;
  }

  static double rise(const Doubles& v) {
    double most = -INFINITY;
    for (const double d : v) most = std::max(most, d);
    return most;
  }

  // Entries of the centre that the new candidates lack join them.
  void merge() {
    bool lacking = false;
    merged_centre_.resize(spare_idx_.size());
    held_.assign(others, 0);
    for (index j = 0; j < lines; ++j) {
      for (index o = begin[j]; o < begin[j + 1]; ++o) held_[idx[o]] = centre[o];
      for (index e = spare_begin_[j]; e < spare_begin_[j + 1]; ++e)
        merged_centre_[e] = std::exchange(held_[spare_idx_[e]], 0.0);
      for (index o = begin[j]; o < begin[j + 1]; ++o) lacking |= std::exchange(held_[idx[o]], 0.0) > 0;
    }
    if (lacking) join();
    centre.swap(merged_centre_);
  }

  void join() {
    auto &start = merged_begin_, &from = spare_begin_;
    start.resize(lines + 1);
    merged_idx_.clear();
    merged_cost_.clear();
    merged_centre_.clear();
    const auto push = [this](std::int32_t i, double c, double held) {
      merged_idx_.push_back(i);
      merged_cost_.push_back(c);
      merged_centre_.push_back(held);
    };
    for (index j = 0; j < lines; ++j) {
      start[j] = merged_idx_.size();
      index o = begin[j];
      const auto keep_until = [&](std::int32_t end) {
        for (; o < begin[j + 1] && idx[o] < end; ++o)
          if (centre[o] > 0) push(idx[o], cost[o] - alpha[idx[o]] - beta[j], centre[o]);
      };
      for (index e = from[j]; e < from[j + 1]; ++e) {
        const std::int32_t i = spare_idx_[e];
        keep_until(i);
        const bool same = o < begin[j + 1] && idx[o] == i;
        push(i, spare_cost_[e], same ? centre[o] : 0.0);
        o += same;
      }
      keep_until(std::numeric_limits<std::int32_t>::max());
    }
    start[lines] = merged_idx_.size();
    from.swap(start);
    spare_idx_.swap(merged_idx_);
    spare_cost_.swap(merged_cost_);
  }

  // The step, clipped, without its mean; returns <gradient, step>.
  double step(double clip) {
    hessian_.build(view(), damping / (reg + sigma));
    hessian_.solve(*backend, gradient, step_);
    double slope = 0, mean = 0, mass = 0;
    for (index i = 0; i < (others); ++i) {
      step_[i] = std::min(clip, std::max(-clip, step_[i]));
      slope += gradient[i] * step_[i];
      mean += a[i] * step_[i];
      mass += a[i];
    }
    // beta takes back what all of alpha rise by, but for its digits.
    for (index i = 0; i < (others); ++i)
      if (a[i] > 0) step_[i] -= mean / mass;
    return slope;
  }

  // The dual is concave along the step: its derivative falls from `slope` through zero.
  double search(double slope) {
    double low = 0, high = 1, tau = 1, at_low = slope, at_high = 0;
    for (int round = 0; round < 30; ++round) {
      double d = 0;
      for (index i = 0; i < (others); ++i) alpha[i] = base_[i] + tau * step_[i];
      differentiate();
      for (index i = 0; i < (others); ++i) d += gradient[i] * step_[i];
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

  LineHessian hessian_;
  Doubles shifted_, z_, val_, order_, base_, step_, sums_, last_alpha_, last_edge_;
  Array<std::int32_t> positive_;                       // others of positive entries, line by line
  Array<index> tied_begin_, above_begin_, above_end_;  // (lines) where they begin and end
  // New candidates, before they replace the old ones.
  Array<index> spare_begin_, next_, merged_begin_;
  Array<std::int32_t> spare_idx_, merged_idx_;
  Doubles spare_cost_, merged_cost_, merged_centre_, held_;
};

}  // namespace ot
