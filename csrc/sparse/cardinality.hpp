// Sparsity-constrained transport (Liu, Puigcerver and Blondel, ICLR 2023): min <C,T> + reg/2 |T|^2 over
// plans from a to b with at most k entries a line.
//
// 1. Quadratic transport. Where its plan has k entries a line at most, it is the answer.
// 2. The dual, concave but not differentiable where entries tie for the k-th place: proximal steps,
//    each a smooth problem for Newton's method (lines.hpp). Its maximum is a lower bound.
// 3. A support of k entries a line that carries a plan: the largest entries, completed by a vertex of
//    the transport polytope. Where a vertex has too many entries in a line, the small ones are priced out;
//    where that fails or leaves a wide gap, vertices are searched by annealing (exchange.hpp).
// 4. Quadratic transport on that support, and better entries into the places that fall free: every
//    round has a plan with the marginals and a lower objective.
#pragma once
#include "sparse/quadratic.hpp"
#include "sparse/vertex_search.hpp"

namespace ot {

template <SparseBackend B>
class SparsityConstrained : Quadratic<B> {
  using Base = Quadratic<B>;
  using Base::base, Base::climb, Base::clock_, Base::descend, Base::dual_, Base::finish, Base::kAll, Base::limits_,
      Base::look, Base::m_, Base::measure;
  using Base::margin_, Base::n_, Base::narrow, Base::p_, Base::persist, Base::primal, Base::proximal, Base::stopped,
      Base::take, Base::value, Base::warm_;

 public:
  SparsityConstrained(B& be, const Problem& p, const CardinalityOptions& o, const Monitor& monitor)
      : Base(be, p, o, monitor), k_(o.max_nz), semi_dual_(o.semi_dual) {}

  SparseSolution solve(Potentials at) {
    double *f = at.rows, *g = at.columns;
    SparseSolution out;
    SparsePlan& plan = out.plan;
    const double quadratic = descend(f, g, warm_, std::max(limits_.tol, 1e-2));
    if (longest() > k_ && longest() <= 2 * k_) climb(std::max(limits_.tol, 1e-4), 200);
    if (longest() <= k_) {
      climb(limits_.tol, 200);
      persist();
    }
    if (longest() <= k_) {
      out.error = dual_.error;
      out.dual = value(false);
      take(dual_, plan);
      finish(f, g, out);
      return out;
    }
    narrow();
    dual_.k = k_;
    maximise(quadratic);
    auto beta = dual_.beta;
    double beyond = 0;
    out.dual = value(semi_dual_, &beyond);
    if (beyond > margin_) {  // other entries may lower it
      dual_.beta = beta;
      look_at_positive();
      out.dual = value(false);
      beta = dual_.beta;
    }
    finish(f, g, out);
    dual_.beta = beta;
    bool found = price_out(kPricing), all = false;
    if (!found && n_ * m_ <= kAll && !stopped()) {
      look_at_all();
      found = price_out(kPricing / 2);
      all = true;
    }
    improve(found, out.dual);
    take(held_, plan);
    out.error = held_.error;
    if (!(found && plan.value - out.dual <= kWide * std::fabs(plan.value)) && n_ * m_ <= kAll && !stopped()) {
      if (!all) look_at_all();
      if (rearrange()) {
        improve(true, out.dual);
        if (!found || primal(held_) < plan.value) {
          take(held_, plan);
          out.error = held_.error;
        }
        found = true;
      }
    }
    out.n_iter = clock_.n_iter;
    out.status = found && out.error <= limits_.tol ? Status::converged : clock_.reason();
    if (!found) out.message = "no plan with so few entries was found, and none was proved not to exist";
    return out;
  }

 private:
  index longest() const {
    index most = 0;
    for (index j = 0; j < dual_.lines; ++j) {
      index count = 0;
      for (index e = dual_.begin[j]; e < dual_.begin[j + 1]; ++e) count += dual_.t[e] > 0;
      most = std::max(most, count);
    }
    return most;
  }

