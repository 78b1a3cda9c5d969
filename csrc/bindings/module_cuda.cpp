#include "bindings/on_cuda.hpp"

namespace ot::bindings {

using Cuda = CudaOn<cuda::Gpu>;

// Rates of the device in 1e9 per second, best of several runs. Benchmarks compare passes to them.
py::dict machine_limits(const Cuda::Where& where) {
  Cuda::Session session(where);
  double copy = 0, e32 = 0, e64 = 0;
  released([&] {
    copy = session.be.copy_rate();
    e32 = session.be.exp_rate(false);
    e64 = session.be.exp_rate(true);
  });
  py::dict d;
  d["copy_GBps"] = copy;
  d["exp_f32_G"] = e32;
  d["exp_f64_G"] = e64;
  return d;
}

// Names of the devices, and why there is none. Creates no context.
py::dict devices() {
  std::string reason;
  const int count = cuda::device_count(reason);
  std::vector<std::string> names;
  for (int k = 0; k < count; ++k) names.push_back(cuda::device_name(k));
  py::dict d;
  d["names"] = names;
  d["reason"] = reason;
  return d;
}

}  // namespace ot::bindings

PYBIND11_MODULE(_cuda, module, pybind11::mod_gil_not_used()) {
  namespace py = pybind11;
  using namespace ot;
  module.doc() = "The CUDA core of ot_fast.";
  module.attr("__version__") = OT_VERSION;
  module.attr("architectures") = OT_ARCHITECTURES;
  bindings::bind_cuda<bindings::Cuda>(module);
  module.def("devices", bindings::devices);
  module.def("machine_limits", bindings::machine_limits, py::arg("where"));
}
