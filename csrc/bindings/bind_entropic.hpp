// Entropic solvers, and the passes that read a plan from its potentials.
#pragma once
#include "bindings/tensor.hpp"
#include "solvers/newton.hpp"
#include "solvers/sinkhorn.hpp"
#include "solvers/sns.hpp"

namespace ot {
extern template class Sinkhorn<cpu::Backend>;
extern template class Newton<cpu::Backend>;
extern template class Sns<cpu::Backend>;
}  // namespace ot

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
struct Solve {
  const GeometryHandle& h;
  Problem problem;
  Limits limits;
  double *phi, *psi;
  int threads;
  Recorder recorder;

  Solve(const GeometryHandle& geometry, const Vector& a, const Vector& b, double reg, double range, Vector& f,
        Vector& g, double tol, index max_iter, double time_limit, int thread_count, py::object callback)
      : h(geometry),
        problem{h.view, input(a, h.view.n, "a"), input(b, h.view.m, "b"), reg, range, INFINITY, false},
        limits{tol, max_iter, time_limit},
        phi(output(f, h.view.n, "phi")),
        psi(output(g, h.view.m, "psi")),
        threads(thread_count),
        recorder{std::move(callback), {}} {}

  // run(backend, monitor) without the GIL.
  template <class F>
  py::dict operator()(F&& run) {
    const Monitor monitor = recorder.monitor();
    auto be = backend(threads);
    const Outcome out = released([&] { return run(be, monitor); });
    py::dict d;
    d["status"] = name(out.status);
    d["n_iter"] = out.n_iter;
    d["error"] = out.error;
    d["dual_value"] = out.dual;
    d["message"] = out.message;
    d["history"] = recorder.history();
    return d;
  }
};

inline py::dict sinkhorn(const GeometryHandle& h, const Vector& a, const Vector& b, double reg, double range,
                         Vector phi, Vector psi, double tol, index max_iter, double time_limit, int threads,
                         py::object callback, bool newton, const std::string& kernel, double start, double rho,
                         bool symmetric) {
  Solve solve(h, a, b, reg, range, phi, psi, tol, max_iter, time_limit, threads, std::move(callback));
  solve.problem.rho = rho;
  solve.problem.symmetric = symmetric;
  const auto storage = kernel == "float64" ? Precision::f64 : Precision::f32;
  const auto domain = kernel == "none" ? SinkhornMethod::log : SinkhornMethod::scaling;
  const SinkhornOptions options{solve.limits, domain, storage, start};
  return solve([&](cpu::Backend& be, const Monitor& monitor) {
    if (newton) return Newton<cpu::Backend>(be, solve.problem, options, monitor).solve(solve.phi, solve.psi);
    return Sinkhorn<cpu::Backend>(be, solve.problem, options, monitor).solve(solve.phi, solve.psi);
  });
}

inline py::dict sns(const GeometryHandle& h, const Vector& a, const Vector& b, double reg, double range, Vector phi,
                    Vector psi, double tol, index max_iter, double time_limit, int threads, py::object callback,
                    index steps, double density) {
  Solve solve(h, a, b, reg, range, phi, psi, tol, max_iter, time_limit, threads, std::move(callback));
  index newton_steps = 0;
  py::dict d = solve([&](cpu::Backend& be, const Monitor& monitor) {
    Sns<cpu::Backend> solver(be, solve.problem, {solve.limits, steps, density}, monitor);
    const Outcome out = solver.solve(solve.phi, solve.psi);
    newton_steps = solver.newton_steps;
    return out;
  });
  d["newton_steps"] = newton_steps;
  return d;
}

inline Pass reading(const GeometryHandle& h, const Vector& a, double reg, const Vector& phi, const Vector& hpsi,
                    bool f64) {
  Pass p;
  p.reg = reg;
  p.a = input(a, h.view.n, "a");
  p.h = input(hpsi, h.view.m, "h");
  p.phi = const_cast<double*>(input(phi, h.view.n, "phi"));
  p.precision = f64 ? Precision::f64 : Precision::f32;
  return p;
}

