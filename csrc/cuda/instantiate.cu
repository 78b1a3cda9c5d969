// Every solver, instantiated for the CUDA backend.
#include "cuda/gpu.cuh"
#include "solvers/all-inl.hpp"

namespace ot {

static_assert(Backend<cuda::Backend>);
extern template class cuda::BackendOn<cuda::Gpu>;  // kernels.cu
template struct Solvers<cuda::Backend>;

}  // namespace ot
