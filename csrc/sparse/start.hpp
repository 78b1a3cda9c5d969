// The first potentials and candidates of a sparse plan.
#pragma once
#include "sparse/dual_solver.hpp"
#include "sparse/entropic_start.hpp"

namespace ot {

// Potentials 0, and -inf where there is no mass, so that such rows and columns have no candidates.
template <SparseBackend B>
void reset_base(HostProblem<B>& host) {
  for (index i = 0; i < host.n; ++i) host.base.rows[i] = host.masses.rows[i] > 0 ? 0.0 : -INFINITY;
  for (index j = 0; j < host.m; ++j) host.base.columns[j] = host.masses.columns[j] > 0 ? 0.0 : -INFINITY;
}

// The sum of [f_i + g_j - C_ij + x]+ over the entries found; 0 where there were too many to store.
template <SparseBackend B>
double sum_slacks(const HostProblem<B>& host, const Candidates& found, double x) {
  double sum = 0;
  for (index i = 0, e = 0; i < host.n && !found.overflow; ++i)
    for (; e < found.begin[i + 1]; ++e) sum += host.base.rows[i] + host.base.columns[found.idx[e]] - found.cost[e] + x;
  return sum;
}

// Raises f by x >= 0 until the slacks sum to the reg of the problem; returns x and the sum. The sum is convex in x and
// rises by at most n m x.
struct Raised {
  double x, reg;
};
template <SparseBackend B>
Raised raise_to_reg(DualSolver<B>& solver, const Candidates& found, double step) {
  const HostProblem<B>& host = solver.host;
  const double least = host.p.reg;
  Raised at{.x = 0, .reg = sum_slacks(host, found, 0)};
  while (at.reg < least && !solver.budget.stopped()) {
    const double missing = (least - at.reg) / static_cast<double>(host.n) / static_cast<double>(host.m);
    at.x = at.x > 0 ? 2 * at.x : std::max(step, missing);
    at.reg = sum_slacks(host, solver.finder.price(host.base, at.x), at.x);
    solver.dual.window.margin = at.x;
  }
  return at;
}

// Entropic potentials at a falling reg, until few entries exceed a_i b_j. Those are the first plan, and the sum of
// their slacks is the quadratic reg that belongs to it: returns that, or the reg of the problem if it is larger.
template <SparseBackend B>
double start_entropic(DualSolver<B>& solver) {
  HostProblem<B>& host = solver.host;
  Budget& budget = solver.budget;
  const index n = host.n, m = host.m;
  const index few = std::max(sparse::kStartCandidates * (n + m), n * m / sparse::kStartPart);
  EntropicStart<B> entropic(host.be, host.p, budget.limits, budget.monitor);
  const double range = host.p.range > 0 ? host.p.range : host.p.reg;
  double& margin = solver.dual.window.margin;
  Raised raised{.x = 0, .reg = 0};
  double least = sparse::kLeastStartReg * range;
  index last_count = n * m;
  margin = sparse::kDefaultMargin * range;
  reset_base(host);
  for (double entropic_reg = sparse::kStartReg * range; !budget.stopped(); entropic_reg /= sparse::kStartFall) {
    const double asked = entropic_reg;
    budget.clock.n_iter += entropic.run(entropic_reg, host.base.rows.data(), host.base.columns.data());
    if (entropic_reg > asked) least = entropic_reg;  // that of the first run: no smaller one is resolved
    margin = sparse::kStartMargin * entropic_reg;
    for (index i = 0; i < n; ++i)
      host.base.rows[i] = host.masses.rows[i] > 0 ? entropic_reg * host.base.rows[i] : -INFINITY;
    for (index j = 0; j < m; ++j)
      host.base.columns[j] = host.masses.columns[j] > 0 ? entropic_reg * host.base.columns[j] : -INFINITY;
    const Candidates* found = &solver.finder.price(host.base, 0, few);
    if (found->overflow) {
      // With ties the count stops falling, and a smaller reg makes worse potentials.
      const index count = std::exchange(last_count, found->nnz);
      const bool falls = found->nnz < sparse::kCountFall * static_cast<double>(count);
      if (entropic_reg > least && (found->nnz > n * m / sparse::kTiedPart || falls)) continue;
      found = &solver.finder.price(host.base, 0);
    }
    raised = raise_to_reg(solver, *found, entropic_reg);
    break;
  }
  for (index i = 0; i < n; ++i) host.base.rows[i] += raised.x;
  solver.finder.find(solver.dual);
  return std::max(host.p.reg, raised.reg);
}

// From the potentials given. False where they are so large that they hold no digits of C.
template <SparseBackend B>
bool start_warm(DualSolver<B>& solver, Potentials from) {
  HostProblem<B>& host = solver.host;
  const index n = host.n, m = host.m;
  host.be.read(n, from.rows, host.base.rows.data());
  host.be.read(m, from.columns, host.base.columns.data());
  const double most = sparse::kMostPotential * (host.p.range + host.p.reg);
  for (index i = 0; i < n; ++i)
    if (host.masses.rows[i] > 0 && !(std::fabs(host.base.rows[i]) < most)) return false;
  for (index j = 0; j < m; ++j)
    if (host.masses.columns[j] > 0 && !(std::fabs(host.base.columns[j]) < most)) return false;
  for (index i = 0; i < n; ++i)
    if (!(host.masses.rows[i] > 0)) host.base.rows[i] = -INFINITY;
  for (index j = 0; j < m; ++j)
    if (!(host.masses.columns[j] > 0)) host.base.columns[j] = -INFINITY;
  const index few = std::min(n * m, sparse::kWarmCandidates * (n + m));
  const double widest = sparse::kMargins * host.p.range;
  double& margin = solver.dual.window.margin;
  for (margin = sparse::kLeastMargin * host.p.range; margin < widest; margin *= sparse::kMarginRise) {
    const Candidates& found = solver.finder.price(host.base, margin, few);
    if (found.overflow || found.nnz >= few / 2) break;
  }
  margin = std::max(margin, host.p.reg / static_cast<double>(std::max(n, m)));
  solver.finder.find(solver.dual);
  return true;
}

}  // namespace ot
