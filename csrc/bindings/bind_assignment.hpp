// Linear assignment, of costs on the host.
#pragma once
#include "assignment/solvers.hpp"
#include "bindings/on_cpu.hpp"

namespace ot::bindings {

template <class T>
py::array_t<T> array_of(const Array<T>& v) {
  return py::array_t<T>(static_cast<py::ssize_t>(v.size()), v.data());
}

// (columns of rows, f, g, slack, stuck rows) of dense costs with no more rows than columns.
inline py::tuple assign(const GeometryHandle<Cpu>& h) {
  if (h.view.kind != Kind::dense || h.view.n > h.view.m) throw py::value_error("C must be dense, and not tall");
  Cpu::Session session(1);
  const AssignmentResult r = released([&] { return AssignmentSolvers<cpu::Backend>::assign(session.be, h.view); });
  return py::make_tuple(array_of(r.column), array_of(r.f), array_of(r.g), r.slack, array_of(r.stuck));
}

inline void bind_assignment(py::module_& module) { module.def("assign", assign, py::arg("geometry")); }

}  // namespace ot::bindings
