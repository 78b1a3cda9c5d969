// Every solver, instantiated for the CUDA backend. Those of sparse plans work on the host, on what few
// kernels bring there: the C++ compiler instantiates them (sparse.cpp), but for the kernels of their start.
#include "cuda/gpu.cuh"
#include "entropic/solvers-inl.hpp"
#include "sparse/entropic_start.hpp"

namespace ot {

static_assert(SparseBackend<cuda::Backend>);
extern template class cuda::BackendOn<cuda::Gpu>;  // kernels.cu
template struct EntropicSolvers<cuda::Backend>;
template class EntropicStart<cuda::Backend>;

}  // namespace ot