inline void bind_entropic(py::module_& module) {
  module.def("sinkhorn", sinkhorn, py::arg("geometry"), py::arg("a"), py::arg("b"), py::arg("reg"), py::arg("range"),
             py::arg("phi"), py::arg("psi"), py::arg("tol"), py::arg("max_iter"), py::arg("time_limit"),
             py::arg("threads"), py::arg("callback"), py::kw_only(), py::arg("newton"), py::arg("kernel"),
             py::arg("start"), py::arg("rho") = INFINITY, py::arg("symmetric") = false);
  module.def("sns", sns, py::arg("geometry"), py::arg("a"), py::arg("b"), py::arg("reg"), py::arg("range"),
             py::arg("phi"), py::arg("psi"), py::arg("tol"), py::arg("max_iter"), py::arg("time_limit"),
             py::arg("threads"), py::arg("callback"), py::kw_only(), py::arg("steps"), py::arg("density"));

  // Row sums and column sums of the plan, and sum_j P_ij (C_ij - shift) by row, in one pass.
  module.def(
      "marginals",
      [](const GeometryHandle& h, const Vector& a, double reg, const Vector& phi, const Vector& hpsi, bool f64,
         int threads) {
        auto be = backend(threads);
        Vector row(h.view.n), col(h.view.m), cost(h.view.n);
        Pass p = reading(h, a, reg, phi, hpsi, f64);
        p.row = row.mutable_data();
        p.col = col.mutable_data();
        p.cost = cost.mutable_data();
        released([&] { be.pass(h.view, p); });
        return py::make_tuple(row, col, cost);
      },
      py::arg("geometry"), py::arg("a"), py::arg("reg"), py::arg("phi"), py::arg("h"), py::arg("f64"),
      py::arg("threads") = 0);

  // One exact row update (damped where rho is finite) of phi, the column sums of that plan, and its gradient in the
  // row points, (n, d): all from one pass.
  module.def(
      "gradient",
      [](const GeometryHandle& h, const Vector& a, double reg, Vector phi, const Vector& hpsi, double rho,
         int threads) {
        if (h.view.kind != Kind::points) throw py::value_error("gradients in points need points");
        auto be = backend(threads);
        Vector col(h.view.m), gradient({h.view.n, h.view.d});
        Pass p = reading(h, a, reg, phi, hpsi, true);
        p.update = true;
        p.damp = std::isinf(rho) ? 1 : rho / (rho + reg);
        p.col = col.mutable_data();
        p.gradient = gradient.mutable_data();
        released([&] { be.pass(h.view, p); });
        return py::make_tuple(col, gradient);
      },
      py::arg("geometry"), py::arg("a"), py::arg("reg"), py::arg("phi"), py::arg("h"), py::arg("rho"),
      py::arg("threads") = 0);

  // phi_i = -log sum_j exp(h_j - (C_ij - shift)/reg): the row potentials that belong to h.
  module.def(
      "softmin",
      [](const GeometryHandle& h, double reg, const Vector& hpsi, int threads) {
        auto be = backend(threads);
        Vector phi(h.view.n), ones(h.view.n);
        std::fill(phi.mutable_data(), phi.mutable_data() + h.view.n, NAN);
        std::fill(ones.mutable_data(), ones.mutable_data() + h.view.n, 1.0);
        Pass p = reading(h, ones, reg, phi, hpsi, true);
        p.update = true;
        released([&] { be.pass(h.view, p); });
        return phi;
      },
      py::arg("geometry"), py::arg("reg"), py::arg("h"), py::arg("threads") = 0);

  module.def(
      "plan_rows",
      [](const GeometryHandle& h, const Vector& a, double reg, const Vector& phi, const Vector& hpsi, index first,
         index last, py::array out, int threads) {
        const bool f64 = dtype_of(out) == DType::f64;
        if (first < 0 || last < first || last > h.view.n || out.ndim() != 2 || out.shape(0) != last - first ||
            out.shape(1) != h.view.m || !(out.flags() & py::array::c_style))
          throw py::value_error("out must be row-major of shape (last - first, m)");
        auto be = backend(threads);
        const Pass p = reading(h, a, reg, phi, hpsi, f64);
        void* o = out.mutable_data();
        released([&] { be.plan_rows(h.view, p, first, last, o, h.view.m); });
      },
      py::arg("geometry"), py::arg("a"), py::arg("reg"), py::arg("phi"), py::arg("h"), py::arg("first"),
      py::arg("last"), py::arg("out"), py::arg("threads") = 0);

  // P V' for V (k, m), or P'V' for V (k, n) with columns: (k, n) or (k, m).
  module.def(
      "apply_plan",
      [](const GeometryHandle& h, const Vector& a, double reg, const Vector& phi, const Vector& hpsi, const Vector& V,
         bool columns, int threads) {
        if (V.ndim() != 2 || V.shape(1) != (columns ? h.view.n : h.view.m))
          throw py::value_error("V has the wrong shape");
        auto be = backend(threads);
        const Pass p = reading(h, a, reg, phi, hpsi, true);
        const index k = V.shape(0);
        Vector out({k, columns ? h.view.m : h.view.n});
        double* o = out.mutable_data();
        released([&] { be.apply_plan(h.view, p, V.data(), k, columns, o); });
        return out;
      },
      py::arg("geometry"), py::arg("a"), py::arg("reg"), py::arg("phi"), py::arg("h"), py::arg("V"), py::arg("columns"),
      py::arg("threads") = 0);
}

}  // namespace ot::bindings
