// Exact transport: start (where warm) and result are f and g in the units of the costs, which have no shift here.
#pragma once
#include "bindings/bind_flow.hpp"
#include "bindings/bind_solve.hpp"
#include "exact/solvers.hpp"

namespace ot::bindings {

template <class T>
py::array_t<T> as_array(const Array<T>& v) {
  return py::array_t<T>(static_cast<py::ssize_t>(v.size()), v.data());
}

// Exact transport on a list of pairs by rows, columns sorted; a and b are masses. `rows` and `columns` are start and
// result.
template <class Place>
Recorded<ExactSolution> exact_listed(const py::array_t<index, py::array::c_style>& begin, const Indices& column,
                                     const Vector& cost, const std::pair<Vector, Vector>& masses,
                                     const ExactOptions& options, std::pair<Vector, Vector> at,
                                     const py::object& callback) {
  const auto& [a, b] = masses;
  auto& [rows, columns] = at;
  PairList pairs{.n = a.size(), .m = b.size(), .begin = begin.data(), .column = column.data(), .cost = cost.data()};
  if (begin.size() != pairs.n + 1 || begin.data()[pairs.n] != cost.size() || column.size() != cost.size())
    throw py::value_error("begin, column and cost do not fit");
  checked(rows, pairs.n, "rows");
  checked(columns, pairs.m, "columns");
  Recorder recorder(callback);
  const Monitor monitor = recorder.monitor();
  const Potentials to{.rows = rows.mutable_data(), .columns = columns.mutable_data()};
  ExactSolution result = released(
      [&] { return ExactSolvers<typename Place::Backend>::listed(pairs, a.data(), b.data(), options, monitor, to); });
  return {std::move(result), recorder.history()};
}

template <class Place>
void bind_exact(py::module_& module) {
  using Held = Recorded<ExactSolution>;
  py::class_<Held> solution(module, "ExactSolution", py::module_local());
  bind_outcome(solution);
  solution.def_property_readonly("value", [](const Held& r) { return r.result.value; })
      .def_property_readonly("least", [](const Held& r) { return r.result.least; })
      .def_property_readonly("proved", [](const Held& r) { return r.result.proved; })
      .def_property_readonly("rounds", [](const Held& r) { return r.result.rounds; })
      .def_property_readonly("arcs", [](const Held& r) { return r.result.arcs; })
      // Rows, columns and mass of the basis.
      .def_property_readonly("plan",
                             [](const Held& r) {
                               const BasisPlan& plan = r.result.plan;
                               return py::make_tuple(as_array(plan.row), as_array(plan.column), as_array(plan.flow));
                             })
      // Rows, columns and the mass that the rows have beyond that of the columns.
      .def_property_readonly("cut", [](const Held& r) {
        const InfeasibleCut& cut = r.result.cut;
        return py::make_tuple(as_array(cut.rows), as_array(cut.columns), cut.excess);
      });

  py::class_<ExactOptions>(module, "ExactOptions", py::module_local())
      .def(py::init([](const Limits& limits, bool warm, const Indices& rows, const Indices& columns) {
             ExactOptions o{.limits = limits, .warm = warm};
             for (py::ssize_t k = 0; k < std::min(rows.size(), columns.size()); ++k)
               o.basis.add(rows.data()[k], columns.data()[k], 0);
             return o;
           }),
           py::arg("limits"), py::kw_only(), py::arg("warm"), py::arg("rows"), py::arg("columns"));

  module.def("exact_listed", exact_listed<Place>, py::arg("begin"), py::arg("column"), py::arg("cost"),
             py::arg("masses"), py::arg("options"), py::arg("at"), py::arg("callback"));
  bind_solver<Place, &ExactSolvers<typename Place::Backend>::transport, ExactOptions>(module, "exact");
}

}  // namespace ot::bindings
