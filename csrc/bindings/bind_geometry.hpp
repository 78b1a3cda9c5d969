// Cost geometries and the passes over C that involve no potentials.
#pragma once
#include "bindings/tensor.hpp"

namespace ot::bindings {

inline std::unique_ptr<GeometryHandle> dense(const py::array& C, double shift) {
  auto handle = std::make_unique<GeometryHandle>();
  Geometry& g = handle->view;
  g.dtype = dtype_of(C);
  if (C.ndim() != 2 || C.strides(1) != C.itemsize() || C.strides(0) % C.itemsize() != 0)
    throw py::value_error("C must be a row-major matrix");
  g.n = C.shape(0);
  g.m = C.shape(1);
  g.ld = C.strides(0) / C.itemsize();
  g.C = C.data();
  g.shift = shift;
  handle->owner = C;
  return handle;
}

// Copies the points once: x row-major, y in panels (see tile_of_points), both centred where squared norms are expanded
// (d >= 8) and normalised for the cosine cost. O((n + m) d) memory.
template <class T>
void load_points(GeometryHandle& h, const py::array& x_in, const py::array& y_in) {
  Geometry& g = h.view;
  const T* xs = static_cast<const T*>(x_in.data());
  const T* ys = static_cast<const T*>(y_in.data());
  const index n = g.n, m = g.m, d = g.d;
  const bool expand = g.cost == Cost::sqeuclidean && d >= 8;
  constexpr index P = cpu::kPanel / static_cast<index>(sizeof(T));
  const index padded = cpu::round_up(m, P);
  h.x = Buffer<char>(n * d * static_cast<index>(sizeof(T)));
  h.yt = Buffer<char>(padded * d * static_cast<index>(sizeof(T)));
  T* x = reinterpret_cast<T*>(h.x.data());
  T* yt = reinterpret_cast<T*>(h.yt.data());
  std::vector<double> centre(static_cast<std::size_t>(d), 0.0);
  if (expand)
    for (const auto& [points, count] : {std::pair{xs, n}, std::pair{ys, m}})
      for (index i = 0; i < count; ++i)
        for (index k = 0; k < d; ++k)
          centre[static_cast<std::size_t>(k)] += points[i * d + k] / static_cast<double>(n + m);
  const auto scale = [&](const T* p) {
    if (g.cost != Cost::cosine) return 1.0;
    double s = 0;
    for (index k = 0; k < d; ++k) s += static_cast<double>(p[k]) * p[k];
    return 1 / std::sqrt(s);
  };
  for (index i = 0; i < n; ++i) {
    const double s = scale(xs + i * d);
    for (index k = 0; k < d; ++k)
      x[i * d + k] = static_cast<T>((xs[i * d + k] - centre[static_cast<std::size_t>(k)]) * s);
  }
  std::fill(yt, yt + padded * d, T(0));
  const auto y_at = [&](index j, index k) -> T& { return yt[j / P * P * d + k * P + j % P]; };
  for (index j = 0; j < m; ++j) {
    const double s = scale(ys + j * d);
    T* to = &y_at(j, 0);
    for (index k = 0; k < d; ++k) to[k * P] = static_cast<T>((ys[j * d + k] - centre[static_cast<std::size_t>(k)]) * s);
  }
  if (expand) {
    h.xx = Buffer<char>(n * static_cast<index>(sizeof(T)));
    h.yy = Buffer<char>((m + cpu::kPad) * static_cast<index>(sizeof(T)));
    T* xx = reinterpret_cast<T*>(h.xx.data());
    T* yy = reinterpret_cast<T*>(h.yy.data());
    for (index i = 0; i < n; ++i) {
      double s = 0;
      for (index k = 0; k < d; ++k) s += static_cast<double>(x[i * d + k]) * x[i * d + k];
      xx[i] = static_cast<T>(s);
    }
    for (index j = 0; j < m; ++j) {
      double s = 0;
      for (index k = 0; k < d; ++k) s += static_cast<double>(y_at(j, k)) * y_at(j, k);
      yy[j] = static_cast<T>(s);
    }
    g.xx = xx;
    g.yy = yy;
  }
  g.x = x;
  g.yt = yt;
}

inline Cost cost_of(const std::string& name) {
  if (name == "sqeuclidean") return Cost::sqeuclidean;
  if (name == "euclidean") return Cost::euclidean;
  if (name == "cityblock") return Cost::cityblock;
  if (name == "cosine") return Cost::cosine;
  if (name == "power") return Cost::power;
  throw py::value_error("unknown cost " + name);
}

inline std::unique_ptr<GeometryHandle> points(const py::array& x, const py::array& y, const std::string& cost,
                                              double p) {
  auto handle = std::make_unique<GeometryHandle>();
  Geometry& g = handle->view;
  g.kind = Kind::points;
  g.cost = cost_of(cost);
  g.p = p;
  g.dtype = dtype_of(x);
  if (dtype_of(y) != g.dtype || x.ndim() != 2 || y.ndim() != 2 || x.shape(1) != y.shape(1) ||
      !(x.flags() & py::array::c_style) || !(y.flags() & py::array::c_style))
    throw py::value_error("x and y must be row-major, of one dtype and dimension");
  g.n = x.shape(0);
  g.m = y.shape(0);
  g.d = x.shape(1);
  if (g.dtype == DType::f64) load_points<double>(*handle, x, y);
  else load_points<float>(*handle, x, y);
  return handle;
}

// The least and the largest value of every coordinate, (2, d).
template <class T>
Vector bounds_of(const py::array& points) {
  const index n = points.shape(0), d = points.shape(1);
  const T* p = static_cast<const T*>(points.data());
  Vector out({index{2}, d});
  double *low = out.mutable_data(), *high = low + d;
  for (index k = 0; k < d; ++k) low[k] = high[k] = p[k];
  for (index i = 1; i < n; ++i)
    for (index k = 0; k < d; ++k) {
      const double v = p[i * d + k];
      low[k] = v < low[k] ? v : low[k];
      high[k] = v > high[k] ? v : high[k];
    }
  return out;
}

inline void bind_geometry(py::module_& module) {
  module.def(
      "bounds",
      [](const py::array& points) {
        if (points.ndim() != 2 || points.shape(0) == 0 || !(points.flags() & py::array::c_style))
          throw py::value_error("points must be row-major and not empty");
        return dtype_of(points) == DType::f64 ? bounds_of<double>(points) : bounds_of<float>(points);
      },
      py::arg("points"));
  py::class_<GeometryHandle>(module, "Geometry").def_property_readonly("shape", [](const GeometryHandle& h) {
    return py::make_tuple(h.view.n, h.view.m);
  });
  module.def("dense", dense, py::arg("C"), py::arg("shift") = 0.0);
  module.def("points", points, py::arg("x"), py::arg("y"), py::arg("cost"), py::arg("p") = 2.0);

  module.def(
      "stats",
      [](const GeometryHandle& h, int threads) {
        auto be = backend(threads);
        const auto s = released([&] { return be.stats(h.view); });
        py::dict d;
        d["min"] = s.min;
        d["max"] = s.max;
        d["nan"] = s.nan;
        d["neg_inf"] = s.neg_inf;
        d["pos_inf"] = s.pos_inf;
        d["first_bad"] = s.first_bad;
        return d;
      },
      py::arg("geometry"), py::arg("threads") = 0);

  module.def(
      "c_transform",
      [](const GeometryHandle& h, const Vector& g, const Vector& weight, int threads) {
        auto be = backend(threads);
        Vector row(h.view.n), col(h.view.m);
        double *r = row.mutable_data(), *c = col.mutable_data();
        const double *gp = input(g, h.view.m, "g"), *w = input(weight, h.view.n, "weight");
        released([&] { be.c_transform(h.view, gp, r, w, c); });
        return py::make_tuple(row, col);
      },
      py::arg("geometry"), py::arg("g"), py::arg("weight"), py::arg("threads") = 0);

  // min_i C_ij - shift - f_i over rows of positive weight.
  module.def(
      "column_min",
      [](const GeometryHandle& h, const Vector& f, const Vector& weight, int threads) {
        auto be = backend(threads);
        Vector col(h.view.m);
        double* c = col.mutable_data();
        double* r = const_cast<double*>(input(f, h.view.n, "f"));  // read only where g is null
        const double* w = input(weight, h.view.n, "weight");
        released([&] { be.c_transform(h.view, nullptr, r, w, c); });
        return col;
      },
      py::arg("geometry"), py::arg("f"), py::arg("weight"), py::arg("threads") = 0);

  module.def(
      "cost_apply",
      [](const GeometryHandle& h, const Vector& w, int threads) {
        auto be = backend(threads);
        Vector out(h.view.n);
        double* o = out.mutable_data();
        const double* p = input(w, h.view.m, "w");
        released([&] { be.cost_apply(h.view, p, o); });
        return out;
      },
      py::arg("geometry"), py::arg("w"), py::arg("threads") = 0);

  module.def(
      "cost_matrix",
      [](const GeometryHandle& h, int threads) {
        auto be = backend(threads);
        const py::ssize_t shape[2] = {h.view.n, h.view.m};
        py::array out =
            h.view.dtype == DType::f64 ? py::array(py::array_t<double>(shape)) : py::array(py::array_t<float>(shape));
        void* o = out.mutable_data();
        released([&] { be.cost_rows(h.view, o, h.view.m); });
        return out;
      },
      py::arg("geometry"), py::arg("threads") = 0);
}

}  // namespace ot::bindings
