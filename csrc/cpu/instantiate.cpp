// Every solver, instantiated for the CPU backend.
#include "cpu/backend.hpp"
#include "solvers/newton.hpp"
#include "solvers/sinkhorn.hpp"
#include "solvers/sns.hpp"
#include "solvers/sparse.hpp"

namespace ot {

static_assert(Backend<cpu::Backend>);
template class Sinkhorn<cpu::Backend>;
template class Newton<cpu::Backend>;
template class Sns<cpu::Backend>;

static_assert(SlackBackend<cpu::Backend>);
template class Quadratic<cpu::Backend>;
template class SparsityConstrained<cpu::Backend>;

}  // namespace ot
