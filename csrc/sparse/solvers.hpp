// The sparse solvers by name, for backends that find candidates (sparse/backend.hpp): see entropic/solvers.hpp.
#pragma once
#include "sparse/options.hpp"

namespace ot {

template <class B>
struct SparseSolvers {
  static SparseSolution quadratic(B&, const Problem&, const QuadraticOptions&, const Monitor&, Potentials);
  static SparseSolution constrained(B&, const Problem&, const CardinalityOptions&, const Monitor&, Potentials);
};

}  // namespace ot
