// A transport problem, and the potentials that a solve starts from and returns.
#pragma once
#include "core/types.hpp"

namespace ot {

// Masses sum to 1, unless marginals are relaxed. Pointers are those of the backend.
struct Problem {
  Geometry geo;
  const double* a = nullptr;  // (n)
  const double* b = nullptr;  // (m)
  double reg = 0;
  double range = 0;  // an upper bound of max C - min C over allowed pairs
};

// Start and result of a solve, vectors of the backend: phi = f/reg and psi = g/reg for entropic solvers (NaN in
// phi where nothing is known), f and g for sparse ones.
struct Potentials {
  double* rows = nullptr;     // (n)
  double* columns = nullptr;  // (m)
};

}  // namespace ot
