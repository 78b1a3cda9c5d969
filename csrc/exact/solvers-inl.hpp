// Bodies of exact/solvers.hpp.
#pragma once
#include "exact/backend_costs.hpp"
#include "exact/solvers.hpp"
#include "exact/transport.hpp"

namespace ot {

template <class B>
ExactSolution ExactSolvers<B>::transport(B& be, const Problem& p, const ExactOptions& o, const Monitor& monitor,
                                         Potentials at) {
  BackendCosts<B> costs(be, p);
  return ExactTransport(costs, o, monitor).solve(at);
}

}  // namespace ot
