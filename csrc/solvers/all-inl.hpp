// Bodies of all.hpp.
#pragma once
#include "solvers/all.hpp"

namespace ot {

template <class B>
Outcome Solvers<B>::sinkhorn(B& be, const Problem& p, const SinkhornOptions& o, const Monitor& monitor, double* phi,
                             double* psi) {
  return Sinkhorn<B>(be, p, o, monitor).solve(phi, psi);
}

template <class B>
Outcome Solvers<B>::newton(B& be, const Problem& p, const SinkhornOptions& o, const Monitor& monitor, double* phi,
                           double* psi) {
  return Newton<B>(be, p, o, monitor).solve(phi, psi);
}

template <class B>
Outcome Solvers<B>::sns(B& be, const Problem& p, const SnsOptions& o, const Monitor& monitor, double* phi, double* psi,
                        index& newton_steps) {
  Sns<B> solver(be, p, o, monitor);
  const Outcome out = solver.solve(phi, psi);
  newton_steps = solver.newton_steps;
  return out;
}

template <SlackBackend B>
Outcome SparseSolvers<B>::quadratic(B& be, const Problem& p, const Limits& limits, const Monitor& monitor, bool by_rows,
                                    double* f, double* g, bool warm, SparsePlan& plan) {
  return Quadratic<B>(be, p, limits, monitor, by_rows).solve(f, g, warm, plan);
}

template <SlackBackend B>
Outcome SparseSolvers<B>::constrained(B& be, const Problem& p, const Limits& limits, const Monitor& monitor,
                                      bool by_rows, index max_nz, bool semi_dual, double* f, double* g, bool warm,
                                      SparsePlan& plan) {
  return SparsityConstrained<B>(be, p, limits, monitor, by_rows, max_nz, semi_dual).solve(f, g, warm, plan);
}

}  // namespace ot
