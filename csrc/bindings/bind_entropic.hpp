// Entropic solvers, and the passes that read a plan from its potentials.
#pragma once
#include "bindings/tensor.hpp"
#include "solvers/all.hpp"

namespace ot::bindings {

inline const char* name(Status s) {
  switch (s) {
    case Status::converged: return "converged";
    case Status::max_iter: return "max_iter";
    case Status::time_limit: return "time_limit";
    default: return "stalled";
  }
}

// The history of a solve, and the caller's callback.
struct Recorder {
  py::object callback;
  std::vector<Progress> lines;

  Monitor monitor() {
    return {signals_pending, [this](const Progress& p) {
              lines.push_back(p);
              if (callback.is_none()) return;
              py::gil_scoped_acquire gil;
              py::dict d;
              d["n_iter"] = p.n_iter;
              d["reg"] = p.reg;
              d["error"] = p.error;
              d["dual_value"] = p.dual_value;
              d["elapsed"] = p.elapsed;
              callback(d);
            }};
  }

  py::dict history() const {
    const auto column = [&](auto get) {
      Vector v(static_cast<py::ssize_t>(lines.size()));
      for (std::size_t k = 0; k < lines.size(); ++k) v.mutable_data()[k] = static_cast<double>(get(lines[k]));
      return v;
    };
    py::dict d;
    d["n_iter"] = column([](const Progress& p) { return p.n_iter; });
    d["reg"] = column([](const Progress& p) { return p.reg; });
    d["error"] = column([](const Progress& p) { return p.error; });
    d["dual_value"] = column([](const Progress& p) { return p.dual_value; });
    d["elapsed"] = column([](const Progress& p) { return p.elapsed; });
    return d;
  }
};

// Potentials phi and psi are the start (NaN in phi: unknown) and the result, in units of reg.
template <class Place>
struct Solve {
  typename Place::Session session;
  typename Place::In a, b;
  typename Place::Out phi, psi;
  Problem problem;
  Limits limits;
  Recorder recorder;

  Solve(const GeometryHandle<Place>& h, const Vector& av, const Vector& bv, double reg, double range, Vector& f,
        Vector& g, double tol, index max_iter, double time_limit, typename Place::Where where, py::object callback)
      : session(where),
        a((input(av, h.view.n, "a"), session.in(av))),
        b((input(bv, h.view.m, "b"), session.in(bv))),
        phi((input(f, h.view.n, "phi"), session.in_out(f))),
        psi((input(g, h.view.m, "psi"), session.in_out(g))),
        problem{h.view, a.data(), b.data(), reg, range, INFINITY, false},
        limits{tol, max_iter, time_limit},
        recorder{std::move(callback), {}} {}

  // run(backend, monitor) without the GIL.
  template <class F>
  py::dict operator()(F&& run) {
    const Monitor monitor = recorder.monitor();
    const Outcome out = released([&] { return run(session.be, monitor); });
    phi.done();
    psi.done();
    py::dict d;
    d["status"] = name(out.status);
    d["n_iter"] = out.n_iter;
    d["error"] = out.error;
    d["dual_value"] = out.dual;
    d["newton"] = out.newton;
    d["message"] = out.message;
    d["history"] = recorder.history();
    return d;
  }
};

template <class Place>
py::dict sinkhorn(const GeometryHandle<Place>& h, const Vector& a, const Vector& b, double reg, double range,
                  Vector phi, Vector psi, double tol, index max_iter, double time_limit, typename Place::Where where,
                  py::object callback, bool newton, const std::string& kernel, double start, double rho,
                  bool symmetric) {
  Solve<Place> solve(h, a, b, reg, range, phi, psi, tol, max_iter, time_limit, where, std::move(callback));
  solve.problem.rho = rho;
  solve.problem.symmetric = symmetric;
  const auto storage = kernel == "float64" ? Precision::f64 : Precision::f32;
  const auto domain = kernel == "none" ? SinkhornMethod::log : SinkhornMethod::scaling;
  const SinkhornOptions options{solve.limits, domain, storage, start};
  return solve([&](auto& be, const Monitor& monitor) {
    using All = Solvers<typename Place::Backend>;
    const auto run = newton ? All::newton : All::sinkhorn;
    return run(be, solve.problem, options, monitor, solve.phi.data(), solve.psi.data());
  });
}

template <class Place>
py::dict sns(const GeometryHandle<Place>& h, const Vector& a, const Vector& b, double reg, double range, Vector phi,
             Vector psi, double tol, index max_iter, double time_limit, typename Place::Where where,
             py::object callback, index steps, double density) {
  Solve<Place> solve(h, a, b, reg, range, phi, psi, tol, max_iter, time_limit, where, std::move(callback));
  index newton_steps = 0;
  py::dict d = solve([&](auto& be, const Monitor& monitor) {
    return Solvers<typename Place::Backend>::sns(be, solve.problem, {solve.limits, steps, density}, monitor,
                                                 solve.phi.data(), solve.psi.data(), newton_steps);
  });
  d["newton_steps"] = newton_steps;
  return d;
}

// The pass that reads a plan from its potentials.
template <class Place>
struct Reading {
  typename Place::Session session;
  typename Place::In a, phi, h;
  Pass pass;

