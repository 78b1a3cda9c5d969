// Sparsity-constrained transport (Liu, Puigcerver and Blondel, ICLR 2023): min <C,T> + reg/2 |T|^2 over plans from a to
// b with at most k entries a line. Stages:
//
// 1. relax: quadratic transport. Where its plan has at most k entries a line, it is the answer.
// 2. ascend_by_prox: proximal steps on the dual, which is concave but not differentiable where entries tie for the
//    k-th place. Its maximum is a lower bound.
// 3. find_support: a support with at most k entries a line that carries a plan.
// 4. improve: quadratic transport on that support, and better entries into places that fall free.
// 5. search_vertices: where 3 fails or the gap is wide, annealing over the vertices of the polytope, then 4 again.
#pragma once
#include "sparse/improve.hpp"
#include "sparse/quadratic.hpp"

namespace ot {

// The most entries of a line.
inline index longest_line(const LineDual& dual) {
  index most = 0;
  for (index j = 0; j < dual.problem.lines; ++j) {
    index count = 0;
    for (const index e : dual.entries.of_line(j)) count += dual.at.t[e] > 0;
    most = std::max(most, count);
  }
  return most;
}

// When the ascent ends. The gains of the value fall geometrically: of two gains d0 > d1, the next ones sum to about
// d1^2 / (d0 - d1).
class GainRule {
 public:
  explicit GainRule(double value) : value_(value) {}
  double value() const { return value_; }
  // A step without a value: the next gain is over several steps, and predicts nothing.
  void skip() { skipped_ = true; }
  // Whether little is left to gain.
  bool ends_at(double value) {
    const double gain = std::fabs(value - value_), left = gain * gain / std::max(gain, last_gain_ - gain);
    value_ = value;
    last_gain_ = std::exchange(skipped_, false) ? 0 : gain;
    return left <= sparse::kGainLeft * std::fabs(value);
  }

 private:
  double value_, last_gain_ = 0;
  bool skipped_ = true;
};

// Maximises the dual with at most k entries a line, from a plan of the relaxation and its value.
template <SparseBackend B>
void ascend_by_prox(DualSolver<B>& solver, index k, double relaxed_value) {
  LineDual& dual = solver.dual;
  const double reg = solver.host.p.reg;
  solver.find_near_plan();
  solver.evaluator.evaluate(dual);
  dual.problem.k = k;
  GainRule gains(relaxed_value);
  bool last = false;
  proximal_steps(solver, [&](double moved) -> std::optional<double> {
    if (last) return std::nullopt;
    if (moved > sparse::kMovingPlan) {
      gains.skip();
      solver.budget.report(reg, dual.residual.error, gains.value());
      return sparse::kSigmaFall;
    }
    const double value = solver.value(Beta::maximising).value;
    solver.budget.report(reg, dual.residual.error, value);
    last = gains.ends_at(value);
    if (moved < sparse::kStillPlan) return std::nullopt;
    return last ? sparse::kLastSigma * sparse::kSigmaFall : sparse::kSigmaFall;
  });
}

template <SparseBackend B>
class SparsityConstrained {
 public:
  SparsityConstrained(B& be, const Problem& p, const CardinalityOptions& o, const Monitor& monitor)
      : options_(o), k_(o.max_nz), solver_(be, p, o, monitor) {}

  SparseSolution solve(Potentials at) {
    const double relaxed = relax_to_k(at);
    if (longest_line(solver_.dual) <= k_) return solver_.solution(solver_.dual.residual.error, at);
    ascend_by_prox(solver_, k_, relaxed);
    const DualValue bound = lower_bound();
    solver_.host.write_potentials(solver_.dual.at.alpha, bound.beta, at);
    Best best = find_plan(bound.value);
    if (is_wide(best, bound.value)) best = search_plan(std::move(best), bound.value);
    SparseSolution out;
    out.dual = bound.value;
    out.plan = std::move(best.plan);
    out.error = best.error;
    out.n_iter = solver_.budget.clock.n_iter;
    out.status = best.feasible ? solver_.budget.status(out.error) : solver_.budget.clock.reason();
    if (!best.feasible) out.message = "no plan with so few entries was found, and none was proved not to exist";
    return out;
  }

 private:
  struct Best {
    SparsePlan plan;
    double error;
    bool feasible;  // has the marginals, and at most k entries a line
    bool on_all;    // all entries of C were candidates
  };

  // Quadratic transport, exactly where its plan has at most k entries a line. Returns the value of its dual.
  double relax_to_k(Potentials from) {
    const double tol = options_.limits.tol;
    const double value = relax(solver_, options_, from, std::max(tol, sparse::kFarTol));
    const index longest = longest_line(solver_.dual);
    if (longest > k_ && longest <= 2 * k_) solver_.ascend(std::max(tol, sparse::kNearTol), sparse::kSteps);
    if (longest_line(solver_.dual) <= k_) {
      solver_.ascend(tol, sparse::kSteps);
      finish_relaxation(solver_);
    }
    return value;
  }

  // The value of the dual on all entries. Where entries that are no candidates may lower it, the candidates become
  // those of positive slack.
  DualValue lower_bound() {
    const DualValue bound = solver_.value(options_.semi_dual ? Beta::maximising : Beta::given);
    if (!(bound.margin_needed > solver_.dual.window.margin)) return bound;
    solver_.finder.find_positive(solver_.dual);
    solver_.evaluator.evaluate(solver_.dual);
    return solver_.value(Beta::given);
  }

  // Stages 3 and 4, on the candidates, or on all entries where those carry no plan.
  Best find_plan(double bound) {
    Support support = find_support(solver_, k_, sparse::kPricing);
    const bool on_all = !support.carries_plan && may_find_all();
    if (on_all) {
      solver_.find_all();
      support = find_support(solver_, k_, sparse::kPricing / 2, std::move(support));
    }
    const bool feasible = support.carries_plan;
    const SupportedPlan found = improve(solver_, std::move(support), k_, bound);
    return {.plan = solver_.host.plan(found.dual),
            .error = found.dual.residual.error,
            .feasible = feasible,
            .on_all = on_all};
  }

  static bool is_wide(const Best& best, double bound) {
    const double value = best.plan.value;
    return !(best.feasible && value - bound <= sparse::kWideGap * std::fabs(value));
  }

  // Stages 5 and 4: returns the better of `best` and the plan found.
  Best search_plan(Best best, double bound) {
    if (!may_find_all()) return best;
    if (!best.on_all) solver_.find_all();
    std::optional<Support> support = search_vertices(solver_, k_);
    if (!support) return best;
    const SupportedPlan found = improve(solver_, std::move(*support), k_, bound);
    if (best.feasible && !(found.value < best.plan.value)) return best;
    return {
        .plan = solver_.host.plan(found.dual), .error = found.dual.residual.error, .feasible = true, .on_all = true};
  }

  bool may_find_all() { return solver_.can_find_all() && !solver_.budget.stopped(); }

  const CardinalityOptions options_;
  const index k_;
  DualSolver<B> solver_;
};

}  // namespace ot
