// Transport in one dimension by name: what bindings call (see entropic/solvers.hpp).
#pragma once
#include "one_dimension/options.hpp"

namespace ot {

template <class B>
struct OneDimensionSolvers {
  static void distances(B&, const Measures& x, const Measures& y, index batch, const OneDimensionOptions&,
                        const OneDimensionResult&);
  // The plan between the first measures of two batches.
  static void plan(B&, const Measures& x, const Measures& y, const OneDimensionOptions&, const PlanRows&);
};

}  // namespace ot
