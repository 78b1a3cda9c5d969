// Exact transport by name: see entropic/solvers.hpp.
#pragma once
#include "exact/options.hpp"

namespace ot {

template <class B>
struct ExactSolvers {
  static ExactSolution transport(B&, const Problem&, const ExactOptions&, const Monitor&, Potentials);
};

}  // namespace ot
