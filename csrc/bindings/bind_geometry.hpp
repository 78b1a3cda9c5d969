// Cost geometries and the passes over C that involve no potentials.
#pragma once
#include "bindings/tensor.hpp"

namespace ot::bindings {

// Stored costs, row-major; `transposed` makes them those of the transpose of C.
template <class Place>
std::unique_ptr<GeometryHandle<Place>> dense(const py::object& C, double shift, bool transposed) {
  auto handle = std::make_unique<GeometryHandle<Place>>();
  const Matrix view = Place::matrix(C);
  Geometry& g = handle->view;
  g.dtype = view.dtype;
  g.n = transposed ? view.cols : view.rows;
  g.m = transposed ? view.rows : view.cols;
  g.column_major = transposed;
  g.ld = view.ld;
  g.C = view.data;
  g.shift = shift;
  handle->owner = C;
  return handle;
}

inline Cost cost_of(const std::string& name) {
  if (name == "sqeuclidean") return Cost::sqeuclidean;
  if (name == "euclidean") return Cost::euclidean;
  if (name == "cityblock") return Cost::cityblock;
  if (name == "cosine") return Cost::cosine;
  if (name == "power") return Cost::power;
  throw py::value_error("unknown cost " + name);
}

template <class Place>
std::unique_ptr<GeometryHandle<Place>> points(const py::object& x, const py::object& y, const std::string& cost,
                                              double p, typename Place::Where where) {
  auto handle = std::make_unique<GeometryHandle<Place>>();
  const Matrix from = Place::matrix(x), to = Place::matrix(y);
  Geometry& g = handle->view;
  g.kind = Kind::points;
  g.cost = cost_of(cost);
  g.p = p;
  g.dtype = from.dtype;
  if (from.dtype != to.dtype || from.cols != to.cols || from.ld != from.cols || to.ld != to.cols)
    throw py::value_error("x and y must be row-major, of one dtype and dimension");
  g.n = from.rows;
  g.m = to.rows;
  g.d = from.cols;
  Place::load_points(*handle, from, to, where);
  return handle;
}

template <class Place>
CostStats stats(const GeometryHandle<Place>& h, typename Place::Where where) {
  typename Place::Session session(where);
  return released([&] { return session.be.stats(h.view); });
}

// u_i = min_j C_ij - shift - g_j, and v_j = min_i C_ij - shift - u_i over rows of positive weight.
template <class Place>
py::tuple c_transform(const GeometryHandle<Place>& h, const Vector& g, const Vector& weight,
                      typename Place::Where where) {
  typename Place::Session session(where);
  input(g, h.view.m, "g");
  input(weight, h.view.n, "weight");
  Vector row(h.view.n), col(h.view.m);
  const auto gs = session.in(g), w = session.in(weight);
  auto r = session.out(row), c = session.out(col);
  released([&] { session.be.c_transform(h.view, gs.data(), r.data(), w.data(), c.data()); });
  r.done();
  c.done();
  return py::make_tuple(row, col);
}

// min_i C_ij - shift - f_i over rows of positive weight.
template <class Place>
Vector column_min(const GeometryHandle<Place>& h, const Vector& f, const Vector& weight, typename Place::Where where) {
  typename Place::Session session(where);
  input(f, h.view.n, "f");
  input(weight, h.view.n, "weight");
  Vector col(h.view.m);
  const auto fs = session.in(f), w = session.in(weight);
  auto c = session.out(col);
  double* row = const_cast<double*>(fs.data());  // read only where g is null
  released([&] { session.be.c_transform(h.view, nullptr, row, w.data(), c.data()); });
  c.done();
  return col;
}

// (C - shift) w
template <class Place>
Vector cost_apply(const GeometryHandle<Place>& h, const Vector& w, typename Place::Where where) {
  typename Place::Session session(where);
  input(w, h.view.m, "w");
  Vector out(h.view.n);
  const auto ws = session.in(w);
  auto o = session.out(out);
  released([&] { session.be.cost_apply(h.view, ws.data(), o.data()); });
  o.done();
  return out;
}

// The cost matrix into out (n, m), of the dtype of the costs.
template <class Place>
void cost_rows(const GeometryHandle<Place>& h, const py::object& out, typename Place::Where where) {
  const Matrix to = Place::matrix(out, true);
  if (to.rows != h.view.n || to.cols != h.view.m || to.dtype != h.view.dtype)
    throw py::value_error("out must have the shape and dtype of the costs");
  typename Place::Session session(where);
  released([&] { session.be.cost_rows(h.view, to.data, to.ld); });
  session.finish();
}

// The last argument, `where`, is the number of threads, or device, stream and allocator.
template <class Place>
void bind_geometry(py::module_& module) {
  using Handle = GeometryHandle<Place>;
  const auto where = [] { return py::arg_v(Place::kWhere, Place::anywhere()); };
  py::class_<Handle>(module, "Geometry", py::module_local()).def_property_readonly("shape", [](const Handle& h) {
    return py::make_tuple(h.view.n, h.view.m);
  });
  py::class_<CostStats>(module, "CostStats", py::module_local())
      .def_readonly("min", &CostStats::min)
      .def_readonly("max", &CostStats::max)
      .def_readonly("nan", &CostStats::nan)
      .def_readonly("neg_inf", &CostStats::neg_inf)
      .def_readonly("pos_inf", &CostStats::pos_inf)
      .def_readonly("first_bad", &CostStats::first_bad);
  module.def("dense", dense<Place>, py::arg("C"), py::arg("shift") = 0.0, py::arg("transposed") = false);
  module.def("points", points<Place>, py::arg("x"), py::arg("y"), py::arg("cost"), py::arg("p") = 2.0, where());
  module.def("stats", stats<Place>, py::arg("geometry"), where());
  module.def("c_transform", c_transform<Place>, py::arg("geometry"), py::arg("g"), py::arg("weight"), where());
  module.def("column_min", column_min<Place>, py::arg("geometry"), py::arg("f"), py::arg("weight"), where());
  module.def("cost_apply", cost_apply<Place>, py::arg("geometry"), py::arg("w"), where());
  module.def("cost_rows", cost_rows<Place>, py::arg("geometry"), py::arg("out"), where());
}

}  // namespace ot::bindings
