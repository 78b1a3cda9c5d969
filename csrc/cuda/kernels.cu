// Every operation of the seam, instantiated for the GPU.
#include "cuda/gpu.cuh"

namespace ot::cuda {
template class BackendOn<Gpu>;
}
