// Bodies of assignment/solvers.hpp.
#pragma once
#include "assignment/jonker_volgenant.hpp"
#include "assignment/solvers.hpp"

namespace ot {

template <class B>
AssignmentResult AssignmentSolvers<B>::assign(B& be, const Geometry& geo) {
  return JonkerVolgenant<B>(be, geo).solve();
}

}  // namespace ot
