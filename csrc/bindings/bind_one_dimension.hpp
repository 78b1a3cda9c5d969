// Transport in one dimension, on the host.
#pragma once
#include <optional>

#include "bindings/on_cpu.hpp"
#include "one_dimension/solvers.hpp"

namespace ot::bindings {

using Weights = std::optional<py::array_t<double>>;

// Points (batch, size) and their weights of the same shape, or none; a stride of 0 repeats a row.
inline Measures measures(const py::object& points, const Weights& weights, index batch) {
  const Matrix v = Cpu::matrix(points);
  Measures out{.dtype = v.dtype, .points = v.data, .size = v.cols, .stride = v.ld};
  if (v.rows != batch || v.cols == 0 || v.cols > index{INT32_MAX})
    throw py::value_error("points must be (batch, size)");
  if (!weights) return out;
  const Matrix w = Cpu::matrix(*weights);
  if (w.rows != v.rows || w.cols != v.cols) throw py::value_error("weights must have the shape of the points");
  out.weights = static_cast<const double*>(w.data);
  out.weight_stride = w.ld;
  return out;
}

using Solve1d = OneDimensionSolvers<cpu::Backend>;

// (distance (batch), dW/dx, dW/dy, dW/da, dW/db); derivatives only where they are asked for.
inline py::tuple distances_1d(const py::object& x, const py::object& y, const Weights& a, const Weights& b, double p,
                              double period, bool point_gradients, bool weight_gradients, int threads) {
  const index batch = Cpu::matrix(x).rows;
  const Measures from = measures(x, a, batch), to = measures(y, b, batch);
  Vector distance(batch);
  const auto gradient = [&](bool wanted, index size) { return wanted ? Vector({batch, size}) : Vector(index{0}); };
  Vector gx = gradient(point_gradients, from.size), gy = gradient(point_gradients, to.size);
  Vector ga = gradient(weight_gradients, from.size), gb = gradient(weight_gradients, to.size);
  OneDimensionResult result{.distance = distance.mutable_data()};
  if (point_gradients) result.gradient_x = gx.mutable_data(), result.gradient_y = gy.mutable_data();
  if (weight_gradients) result.gradient_a = ga.mutable_data(), result.gradient_b = gb.mutable_data();
  Cpu::Session session(threads);
  released([&] { Solve1d::distances(session.be, from, to, batch, {.p = p, .period = period}, result); });
  return py::make_tuple(distance, gx, gy, ga, gb);
}

// (begin of rows, columns, masses) of the plan between two measures, (1, n) and (1, m).
inline py::tuple plan_1d(const py::object& x, const py::object& y, const Weights& a, const Weights& b, double p,
                         double period, int threads) {
  const Measures from = measures(x, a, 1), to = measures(y, b, 1);
  const index most = from.size + to.size - 1;
  py::array_t<index> begin(from.size + 1);
  py::array_t<std::int32_t> column(most);
  Vector mass(most);
  const PlanRows plan{.begin = begin.mutable_data(), .column = column.mutable_data(), .mass = mass.mutable_data()};
  Cpu::Session session(threads);
  released([&] { Solve1d::plan(session.be, from, to, {.p = p, .period = period}, plan); });
  const py::slice found(0, plan.begin[from.size], 1);
  return py::make_tuple(begin, column[found], mass[found]);
}

inline void bind_one_dimension(py::module_& module) {
  module.def("distances_1d", distances_1d, py::arg("x"), py::arg("y"), py::arg("a"), py::arg("b"), py::arg("p"),
             py::arg("period"), py::arg("point_gradients"), py::arg("weight_gradients"), py::arg("threads"));
  module.def("plan_1d", plan_1d, py::arg("x"), py::arg("y"), py::arg("a"), py::arg("b"), py::arg("p"),
             py::arg("period"), py::arg("threads"));
}

}  // namespace ot::bindings
