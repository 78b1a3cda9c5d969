// The CUDA module on the emulated device: the Python tests of CUDA arrays run without a GPU.
#include "bindings/on_cuda.hpp"
#include "emulator.hpp"
#include "entropic/solvers-inl.hpp"
#include "sparse/solvers-inl.hpp"

namespace ot {
template struct EntropicSolvers<cuda::BackendOn<Emulator>>;
template struct SparseSolvers<cuda::BackendOn<Emulator>>;
}

PYBIND11_MODULE(_cuda_emulated, module, pybind11::mod_gil_not_used()) {
  module.doc() = "The CUDA core of ot_fast on an emulated device.";
  ot::bindings::bind_cuda<ot::bindings::CudaOn<ot::Emulator>>(module);
}
