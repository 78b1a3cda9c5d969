// Bodies of exact/solvers.hpp.
#pragma once
#include "exact/backend_costs.hpp"
#include "exact/listed_costs.hpp"
#include "exact/solvers.hpp"
#include "exact/transport.hpp"

namespace ot {

template <class B>
ExactSolution ExactSolvers<B>::transport(B& be, const Problem& p, const ExactOptions& o, const Monitor& monitor,
                                         Potentials at) {
  BackendCosts<B> costs(be, p);
  return ExactTransport(costs, o, monitor).solve(at);
}

template <class B>
ExactSolution ExactSolvers<B>::listed(const PairList& pairs, const double* a, const double* b, const ExactOptions& o,
                                      const Monitor& monitor, Potentials at) {
  ListedCosts costs(pairs, a, b);
  return ExactTransport(costs, o, monitor).solve(at);
}

}  // namespace ot