  // From a value of the dual, `best`, until what is left to gain, as the last two gains foretell it, no longer counts;
  // and one step of small sigma more, which tells the entries that stay from those that nearly do.
  void maximise(double best) {
    double last = 0;
    bool skipped = true, done = false;
    proximal([&](double moved) {
      if (moved > 0.05 && !done) {  // far from the end, and the value costs a few evaluations
        skipped = true;
        clock_.count(p_.reg, dual_.error, best);
        --clock_.n_iter;  // not a pass
        return Base::kFall;
      }
      if (done) return 0.0;
      const auto beta = dual_.beta;
      const double now = value(true), gain = std::fabs(now - best), left = gain * gain / std::max(gain, last - gain);
      dual_.beta = beta;
      clock_.count(p_.reg, dual_.error, now);
      --clock_.n_iter;
      best = now;
      last = std::exchange(skipped, false) ? 0 : gain;
      if (moved < 1e-7) return 0.0;
      done = left <= 2e-7 * std::fabs(now);
      return done ? 0.5 * Base::kFall : Base::kFall;
    });
  }

  // keep_: a support with at most k entries a line that carries a plan, and that plan in flow_.
  bool price_out(int rounds) {
    const index count = dual_.idx.size();
    Flow flow(dual_.others, dual_.lines, dual_.a, dual_.b);
    flow.arcs.resize(count);
    largest();
    double mean = 0;
    index active = 0;
    for (const double v : dual_.t) active += v > 0;
    mean = p_.reg / static_cast<double>(std::max<index>(1, active));
    each([&](index j, index e) {
      const double s = dual_.slack(j, e);
      flow.arcs[e] = {dual_.idx[e], static_cast<std::int32_t>(j), keep_[e] ? 0.0 : std::max(0.0, -s) + mean};
    });
    flow.start(dual_.t);
    index least = std::numeric_limits<index>::max();
    double price = mean;
    for (int round = 0; round < rounds; ++round, price *= 1.3) {
      flow.solve([this] { return stopped(); });
      if (flow.lack > 1e-12) {
        if (flow_.size() != count) flow_ = flow.x;
        trim();
        return false;
      }
      index over = 0;
      for (index j = 0; j < dual_.lines; ++j) {
        order_.clear();
        for (index e = dual_.begin[j]; e < dual_.begin[j + 1]; ++e)
          if (flow.x[e] > 0) order_.push_back(e);
        if (order_.size() <= k_) continue;
        over += order_.size() - k_;
        std::nth_element(order_.begin(), order_.begin() + k_, order_.end(),
                         [&](index e, index d) { return flow.x[e] > flow.x[d]; });
        for (auto e = order_.begin() + k_; e != order_.end(); ++e) flow.arcs[*e].cost += price;
      }
      if (over < least) {
        least = over;
        flow_ = flow.x;
      }
      if (over == 0) break;
    }
    trim();
    return least == 0;
  }

  // The support of flow_, or its k largest entries in lines where it has more.
  void trim() {
    for (index j = 0; j < dual_.lines; ++j) {
      order_.clear();
      for (index e = dual_.begin[j]; e < dual_.begin[j + 1]; ++e)
        if (flow_[e] > 0) order_.push_back(e);
      if (order_.size() <= k_) continue;
      std::nth_element(order_.begin(), order_.begin() + k_, order_.end(),
                       [&](index e, index d) { return flow_[e] > flow_[d]; });
      for (auto e = order_.begin() + k_; e != order_.end(); ++e) flow_[*e] = 0;
    }
    keep_.resize(flow_.size());
    for (index e = 0; e < flow_.size(); ++e) keep_[e] = flow_[e] > 0;
  }

  // The k largest entries of every line.
  void largest() {
    keep_.assign(dual_.idx.size(), 0);
    for (index j = 0; j < dual_.lines; ++j) {
      order_.clear();
      for (index e = dual_.begin[j]; e < dual_.begin[j + 1]; ++e) order_.push_back(e);
      const auto most = std::min(k_, order_.size());
      std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(most), order_.end(),
                        [&](index e, index d) {
                          const double x = dual_.t[e], y = dual_.t[d];
                          return x != y ? x > y : dual_.slack(j, e) > dual_.slack(j, d);
                        });
      for (index r = 0; r < most; ++r) keep_[order_[r]] = 1;
    }
  }

  // Whatever has a share in the dual.
  void look_at_positive() {
    margin_ = 0;
    look(true);
    dual_.evaluate();
  }

  void look_at_all() {
    margin_ = INFINITY;
    look();
    dual_.evaluate();
  }

  // The same from all entries, by exchanges.
  bool rearrange() {
    Exchange plan(dual_.others, dual_.lines, dual_.a, dual_.b, k_, p_.reg, dual_.begin);
    plan.arcs.resize(dual_.idx.size());
    each([&](index j, index e) { plan.arcs[e] = {dual_.idx[e], static_cast<std::int32_t>(j), dual_.cost[e]}; });
    const auto poll = [this] { return stopped(); };
    plan.start(dual_.t);
    plan.solve(poll);
    if (plan.lack > 1e-12) return false;
    if (!plan.search(poll)) return false;
    flow_ = plan.x;
    keep_.resize(flow_.size());
    for (index e = 0; e < flow_.size(); ++e) keep_[e] = flow_[e] > 0;
    return true;
  }

