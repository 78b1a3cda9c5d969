// What every solver is given and returns: a problem, limits, an outcome with its history.
#pragma once
#include <utility>
#include <vector>

#include "bindings/tensor.hpp"
#include "core/problem.hpp"

namespace ot::bindings {

inline const char* name(Status s) {
  switch (s) {
    case Status::converged: return "converged";
    case Status::max_iter: return "max_iter";
    case Status::time_limit: return "time_limit";
    case Status::unresolved: return "unresolved";
    default: return "stalled";
  }
}

// A problem whose vectors are the caller's.
template <class Place>
struct ProblemHandle {
  py::object owner;  // keeps the geometry alive
  const GeometryHandle<Place>* geometry;
  Vector a, b;
  double reg, range;
};

// The history of a solve, and the caller's callback.
class Recorder {
 public:
  explicit Recorder(py::object callback) : callback_(std::move(callback)) {}

  Monitor monitor() {
    return {signals_pending, [this](const Progress& p) {
              lines_.push_back(p);
              if (callback_.is_none()) return;
              py::gil_scoped_acquire gil;
              py::dict d;
              d["n_iter"] = p.n_iter;
              d["reg"] = p.reg;
              d["error"] = p.error;
              d["dual_value"] = p.dual_value;
              d["elapsed"] = p.elapsed;
              callback_(d);
            }};
  }

  py::dict history() const {
    const auto column = [&](auto get) {
      Vector v(static_cast<py::ssize_t>(lines_.size()));
      for (std::size_t k = 0; k < lines_.size(); ++k) v.mutable_data()[k] = static_cast<double>(get(lines_[k]));
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

 private:
  py::object callback_;
  std::vector<Progress> lines_;
};

// What a solver returned, with the history of its solve.
template <class Result>
struct Recorded {
  Result result;
  py::dict history;
};

// module.name(problem, options, rows, columns, callback, where). `rows` and `columns` are start and result, in the
// units of the family: phi and psi (NaN in phi: unknown), or f and g. The GIL is released.
template <class Place, auto Solver, class Options>
void bind_solver(py::module_& module, const char* name) {
  const auto solve = [](const ProblemHandle<Place>& p, const Options& options, Vector rows, Vector columns,
                        const py::object& callback, typename Place::Where where) {
    const Geometry& geo = p.geometry->view;
    typename Place::Session session(where);
    const auto a = session.in(p.a), b = session.in(p.b);
    auto f = session.in_out(checked(rows, geo.n, "rows")), g = session.in_out(checked(columns, geo.m, "columns"));
    const Problem problem{.geo = geo, .a = a.data(), .b = b.data(), .reg = p.reg, .range = p.range};
    Recorder recorder(callback);
    const Monitor monitor = recorder.monitor();
    auto result = released([&] {
      return Solver(session.be, problem, options, monitor, Potentials{.rows = f.data(), .columns = g.data()});
    });
    f.done();
    g.done();
    return Recorded<decltype(result)>{std::move(result), recorder.history()};
  };
  module.def(name, solve, py::arg("problem"), py::arg("options"), py::arg("rows"), py::arg("columns"),
             py::arg("callback"), py::arg(Place::kWhere));
}

template <class Class>
void bind_outcome(Class& type) {
  using Held = typename Class::type;
  type.def_property_readonly("status", [](const Held& r) { return name(r.result.status); })
      .def_property_readonly("n_iter", [](const Held& r) { return r.result.n_iter; })
      .def_property_readonly("error", [](const Held& r) { return r.result.error; })
      .def_property_readonly("dual_value", [](const Held& r) { return r.result.dual; })
      .def_property_readonly("message", [](const Held& r) { return r.result.message; })
      .def_property_readonly("history", [](const Held& r) { return r.history; });
}

template <class Place>
void bind_problem(py::module_& module) {
  py::class_<Limits>(module, "Limits", py::module_local())
      .def(py::init([](double tol, index max_iter, double time_limit) {
             return Limits{.tol = tol, .max_iter = max_iter, .time_limit = time_limit};
           }),
           py::arg("tol"), py::arg("max_iter"), py::arg("time_limit") = 0.0);
  using Handle = ProblemHandle<Place>;
  py::class_<Handle>(module, "Problem", py::module_local())
      .def(py::init([](const py::object& geometry, const Vector& a, const Vector& b, double reg, double range) {
             const auto* handle = py::cast<const GeometryHandle<Place>*>(geometry);
             input(a, handle->view.n, "a");
             input(b, handle->view.m, "b");
             return Handle{geometry, handle, a, b, reg, range};
           }),
           py::arg("geometry"), py::arg("a"), py::arg("b"), py::arg("reg"), py::arg("range"));
}

}  // namespace ot::bindings
