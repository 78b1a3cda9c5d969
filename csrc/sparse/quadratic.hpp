// Quadratically regularised transport: min <C,T> + reg/2 |T|^2 over plans T from a to b, by Newton's method on the
// dual. reg falls from where the plan is dense to that of the problem.
#pragma once
#include "algorithms/network_simplex.hpp"
#include "sparse/prox.hpp"
#include "sparse/simplex.hpp"
#include "sparse/start.hpp"

namespace ot {

// Falling reg, from a warm start or an entropic one, until the error is tol at the reg of the problem. Returns the
// value of the dual.
template <SparseBackend B>
double relax(DualSolver<B>& solver, const QuadraticOptions& options, Potentials from, double tol) {
  LineDual& dual = solver.dual;
  const double target = solver.host.p.reg;
  const bool warm = options.warm && start_warm(solver, from);
  double reg = warm ? target : start_entropic(solver), value = 0;
  for (;; reg = std::max(reg / sparse::kRegFall, target)) {
    const bool last = reg <= target;
    dual.problem.reg = reg;
    solver.ascend(last ? tol : sparse::kLoose, last ? sparse::kSteps : sparse::kLooseSteps);
    value = solver.value(Beta::given).value;
    solver.budget.clock.count(reg, dual.residual.error, value);
    if (last || solver.budget.exhausted()) break;
    solver.find_near_plan();
  }
  if (dual.problem.reg > target) {  // out of passes: the plan returned belongs to the reg of the problem
    dual.problem.reg = target;
    solver.evaluator.evaluate(dual);
    value = solver.value(Beta::given).value;
  }
  return value;
}

// A vertex of the polytope that minimises <C,T>, by the network simplex on all entries. It has the marginals, and
// exceeds the least value by reg/2 at most.
template <SparseBackend B>
void take_vertex(DualSolver<B>& solver) {
  LineDual& dual = solver.dual;
  solver.find_all();
  NetworkSimplex simplex = simplex_on(dual);
  simplex.start(dual.at.t);
  FlowPlan plan = simplex.solve([&] { return solver.budget.stopped(); });
  if (plan.lack > sparse::kMostLack || solver.budget.exhausted()) {
    solver.evaluator.evaluate(dual);
    return;
  }
  simplex.potentials(dual.at.alpha.data(), dual.at.beta.data());
  dual.at.t.swap(plan.flow);
  measure_plan(dual);
}

// Proximal steps where Newton's method stalls above tol: the plan hardly moves with reg there, as in a linear
// programme.
template <SparseBackend B>
void polish_by_prox(DualSolver<B>& solver) {
  LineDual& dual = solver.dual;
  const double tol = solver.budget.limits.tol;
  solver.find_near_plan();
  solver.evaluator.evaluate(dual);
  int failed = 0;
  proximal_steps(solver, [&](double moved) -> std::optional<double> {
    if (dual.residual.error > sparse::kLoose)
      return ++failed < sparse::kProxFailures ? std::optional(1.0) : std::nullopt;  // sigma stays
    if (moved < sparse::kRestingPlan && dual.residual.error <= tol) return std::nullopt;
    return sparse::kSigmaFall;
  });
  dual.prox = {};
  solver.newton.damping = sparse::kDamping;
  solver.ascend(tol, sparse::kManySteps);
}

// Reaches tol where Newton's method alone does not. The error is then that of both marginals, since at a tiny reg the
// rounding of the potentials is an error of the lines too.
template <SparseBackend B>
void finish_relaxation(DualSolver<B>& solver) {
  Budget& budget = solver.budget;
  const HostProblem<B>& host = solver.host;
  LineDual& dual = solver.dual;
  const double tol = budget.limits.tol;
  if (dual.residual.error > tol && !budget.exhausted()) polish_by_prox(solver);
  measure_plan(dual);
  const bool linear = host.p.reg <= sparse::kLinear * host.p.range;
  const index most = linear ? sparse::kAll : sparse::kAll / sparse::kVertexPart;
  if (!(dual.residual.error > tol) || budget.exhausted() || host.n * host.m > most) return;
  take_vertex(solver);
  if (linear) return;
  solver.find_near_plan();  // from the potentials of the vertex
  solver.evaluator.evaluate(dual);
  solver.ascend(tol, sparse::kManySteps);
  measure_plan(dual);
}

template <SparseBackend B>
class Quadratic {
 public:
  Quadratic(B& be, const Problem& p, const QuadraticOptions& o, const Monitor& monitor)
      : options_(o), solver_(be, p, o, monitor) {}

  SparseSolution solve(Potentials at) {
    relax(solver_, options_, at, options_.limits.tol);
    finish_relaxation(solver_);
    return solver_.solution(solver_.dual.residual.error, at);
  }

 private:
  const QuadraticOptions options_;
  DualSolver<B> solver_;
};

}  // namespace ot