  // From the plan in flow_ down, as long as it pays.
  void improve(bool found, double bound) {
    Array<index> from;
    LineDual<B> qp;
    qp.shape(dual_.lines, dual_.others);
    qp.a = dual_.a;
    qp.b = dual_.b;
    qp.reg = p_.reg;
    qp.backend = dual_.backend;
    qp.alpha = dual_.alpha;
    qp.beta = dual_.beta;
    support(held_, from);
    for (index e = 0; e < from.size(); ++e) held_.t[e] = flow_[from[e]];
    measure(held_);
    if (!found) return;
    double best = primal(held_);
    for (int round = 0; round < kImprove && !stopped(); ++round) {
      const bool more = fill(round == 0 ? dual_ : qp);
      if (!more && round > 0) break;
      support(qp, from);
      // Nearly a forest: its parts shift against each other by anything, unless held.
      qp.damping = kHold;
      qp.maximise(0.1 * limits_.tol, INFINITY, std::min(p_.range, kStep * p_.reg / static_cast<double>(qp.lines)), 300,
                  [this] { return stopped(); });
      const double now = primal(qp);
      if (qp.error > limits_.tol || !(now <= best)) break;
      const double gain = best - now;
      held_ = qp;
      best = now;
      for (index e = 0; e < from.size(); ++e) keep_[from[e]] = qp.t[e] > 0;
      if (gain <= 1e-2 * (best - bound) || best - bound <= kNarrow * std::fabs(best)) break;
    }
  }

  // Entries of positive slack into free places; false where there are none.
  bool fill(const LineDual<B>& at_potentials) {
    bool added = false;
    const auto gain = [&](index j, index e) {
      return at_potentials.alpha[dual_.idx[e]] + at_potentials.beta[j] - dual_.cost[e];
    };
    for (index j = 0; j < dual_.lines; ++j) {
      index free = k_;
      order_.clear();
      for (index e = dual_.begin[j]; e < dual_.begin[j + 1]; ++e) {
        free -= keep_[e];
        if (!keep_[e] && gain(j, e) > 0) order_.push_back(e);
      }
      if (free <= 0) continue;
      const auto most = std::min(free, order_.size());
      std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(most), order_.end(),
                        [&](index e, index d) { return gain(j, e) > gain(j, d); });
      for (index r = 0; r < most; ++r) keep_[order_[r]] = 1;
      added |= most > 0;
    }
    return added;
  }

  // `to` becomes the problem on the support kept; entry e of it is entry from[e] of the candidates.
  void support(LineDual<B>& to, Array<index>& from) {
    if (to.lines == 0) {
      to.shape(dual_.lines, dual_.others);
      to.a = dual_.a;
      to.b = dual_.b;
      to.reg = p_.reg;
      to.backend = dual_.backend;
    }
    from.clear();
    to.idx.clear();
    to.cost.clear();
    for (index j = 0; j < dual_.lines; ++j) {
      to.begin[j] = from.size();
      for (index e = dual_.begin[j]; e < dual_.begin[j + 1]; ++e)
        if (keep_[e]) {
          to.idx.push_back(dual_.idx[e]);
          to.cost.push_back(dual_.cost[e]);
          from.push_back(e);
        }
    }
    to.begin[dual_.lines] = from.size();
    to.t.assign(from.size(), 0);
  }

  template <class F>
  void each(F f) {
    for (index j = 0; j < dual_.lines; ++j)
      for (index e = dual_.begin[j]; e < dual_.begin[j + 1]; ++e) f(j, e);
  }

  using Doubles = typename LineDual<B>::Doubles;
  static constexpr int kPricing = 40, kImprove = 12;
  static constexpr double kWide = 1e-2;             // gap, relative, from where on exchanges are tried
  static constexpr double kNarrow = 1e-3;           // and under which more entries hardly pay
  static constexpr double kHold = 0.1, kStep = 64;  // damping, and the longest step in mean entries times reg
  const index k_;
  const bool semi_dual_;
  LineDual<B> held_;
  Doubles flow_;
  Array<char> keep_;
  Array<index> order_;
};

}  // namespace ot
