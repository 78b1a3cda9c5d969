// Every solver, instantiated for the CPU backend.
#include "cpu/backend.hpp"
#include "solvers/newton.hpp"
#include "solvers/sinkhorn.hpp"

namespace ot {

static_assert(Backend<cpu::Backend>);
template class Sinkhorn<cpu::Backend>;
template class Newton<cpu::Backend>;

}  // namespace ot
