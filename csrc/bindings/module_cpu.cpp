#include "bindings/bind_assignment.hpp"
#include "bindings/bind_entropic.hpp"
#include "bindings/bind_exact.hpp"
#include "bindings/bind_flow.hpp"
#include "bindings/bind_geometry.hpp"
#include "bindings/bind_one_dimension.hpp"
#include "bindings/bind_plan.hpp"
#include "bindings/bind_sparse.hpp"
#include "bindings/on_cpu.hpp"

namespace ot::bindings {

// Rates of this machine in 1e9 per second, best of several runs. Benchmarks compare passes to them.
py::dict machine_limits(int threads) {
  cpu::Backend be(threads, signals_pending);
  const auto& table = be.table();
  const int count = be.threads();
  const auto rate = [&](auto work) {
    double best = 0;
    for (int k = 0; k < 7; ++k) {
      std::vector<double> done(static_cast<std::size_t>(count));
      const auto start = std::chrono::steady_clock::now();
      cpu::ThreadPool::instance().run(count, count, [&](index t) { done[static_cast<std::size_t>(t)] = work(t); });
      const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      double total = 0;
      for (double v : done) total += v;
      best = std::max(best, total / s * 1e-9);
    }
    return best;
  };
  py::dict d;
  released([&] {
    const index size = index{1} << 26;  // 512 MB, beyond any cache
    Buffer<double> data(size);
    be.for_each(size, [p = data.data()](index i) { p[i] = 1.0; });
    const index part = size / count;
    std::vector<double> sink(static_cast<std::size_t>(count));
    const double read = rate([&](index t) {
      sink[static_cast<std::size_t>(t)] = table.read(data.data() + t * part, part);
      return 8.0 * static_cast<double>(part);
    });
    const auto at = [&](index t) { return &sink[static_cast<std::size_t>(t)]; };
    const double e32 = rate([&](index t) { return table.exp_rate[0](20000, at(t)); });
    const double e64 = rate([&](index t) { return table.exp_rate[1](10000, at(t)); });
    const double f32 = rate([&](index t) { return table.fma_rate[0](400000, at(t)); });
    const double f64 = rate([&](index t) { return table.fma_rate[1](200000, at(t)); });
    py::gil_scoped_acquire gil;
    d["read_GBps"] = read;
    d["exp_f32_G"] = e32;
    d["exp_f64_G"] = e64;
    d["fma_f32_G"] = f32;
    d["fma_f64_G"] = f64;
  });
  return d;
}

// The least and the largest value of every coordinate, (2, d).
template <class T>
Vector bounds_of(const Matrix& points) {
  const index n = points.rows, d = points.cols;
  const T* p = static_cast<const T*>(points.data);
  Vector out({index{2}, d});
  double *low = out.mutable_data(), *high = low + d;
  for (index k = 0; k < d; ++k) low[k] = high[k] = p[k];
  for (index i = 1; i < n; ++i)
    for (index k = 0; k < d; ++k) {
      const double v = p[i * d + k];
      low[k] = v < low[k] ? v : low[k];
      high[k] = v > high[k] ? v : high[k];
    }
  return out;
}

Vector bounds(const py::object& points) {
  const Matrix v = Cpu::matrix(points);
  if (v.rows == 0 || v.ld != v.cols) throw py::value_error("points must be row-major and not empty");
  return v.dtype == DType::f64 ? bounds_of<double>(v) : bounds_of<float>(v);
}

}  // namespace ot::bindings

PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used()) {
  namespace py = pybind11;
  using namespace ot;
  cpu::kernels();  // an unusable OT_FAST_ISA fails here, at import
  module.doc() = "The CPU core of ot_fast.";
  module.attr("__version__") = OT_VERSION;
  bindings::bind_geometry<bindings::Cpu>(module);
  bindings::bind_problem<bindings::Cpu>(module);
  bindings::bind_plan<bindings::Cpu>(module);
  bindings::bind_entropic<bindings::Cpu>(module);
  bindings::bind_sparse<bindings::Cpu>(module);
  bindings::bind_pairs<bindings::Cpu>(module);
  bindings::bind_completion(module);
  bindings::bind_assignment(module);
  bindings::bind_exact<bindings::Cpu>(module);
  bindings::bind_one_dimension(module);
  module.def("bounds", bindings::bounds, py::arg("points"));
  module.def("isa", [] { return std::string(cpu::kernels().name); });
  module.def("isa_built", [] { return cpu::levels_built(); });
  module.def("default_threads", [] { return cpu::default_threads(); });
  module.def("machine_limits", bindings::machine_limits, py::arg("threads") = 0);
}
