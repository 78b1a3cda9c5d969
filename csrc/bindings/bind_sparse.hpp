// Solvers whose plans are sparse: quadratic and sparsity-constrained transport.
#pragma once
#include <optional>

#include "bindings/bind_entropic.hpp"
#include "solvers/sparse.hpp"

namespace ot {
extern template class Quadratic<cpu::Backend>;
extern template class SparsityConstrained<cpu::Backend>;
}  // namespace ot

namespace ot::bindings {

// Potentials in cost units, start (where `warm`) and result; lines are rows of the geometry, or columns.
inline py::dict sparse(const GeometryHandle& h, const Vector& a, const Vector& b, double reg, double range, Vector f,
                       Vector g, double tol, index max_iter, double time_limit, int threads, py::object callback,
                       bool warm, bool by_rows, std::optional<index> max_nz, bool semi_dual) {
  Solve solve(h, a, b, reg, range, f, g, tol, max_iter, time_limit, threads, std::move(callback));
  SparsePlan plan;
  py::dict d = solve([&](cpu::Backend& be, const Monitor& monitor) {
    if (!max_nz)
      return Quadratic<cpu::Backend>(be, solve.problem, solve.limits, monitor, by_rows)
          .solve(solve.phi, solve.psi, warm, plan);
    return SparsityConstrained<cpu::Backend>(be, solve.problem, solve.limits, monitor, by_rows, *max_nz, semi_dual)
        .solve(solve.phi, solve.psi, warm, plan);
  });
  const auto array = [](const auto& v) {
    using T = typename std::decay_t<decltype(v)>::value_type;
    return py::array_t<T>(static_cast<py::ssize_t>(v.size()), v.data());
  };
  d["begin"] = array(plan.begin);
  d["idx"] = array(plan.idx);
  d["val"] = array(plan.val);
  d["dual_value"] = plan.dual;
  return d;
}

inline void bind_sparse(py::module_& module) {
  module.def("sparse", sparse, py::arg("geometry"), py::arg("a"), py::arg("b"), py::arg("reg"), py::arg("range"),
             py::arg("f"), py::arg("g"), py::arg("tol"), py::arg("max_iter"), py::arg("time_limit"), py::arg("threads"),
             py::arg("callback"), py::kw_only(), py::arg("warm"), py::arg("by_rows"), py::arg("max_nz"),
             py::arg("semi_dual"));
}

}  // namespace ot::bindings
