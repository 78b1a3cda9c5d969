// Solvers of sparse plans for the CUDA backend. Nothing here needs nvcc: see instantiate.cu.
#include "cuda/gpu.hpp"
#include "sparse/solvers-inl.hpp"

namespace ot {

extern template class cuda::BackendOn<cuda::Gpu>;    // kernels.cu
extern template class EntropicStart<cuda::Backend>;  // instantiate.cu
template struct SparseSolvers<cuda::Backend>;

}  // namespace ot
