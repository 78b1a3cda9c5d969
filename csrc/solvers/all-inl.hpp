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

}  // namespace ot
