// The assignment by name (see entropic/solvers.hpp).
#pragma once
#include "assignment/options.hpp"

namespace ot {

template <class B>
struct AssignmentSolvers {
  // Of a dense geometry with no more rows than columns, whose shift is not read.
  static AssignmentResult assign(B&, const Geometry&);
};

}  // namespace ot
