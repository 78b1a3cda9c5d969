// Every solver by name. Bindings call these and see no bodies, so that those of a device are compiled
// by its own compiler only; a backend instantiates all of them in one line (instantiate.*).
#pragma once
#include "solvers/newton.hpp"
#include "solvers/sinkhorn.hpp"
#include "solvers/sns.hpp"
#include "solvers/sparse.hpp"

namespace ot {

template <class B>
struct Solvers {
  static Outcome sinkhorn(B&, const Problem&, const SinkhornOptions&, const Monitor&, double* phi, double* psi);
  static Outcome newton(B&, const Problem&, const SinkhornOptions&, const Monitor&, double* phi, double* psi);
  static Outcome sns(B&, const Problem&, const SnsOptions&, const Monitor&, double* phi, double* psi,
                     index& newton_steps);
};

// Of backends that find candidates (core/slack.hpp). Potentials are in cost units, the start where `warm`.
template <SlackBackend B>
struct SparseSolvers {
  static Outcome quadratic(B&, const Problem&, const Limits&, const Monitor&, bool by_rows, double* f, double* g,
                           bool warm, SparsePlan&);
  static Outcome constrained(B&, const Problem&, const Limits&, const Monitor&, bool by_rows, index max_nz,
                             bool semi_dual, double* f, double* g, bool warm, SparsePlan&);
};

}  // namespace ot
