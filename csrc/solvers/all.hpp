// Every solver by name. Bindings call these and see no bodies, so that those of a device are compiled
// by its own compiler only; a backend instantiates all of them in one line (instantiate.*).
#pragma once
#include "solvers/newton.hpp"
#include "solvers/sinkhorn.hpp"
#include "solvers/sns.hpp"

namespace ot {

template <class B>
struct Solvers {
  static Outcome sinkhorn(B&, const Problem&, const SinkhornOptions&, const Monitor&, double* phi, double* psi);
  static Outcome newton(B&, const Problem&, const SinkhornOptions&, const Monitor&, double* phi, double* psi);
  static Outcome sns(B&, const Problem&, const SnsOptions&, const Monitor&, double* phi, double* psi,
                     index& newton_steps);
};

}  // namespace ot
