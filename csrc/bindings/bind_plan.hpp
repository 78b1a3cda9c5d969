// Passes that read a plan from its potentials, P_ij = a_i exp(phi_i + h_j - (C_ij - shift)/reg).
#pragma once
#include <algorithm>

#include "bindings/tensor.hpp"
#include "core/backend.hpp"

namespace ot::bindings {

template <class Place>
struct PlanHandle {
  py::object owner;  // keeps the geometry alive
  const GeometryHandle<Place>* geometry;
  Vector a, phi, h;
  double reg;

  PlanHandle(const py::object& geo, const Vector& weights, double reg_of_plan, const Vector& f, const Vector& hv)
      : owner(geo), geometry(py::cast<const GeometryHandle<Place>*>(geo)), a(weights), phi(f), h(hv), reg(reg_of_plan) {
    input(a, geometry->view.n, "a");
    input(phi, geometry->view.n, "phi");
    input(h, geometry->view.m, "h");
  }
};

// A pass over the costs of a plan, its vectors where the backend reads them.
template <class Place>
struct Reading {
  const Geometry& geo;
  typename Place::Session session;
  typename Place::In a, phi, h;
  Pass pass;

  Reading(const PlanHandle<Place>& plan, Precision precision, typename Place::Where where)
      : geo(plan.geometry->view),
        session(where),
        a(session.in(plan.a)),
        phi(session.in(plan.phi)),
        h(session.in(plan.h)) {
    pass.reg = plan.reg;
    pass.a = a.data();
    pass.h = h.data();
    pass.phi = const_cast<double*>(phi.data());  // read only without update
    pass.precision = precision;
  }
};

inline Precision precision_of(bool f64) { return f64 ? Precision::f64 : Precision::f32; }

// In one pass: sum_j e_ij by row, the column sums of the plan, and sum_j e_ij (C_ij - shift) by row, where P_ij = a_i
// e_ij.
template <class Place>
py::tuple marginals(const PlanHandle<Place>& plan, bool f64, typename Place::Where where) {
  Reading<Place> r(plan, precision_of(f64), where);
  Vector row(r.geo.n), col(r.geo.m), cost(r.geo.n);
  auto s = r.session.out(row), c = r.session.out(col), x = r.session.out(cost);
  r.pass.row = s.data();
  r.pass.col = c.data();
  r.pass.cost = x.data();
  released([&] { r.session.be.pass(r.geo, r.pass); });
  s.done();
  c.done();
  x.done();
  return py::make_tuple(row, col, cost);
}

// One exact row update (damped where rho is finite) into phi, and the gradient of that plan in the row points into
// out (n, d): one pass. The plan's own phi stays.
template <class Place>
void gradient(const PlanHandle<Place>& plan, double rho, Vector phi, const py::object& out,
              typename Place::Where where) {
  Reading<Place> r(plan, Precision::f64, where);
  if (r.geo.kind != Kind::points) throw py::value_error("gradients in points need points");
  const Matrix to = Place::matrix(out, true);
  if (to.dtype != DType::f64 || to.rows != r.geo.n || to.cols != r.geo.d || to.ld != to.cols)
    throw py::value_error("out must be row-major float64 of shape (n, d)");
  Vector col(r.geo.m);
  std::copy_n(plan.phi.data(), r.geo.n, checked(phi, r.geo.n, "phi").mutable_data());
  auto f = r.session.in_out(phi), c = r.session.out(col);
  r.pass.phi = f.data();
  r.pass.update = true;
  r.pass.damp = std::isinf(rho) ? 1 : rho / (rho + plan.reg);
  r.pass.col = c.data();
  r.pass.gradient = static_cast<double*>(to.data);
  released([&] { r.session.be.pass(r.geo, r.pass); });
  f.done();
  r.session.finish();
}

// phi_i = -log sum_j exp(h_j - (C_ij - shift)/reg): the row potentials that belong to h.
template <class Place>
Vector softmin(const py::object& geometry, double reg, const Vector& h, typename Place::Where where) {
  const index n = py::cast<const GeometryHandle<Place>*>(geometry)->view.n;
  Vector phi(n), ones(n);
  std::fill_n(phi.mutable_data(), n, NAN);
  std::fill_n(ones.mutable_data(), n, 1.0);
  const PlanHandle<Place> plan(geometry, ones, reg, phi, h);
  Reading<Place> r(plan, Precision::f64, where);
  auto f = r.session.in_out(phi);
  r.pass.phi = f.data();
  r.pass.update = true;
  released([&] { r.session.be.pass(r.geo, r.pass); });
  f.done();
  return phi;
}

// Rows [first, last) of the plan into out, in its dtype.
template <class Place>
void plan_rows(const PlanHandle<Place>& plan, index first, index last, const py::object& out,
               typename Place::Where where) {
  const Matrix to = Place::matrix(out, true);
  Reading<Place> r(plan, precision_of(to.dtype == DType::f64), where);
  if (first < 0 || last < first || last > r.geo.n || to.rows != last - first || to.cols != r.geo.m || to.ld != to.cols)
    throw py::value_error("out must be row-major of shape (last - first, m)");
  released([&] { r.session.be.plan_rows(r.geo, r.pass, first, last, to.data, to.ld); });
  r.session.finish();
}

// V P' (k, n) for V (k, m); with columns, V P (k, m) for V (k, n).
template <class Place>
Vector apply_plan(const PlanHandle<Place>& plan, const Vector& V, bool columns, typename Place::Where where) {
  Reading<Place> r(plan, Precision::f64, where);
  if (V.ndim() != 2 || V.shape(1) != (columns ? r.geo.n : r.geo.m)) throw py::value_error("V has the wrong shape");
  const index k = V.shape(0);
  Vector out({k, columns ? r.geo.m : r.geo.n});
  const auto v = r.session.in(V);
  auto o = r.session.out(out);
  released([&] { r.session.be.apply_plan(r.geo, r.pass, v.data(), k, columns, o.data()); });
  o.done();
  return out;
}

template <class Place>
void bind_plan(py::module_& module) {
  static_assert(PlanReads<typename Place::Backend>);
  const auto where = [] { return py::arg_v(Place::kWhere, Place::anywhere()); };
  py::class_<PlanHandle<Place>>(module, "Plan", py::module_local())
      .def(py::init<const py::object&, const Vector&, double, const Vector&, const Vector&>(), py::arg("geometry"),
           py::arg("a"), py::arg("reg"), py::arg("phi"), py::arg("h"));
  module.def("marginals", marginals<Place>, py::arg("plan"), py::arg("f64"), where());
  module.def("gradient", gradient<Place>, py::arg("plan"), py::arg("rho"), py::arg("phi"), py::arg("out"), where());
  module.def("softmin", softmin<Place>, py::arg("geometry"), py::arg("reg"), py::arg("h"), where());
  module.def("plan_rows", plan_rows<Place>, py::arg("plan"), py::arg("first"), py::arg("last"), py::arg("out"),
             where());
  module.def("apply_plan", apply_plan<Place>, py::arg("plan"), py::arg("V"), py::arg("columns"), where());
}

}  // namespace ot::bindings
