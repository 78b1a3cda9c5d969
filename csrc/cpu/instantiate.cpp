// Every solver, instantiated for the CPU backend.
#include "cpu/backend.hpp"
#include "solvers/all-inl.hpp"

namespace ot {

static_assert(Backend<cpu::Backend>);
template struct Solvers<cpu::Backend>;

}  // namespace ot