  Reading(const GeometryHandle<Place>& geometry, const Vector& av, double reg, const Vector& f, const Vector& hv,
          bool f64, typename Place::Where where)
      : session(where),
        a((input(av, geometry.view.n, "a"), session.in(av))),
        phi((input(f, geometry.view.n, "phi"), session.in(f))),
        h((input(hv, geometry.view.m, "h"), session.in(hv))) {
    pass.reg = reg;
    pass.a = a.data();
    pass.h = h.data();
    pass.phi = const_cast<double*>(phi.data());
    pass.precision = f64 ? Precision::f64 : Precision::f32;
  }
};

template <class Place>
void bind_entropic(py::module_& module) {
  using Handle = GeometryHandle<Place>;
  using Where = typename Place::Where;
  const auto where = [] { return py::arg_v(Place::kWhere, Place::anywhere()); };
  module.def("sinkhorn", sinkhorn<Place>, py::arg("geometry"), py::arg("a"), py::arg("b"), py::arg("reg"),
             py::arg("range"), py::arg("phi"), py::arg("psi"), py::arg("tol"), py::arg("max_iter"),
             py::arg("time_limit"), py::arg(Place::kWhere), py::arg("callback"), py::kw_only(), py::arg("newton"),
             py::arg("kernel"), py::arg("start"), py::arg("rho") = INFINITY, py::arg("symmetric") = false);
  module.def("sns", sns<Place>, py::arg("geometry"), py::arg("a"), py::arg("b"), py::arg("reg"), py::arg("range"),
             py::arg("phi"), py::arg("psi"), py::arg("tol"), py::arg("max_iter"), py::arg("time_limit"),
             py::arg(Place::kWhere), py::arg("callback"), py::kw_only(), py::arg("steps"), py::arg("density"));

  // Row sums and column sums of the plan, and sum_j P_ij (C_ij - shift) by row, in one pass.
  module.def(
      "marginals",
      [](const Handle& h, const Vector& a, double reg, const Vector& phi, const Vector& hpsi, bool f64, Where place) {
        Reading<Place> reading(h, a, reg, phi, hpsi, f64, place);
        Vector row(h.view.n), col(h.view.m), cost(h.view.n);
        auto r = reading.session.out(row), c = reading.session.out(col), x = reading.session.out(cost);
        reading.pass.row = r.data();
        reading.pass.col = c.data();
        reading.pass.cost = x.data();
        released([&] { reading.session.be.pass(h.view, reading.pass); });
        r.done();
        c.done();
        x.done();
        return py::make_tuple(row, col, cost);
      },
      py::arg("geometry"), py::arg("a"), py::arg("reg"), py::arg("phi"), py::arg("h"), py::arg("f64"), where());

  // One exact row update (damped where rho is finite) of phi, the column sums of that plan, and its gradient in the
  // row points into out (n, d): all from one pass.
  module.def(
      "gradient",
      [](const Handle& h, const Vector& a, double reg, Vector phi, const Vector& hpsi, double rho,
         const py::object& out, Where place) {
        if (h.view.kind != Kind::points) throw py::value_error("gradients in points need points");
        const Matrix to = Place::matrix(out, true);
        if (to.dtype != DType::f64 || to.rows != h.view.n || to.cols != h.view.d || to.ld != to.cols)
          throw py::value_error("out must be row-major float64 of shape (n, d)");
        Reading<Place> reading(h, a, reg, phi, hpsi, true, place);
        Vector col(h.view.m);
        auto f = reading.session.in_out(phi), c = reading.session.out(col);
        reading.pass.phi = f.data();
        reading.pass.update = true;
        reading.pass.damp = std::isinf(rho) ? 1 : rho / (rho + reg);
        reading.pass.col = c.data();
        reading.pass.gradient = static_cast<double*>(to.data);
        released([&] { reading.session.be.pass(h.view, reading.pass); });
        f.done();
        c.done();
        reading.session.finish();
        return col;
      },
      py::arg("geometry"), py::arg("a"), py::arg("reg"), py::arg("phi"), py::arg("h"), py::arg("rho"), py::arg("out"),
      where());

  // phi_i = -log sum_j exp(h_j - (C_ij - shift)/reg): the row potentials that belong to h.
  module.def(
      "softmin",
      [](const Handle& h, double reg, const Vector& hpsi, Where place) {
        Vector unknown(h.view.n), ones(h.view.n), phi(h.view.n);
        std::fill(unknown.mutable_data(), unknown.mutable_data() + h.view.n, NAN);
        std::fill(ones.mutable_data(), ones.mutable_data() + h.view.n, 1.0);
        Reading<Place> reading(h, ones, reg, unknown, hpsi, true, place);
        std::fill(phi.mutable_data(), phi.mutable_data() + h.view.n, NAN);
        auto out = reading.session.in_out(phi);
        reading.pass.phi = out.data();
        reading.pass.update = true;
        released([&] { reading.session.be.pass(h.view, reading.pass); });
        out.done();
        return phi;
      },
      py::arg("geometry"), py::arg("reg"), py::arg("h"), where());

  // Rows [first, last) of the plan into out.
  module.def(
      "plan_rows",
      [](const Handle& h, const Vector& a, double reg, const Vector& phi, const Vector& hpsi, index first, index last,
         const py::object& out, Where place) {
        const Matrix to = Place::matrix(out, true);
        if (first < 0 || last < first || last > h.view.n || to.rows != last - first || to.cols != h.view.m ||
            to.ld != to.cols)
          throw py::value_error("out must be row-major of shape (last - first, m)");
        Reading<Place> reading(h, a, reg, phi, hpsi, to.dtype == DType::f64, place);
        released([&] { reading.session.be.plan_rows(h.view, reading.pass, first, last, to.data, to.ld); });
        reading.session.finish();
      },
      py::arg("geometry"), py::arg("a"), py::arg("reg"), py::arg("phi"), py::arg("h"), py::arg("first"),
      py::arg("last"), py::arg("out"), where());

  // P V' for V (k, m), or P'V' for V (k, n) with columns: (k, n) or (k, m).
  module.def(
      "apply_plan",
      [](const Handle& h, const Vector& a, double reg, const Vector& phi, const Vector& hpsi, const Vector& V,
         bool columns, Where place) {
        if (V.ndim() != 2 || V.shape(1) != (columns ? h.view.n : h.view.m))
          throw py::value_error("V has the wrong shape");
        Reading<Place> reading(h, a, reg, phi, hpsi, true, place);
        const index k = V.shape(0);
        Vector out({k, columns ? h.view.m : h.view.n});
        const auto v = reading.session.in(V);
        auto o = reading.session.out(out);
        released([&] { reading.session.be.apply_plan(h.view, reading.pass, v.data(), k, columns, o.data()); });
        o.done();
        return out;
      },
      py::arg("geometry"), py::arg("a"), py::arg("reg"), py::arg("phi"), py::arg("h"), py::arg("V"), py::arg("columns"),
      where());
}

}  // namespace ot::bindings
