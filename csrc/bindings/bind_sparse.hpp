// Solvers whose plans are sparse: quadratic and sparsity-constrained transport.
#pragma once
#include <optional>

#include "bindings/bind_entropic.hpp"

namespace ot::bindings {

// Potentials in cost units, start (where `warm`) and result; lines are rows of the geometry, or columns.
template <class Place>
py::dict sparse(const GeometryHandle<Place>& h, const Vector& a, const Vector& b, double reg, double range, Vector f,
                Vector g, double tol, index max_iter, double time_limit, typename Place::Where where,
                py::object callback, bool warm, bool by_rows, std::optional<index> max_nz, bool semi_dual) {
  Solve<Place> solve(h, a, b, reg, range, f, g, tol, max_iter, time_limit, where, std::move(callback));
  SparsePlan plan;
  py::dict d = solve([&](auto& be, const Monitor& monitor) {
    using All = SparseSolvers<typename Place::Backend>;
    double *phi = solve.phi.data(), *psi = solve.psi.data();
    if (!max_nz) return All::quadratic(be, solve.problem, solve.limits, monitor, by_rows, phi, psi, warm, plan);
    return All::constrained(be, solve.problem, solve.limits, monitor, by_rows, *max_nz, semi_dual, phi, psi, warm,
                            plan);
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

template <class Place>
void bind_sparse(py::module_& module) {
  module.def("sparse", sparse<Place>, py::arg("geometry"), py::arg("a"), py::arg("b"), py::arg("reg"), py::arg("range"),
             py::arg("f"), py::arg("g"), py::arg("tol"), py::arg("max_iter"), py::arg("time_limit"),
             py::arg(Place::kWhere), py::arg("callback"), py::kw_only(), py::arg("warm"), py::arg("by_rows"),
             py::arg("max_nz"), py::arg("semi_dual"));
}

}  // namespace ot::bindings
