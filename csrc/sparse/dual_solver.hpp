// The dual of a sparse plan on all entries: Newton's method on candidates, which are taken anew whenever the potentials
// leave their margin. What the stages of the solvers work on.
#pragma once
#include "sparse/ascent.hpp"
#include "sparse/candidates.hpp"
#include "sparse/dual_value.hpp"

namespace ot {

// When the margin doubles before candidates are taken anew. A wide margin saves passes. It costs little where
// candidates are few, or where ties make most entries candidates anyway.
class MarginPolicy {
 public:
  MarginPolicy(index n, index m) : sides_(n + m), pairs_(n * m) {}

  // Asked once for every list of candidates that the potentials have left.
  bool widens(index candidates) {
    const index some = std::min(sparse::kSomeCandidates * sides_, pairs_ / sparse::kSomePart);
    const bool every_second = round_ % 2 == 1, every_fourth = round_ > 4 && round_ % 4 == 3;
    if (widened_) cheap_ = static_cast<double>(candidates) < sparse::kCheapGrowth * static_cast<double>(last_);
    widened_ = cheap_ || candidates < sparse::kFewCandidates * sides_ || (candidates < some && every_second) ||
               (candidates < sparse::kManyCandidates * sides_ && every_fourth);
    last_ = candidates;
    ++round_;
    return widened_;
  }

 private:
  const index sides_, pairs_;
  index last_ = 0;
  int round_ = 0;
  bool widened_ = false, cheap_ = false;
};

template <SparseBackend B>
class DualSolver {
 public:
  DualSolver(B& be, const Problem& p, const QuadraticOptions& o, const Monitor& monitor)
      : budget(o.limits, monitor),
        host(be, p, o.lines),
        finder(host, budget),
        dual(host.line_problem()),
        evaluator(be),
        newton(evaluator) {}
  DualSolver(const DualSolver&) = delete;
  DualSolver& operator=(const DualSolver&) = delete;

  // Newton's method until the error is tol, by `steps` steps on each list of candidates.
  void ascend(double tol, index steps) {
    const auto stop = [this] { return budget.stopped(); };
    Window& window = dual.window;
    AscentLimits limits{.tol = tol, .steps = steps};
    MarginPolicy policy(host.n, host.m);
    double last_error = INFINITY;
    for (int round = 0; round < sparse::kAscents; ++round) {
      limits.reach = window.margin;
      limits.clip = sparse::kClip * window.margin;
      const AscentResult result = newton.maximise(dual, limits, stop);
      if (result.within_reach || budget.exhausted() || round + 1 == sparse::kAscents) break;
      if (result.first_error > sparse::kErrorJump * last_error) limits.overshoot = 1;
      last_error = dual.residual.error;
      if (policy.widens(dual.entries.size()))
        window.margin = std::min(2 * window.margin, std::max(window.margin, sparse::kMargins * host.p.range));
      finder.find(dual);
    }
    // Stopped beyond the margin: the value on the candidates is no bound.
    for (int round = 0; round < sparse::kRefinds && dual.rise() > window.margin; ++round) {
      finder.find(dual);
      evaluator.evaluate(dual);
    }
  }

  // Candidates within a few times the mean slack of the plan's entries.
  void find_near_plan() {
    const index active = dual.active();
    const double mean = dual.problem.reg / static_cast<double>(std::max<index>(1, active));
    const bool dense = active > sparse::kDensePlan * (host.n + host.m);
    dual.window.margin = dense ? mean : sparse::kNearPlan * mean;
    finder.find(dual);
  }

  // All entries, evaluated.
  void find_all() {
    dual.window.margin = INFINITY;
    finder.find(dual);
    evaluator.evaluate(dual);
  }
  bool can_find_all() const { return host.n * host.m <= sparse::kAll; }

  // The value of the dual of the problem.
  DualValue value(Beta rule) const {
    DualValue value = dual_value(dual, rule);
    value.value = host.base_value() + value.value;
    return value;
  }

  // The plan and the potentials reached, with the value of the dual as a bound.
  SparseSolution solution(double error, Potentials at) {
    SparseSolution out;
    out.error = error;
    out.dual = value(Beta::given).value;
    out.plan = host.plan(dual);
    host.write_potentials(dual.at.alpha, dual.at.beta, at);
    out.n_iter = budget.clock.n_iter;
    out.status = budget.status(error);
    return out;
  }

  Budget budget;
  HostProblem<B> host;
  CandidateFinder<B> finder;
  LineDual dual;
  LineEvaluator<B> evaluator;
  NewtonAscent<B> newton;
};

}  // namespace ot
