// The entropic solvers by name. Bindings call these and see no bodies, so that those of a device are
// compiled by its own compiler only; a backend instantiates all of them in one line (instantiate.*).
#pragma once
#include "entropic/options.hpp"

namespace ot {

template <class B>
struct EntropicSolvers {
  static EntropicOutcome sinkhorn(B&, const Problem&, const SinkhornOptions&, const Monitor&, Potentials);
  static EntropicOutcome newton(B&, const Problem&, const SinkhornOptions&, const Monitor&, Potentials);
  static EntropicOutcome approach(B&, const Problem&, const SinkhornOptions&, const Monitor&, Potentials);
  static EntropicOutcome sns(B&, const Problem&, const SnsOptions&, const Monitor&, Potentials);
  // The problem's reg or, where float64 does not resolve that at these potentials, the least that it does.
  static double resolved_reg(B&, const Problem&, Potentials);
};

}  // namespace ot
