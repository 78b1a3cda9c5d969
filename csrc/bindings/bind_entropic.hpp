// The entropic solvers: start and result are phi = f/reg (NaN: unknown) and psi = g/reg.
#pragma once
#include <optional>

#include "bindings/bind_solve.hpp"
#include "entropic/solvers.hpp"

namespace ot::bindings {

inline SinkhornOptions sinkhorn_options(const Limits& limits, const std::optional<std::string>& kernel, double start,
                                        double rho, bool symmetric) {
  return {.limits = limits,
          .domain = kernel ? Domain::kernel : Domain::log,
          .kernel = kernel == "float64" ? Precision::f64 : Precision::f32,
          .start = start,
          .marginals = {.rho = rho, .symmetric = symmetric}};
}

template <class Place>
void bind_entropic(py::module_& module) {
  using Held = Recorded<EntropicOutcome>;
  py::class_<Held> outcome(module, "EntropicOutcome", py::module_local());
  bind_outcome(outcome);
  outcome.def_property_readonly("reg", [](const Held& r) { return r.result.reg; })
      .def_property_readonly("newton", [](const Held& r) { return r.result.newton; })
      .def_property_readonly("newton_steps", [](const Held& r) { return r.result.newton_steps; });

  py::class_<SinkhornOptions>(module, "SinkhornOptions", py::module_local())
      .def(py::init(&sinkhorn_options), py::arg("limits"), py::kw_only(), py::arg("kernel") = py::none(),
           py::arg("start") = 0.0, py::arg("rho") = INFINITY, py::arg("symmetric") = false);
  py::class_<SnsOptions>(module, "SnsOptions", py::module_local())
      .def(py::init([](const Limits& limits, index steps, double density) {
             return SnsOptions{.limits = limits, .sinkhorn_steps = steps, .density = density};
           }),
           py::arg("limits"), py::kw_only(), py::arg("steps"), py::arg("density"));

  using Solvers = EntropicSolvers<typename Place::Backend>;
  bind_solver<Place, &Solvers::sinkhorn, SinkhornOptions>(module, "sinkhorn");
  bind_solver<Place, &Solvers::newton, SinkhornOptions>(module, "newton");
  bind_solver<Place, &Solvers::sns, SnsOptions>(module, "sns");
  const auto resolved_reg = [](const ProblemHandle<Place>& p, Vector phi, Vector psi, typename Place::Where where) {
    const Geometry& geo = p.geometry->view;
    typename Place::Session session(where);
    const auto a = session.in(p.a), b = session.in(p.b);
    auto f = session.in_out(checked(phi, geo.n, "phi")), g = session.in_out(checked(psi, geo.m, "psi"));
    const Problem problem{.geo = geo, .a = a.data(), .b = b.data(), .reg = p.reg, .range = p.range};
    const double reg = Solvers::resolved_reg(session.be, problem, {.rows = f.data(), .columns = g.data()});
    f.done();
    g.done();
    return reg;
  };
  module.def("resolved_reg", resolved_reg, py::arg("problem"), py::arg("phi"), py::arg("psi"), py::arg(Place::kWhere));
}

}  // namespace ot::bindings
