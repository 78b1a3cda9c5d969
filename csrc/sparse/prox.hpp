// Proximal steps on the dual of a sparse plan (Rockafellar 1976): sigma falls, each step starts from the plan of the
// last, and every plan has the marginals whatever sigma is.
#pragma once
#include <optional>

#include "sparse/dual_solver.hpp"

namespace ot {

// Steps get smaller: candidates that the next few cannot reach are dropped.
template <SparseBackend B>
void thin_candidates(DualSolver<B>& solver) {
  LineDual& dual = solver.dual;
  Mark now = mark_of(dual);
  const double margin = sparse::kAhead * rise_between(dual.mark, now);
  dual.mark = std::move(now);
  if (margin > dual.window.margin - dual.rise()) return;
  const index stride = 1 + dual.problem.lines / sparse::kSampledLines;
  const index all = dual.entries.size(), some = count_within(dual, margin, stride);
  const index sides = solver.host.n + solver.host.m;
  if (some > sparse::kThinned * all / 4 || some < std::max(sparse::kLeastCandidates, sparse::kLeastPerSide * sides))
    return;
  solver.host.add_to_base(dual.at.alpha, dual.at.beta);
  keep_within(dual, margin);
}

// `next_factor` is told how far a step moved the plan (L1), and returns the factor of sigma, or nothing to stop.
template <SparseBackend B, class Next>
void proximal_steps(DualSolver<B>& solver, Next next_factor) {
  LineDual& dual = solver.dual;
  const double reg = solver.host.p.reg;
  double sigma = reg, tol = sparse::kProxTol;
  for (int round = 0; round < sparse::kProxSteps && !solver.budget.exhausted(); ++round) {
    dual.prox.sigma = sigma;
    dual.prox.centre = dual.at.t;
    solver.newton.damping = sparse::kDamping;
    solver.ascend(std::max(tol, solver.budget.limits.tol), sparse::kProxNewton);
    double moved = 0;
    for (index e = 0; e < dual.entries.size(); ++e) moved += std::fabs(dual.at.t[e] - dual.prox.centre[e]);
    const std::optional<double> factor = next_factor(moved);
    if (!factor) break;
    thin_candidates(solver);
    sigma = std::max(*factor * sigma, sparse::kLeastSigma * reg);
    tol *= sparse::kProxTolFall;
  }
}

}  // namespace ot
