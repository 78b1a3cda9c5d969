// Bodies of sparse/solvers.hpp.
#pragma once
#include "sparse/cardinality.hpp"
#include "sparse/solvers.hpp"

namespace ot {

template <class B>
SparseSolution SparseSolvers<B>::quadratic(B& be, const Problem& p, const QuadraticOptions& o, const Monitor& monitor,
                                           Potentials at) {
  return Quadratic<B>(be, p, o, monitor).solve(at);
}

template <class B>
SparseSolution SparseSolvers<B>::constrained(B& be, const Problem& p, const CardinalityOptions& o,
                                             const Monitor& monitor, Potentials at) {
  return SparsityConstrained<B>(be, p, o, monitor).solve(at);
}

}  // namespace ot
