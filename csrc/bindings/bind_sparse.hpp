// Solvers whose plans are sparse: start (where warm) and result are f and g in units of cost.
#pragma once
#include "bindings/bind_solve.hpp"
#include "sparse/solvers.hpp"

namespace ot::bindings {

inline Lines lines_of(bool by_rows) { return by_rows ? Lines::rows : Lines::columns; }

template <class Place>
void bind_sparse(py::module_& module) {
  using Held = Recorded<SparseSolution>;
  py::class_<Held> solution(module, "SparseSolution", py::module_local());
  bind_outcome(solution);
  // The plan by lines: offsets, indices and values.
  solution.def_property_readonly("plan", [](const Held& r) {
    const auto array = [](const auto& v) {
      using T = typename std::decay_t<decltype(v)>::value_type;
      return py::array_t<T>(static_cast<py::ssize_t>(v.size()), v.data());
    };
    const SparsePlan& plan = r.result.plan;
    return py::make_tuple(array(plan.begin), array(plan.idx), array(plan.val));
  });

  py::class_<QuadraticOptions>(module, "QuadraticOptions", py::module_local())
      .def(py::init([](const Limits& limits, bool by_rows, bool warm) {
             return QuadraticOptions{.limits = limits, .lines = lines_of(by_rows), .warm = warm};
           }),
           py::arg("limits"), py::kw_only(), py::arg("by_rows"), py::arg("warm"));
  py::class_<CardinalityOptions>(module, "CardinalityOptions", py::module_local())
      .def(py::init([](const Limits& limits, bool by_rows, bool warm, index max_nz, bool semi_dual) {
             CardinalityOptions o;
             o.limits = limits;
             o.lines = lines_of(by_rows);
             o.warm = warm;
             o.max_nz = max_nz;
             o.semi_dual = semi_dual;
             return o;
           }),
           py::arg("limits"), py::kw_only(), py::arg("by_rows"), py::arg("warm"), py::arg("max_nz"),
           py::arg("semi_dual"));

  using Solvers = SparseSolvers<typename Place::Backend>;
  bind_solver<Place, &Solvers::quadratic, QuadraticOptions>(module, "quadratic");
  bind_solver<Place, &Solvers::constrained, CardinalityOptions>(module, "constrained");
}

}  // namespace ot::bindings
