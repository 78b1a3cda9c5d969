// Pairs of least reduced cost, and flows on them.
#pragma once
#include <limits>

#include "bindings/tensor.hpp"
#include "core/backend.hpp"
#include "flow/solvers.hpp"

namespace ot::bindings {

template <class T>
py::array_t<T> copied(index size, const T* data) {
  return py::array_t<T>(static_cast<py::ssize_t>(size), data);
}

// Pairs with C_ij - shift - f_i - g_j < margin by rows, on the host: offsets, columns and costs C_ij - shift. None
// where they are more than the limit. -inf in f and g leaves a row or a column out.
template <class Place>
py::object cheap_pairs(const GeometryHandle<Place>& h, const Vector& f, const Vector& g, double margin, index limit,
                       typename Place::Where where) {
  typename Place::Session session(where);
  input(f, h.view.n, "f");
  input(g, h.view.m, "g");
  Candidates found;
  released([&] { session.be.candidates(h.view, f.data(), g.data(), margin, limit, found); });
  if (found.overflow) return py::none();
  return py::make_tuple(copied(h.view.n + 1, found.begin.data()), copied(found.nnz, found.idx.data()),
                        copied(found.nnz, found.cost.data()));
}

template <class Place>
void bind_pairs(py::module_& module) {
  module.def("cheap_pairs", cheap_pairs<Place>, py::arg("geometry"), py::arg("f"), py::arg("g"), py::arg("margin"),
             py::arg("limit"), py::arg_v(Place::kWhere, Place::anywhere()));
}

using Indices = py::array_t<std::int32_t, py::array::c_style>;

// What completes a plan at least cost on arcs (row, col): flow by arc, and what rows and columns still miss.
inline py::tuple complete_plan(const Vector& missing_a, const Vector& missing_b, const Indices& row, const Indices& col,
                               const Vector& cost, const Vector& held) {
  const index count = row.size();
  input(cost, count, "cost");
  input(held, count, "held");
  if (col.size() != count) throw py::value_error("row and col must have one size");
  const FlowSides missing{
      .rows = missing_a.size(), .columns = missing_b.size(), .a = missing_a.data(), .b = missing_b.data()};
  Array<FlowArc> arcs(count);
  for (index e = 0; e < count; ++e) {
    arcs[e] = {.row = row.data()[e], .col = col.data()[e], .cost = cost.data()[e]};
    if (arcs[e].row < 0 || arcs[e].row >= missing.rows || arcs[e].col < 0 || arcs[e].col >= missing.columns)
      throw py::value_error("an arc is out of range");
  }
  const Completion done = released([&] { return complete(missing, arcs, held.data(), signals_pending); });
  return py::make_tuple(copied(count, done.flow.data()), copied(missing.rows, done.rows.data()),
                        copied(missing.columns, done.columns.data()));
}

inline void bind_completion(py::module_& module) {
  module.def("complete_plan", complete_plan, py::arg("missing_a"), py::arg("missing_b"), py::arg("row"), py::arg("col"),
             py::arg("cost"), py::arg("held"));
}

}  // namespace ot::bindings
