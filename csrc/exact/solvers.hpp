// Exact transport by name: see entropic/solvers.hpp.
#pragma once
#include "exact/options.hpp"

namespace ot {

template <class B>
struct ExactSolvers {
  static ExactSolution transport(B&, const Problem&, const ExactOptions&, const Monitor&, Potentials);
  // The same on a list of pairs; a and b are masses, of the host.
  static ExactSolution listed(const PairList&, const double* a, const double* b, const ExactOptions&, const Monitor&,
                              Potentials);
};

}  // namespace ot
