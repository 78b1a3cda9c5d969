// Every solver, instantiated for the CPU backend.
#include "cpu/backend.hpp"
#include "solvers/all-inl.hpp"

namespace ot {

static_assert(SlackBackend<cpu::Backend>);
template struct Solvers<cpu::Backend>;
template struct SparseSolvers<cpu::Backend>;

}  // namespace ot
