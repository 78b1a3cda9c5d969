// Every solver, instantiated for the CPU backend.
#include "assignment/solvers-inl.hpp"
#include "cpu/backend.hpp"
#include "entropic/solvers-inl.hpp"
#include "exact/solvers-inl.hpp"
#include "one_dimension/solvers-inl.hpp"
#include "sparse/solvers-inl.hpp"

namespace ot {

static_assert(ExactBackend<cpu::Backend>);
static_assert(SparseBackend<cpu::Backend>);
template struct AssignmentSolvers<cpu::Backend>;
template struct EntropicSolvers<cpu::Backend>;
template struct ExactSolvers<cpu::Backend>;
template struct OneDimensionSolvers<cpu::Backend>;
template struct SparseSolvers<cpu::Backend>;

}  // namespace ot
