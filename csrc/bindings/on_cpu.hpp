// NumPy arrays and the CPU backend: nothing is copied but points, which are packed.
#pragma once
#include "bindings/tensor.hpp"
#include "cpu/backend.hpp"

namespace ot::bindings {

struct Cpu {
  using Backend = cpu::Backend;
  using Where = int;  // threads, 0 for the default
  static constexpr const char* kWhere = "threads";
  static Where anywhere() { return 0; }

  struct Points {
    Buffer<char> x, yt, xx, yy;
  };
  using Handle = GeometryHandle<Cpu>;

  struct In {
    const double* at;
    const double* data() const { return at; }
  };
  struct Out {
    double* at;
    double* data() const { return at; }
    void done() {}
  };
  struct Session {
    explicit Session(Where threads) : be(threads, signals_pending) {}
    In in(const Vector& v) { return {v.data()}; }
    Out out(Vector& v) { return {v.mutable_data()}; }
    Out in_out(Vector& v) { return out(v); }
    void finish() {}
    cpu::Backend be;
  };

  static Matrix matrix(const py::object& object, bool writable = false) {
    const auto a = py::cast<py::array>(object);
    Matrix v;
    if (py::isinstance<py::array_t<double>>(a)) v.dtype = DType::f64;
    else if (py::isinstance<py::array_t<float>>(a)) v.dtype = DType::f32;
    else throw py::type_error("expected a float32 or float64 array");
    if (a.ndim() != 2 || a.strides(1) != a.itemsize() || a.strides(0) % a.itemsize() != 0)
      throw py::value_error("expected a row-major matrix");
    v.rows = a.shape(0);
    v.cols = a.shape(1);
    v.ld = a.strides(0) / a.itemsize();
    v.data = writable ? py::array(a).mutable_data() : const_cast<void*>(a.data());
    return v;
  }

  static void load_points(Handle& h, const Matrix& x, const Matrix& y, Where) {
    if (h.view.dtype == DType::f64)
      pack<double>(h, static_cast<const double*>(x.data), static_cast<const double*>(y.data));
    else pack<float>(h, static_cast<const float*>(x.data), static_cast<const float*>(y.data));
  }

 private:
  // Copies the points once: x row-major, y in panels (see tile_of_points), both centred where squared norms are
  // expanded (d >= 8) and normalised for the cosine cost. O((n + m) d) memory.
  template <class T>
  static void pack(Handle& h, const T* xs, const T* ys) {
    Geometry& g = h.view;
    const index n = g.n, m = g.m, d = g.d;
    const bool expand = g.cost == Cost::sqeuclidean && d >= 8;
    constexpr index P = cpu::kPanel / static_cast<index>(sizeof(T));
    const index padded = cpu::round_up(m, P);
    h.points.x = Buffer<char>(n * d * static_cast<index>(sizeof(T)));
    h.points.yt = Buffer<char>(padded * d * static_cast<index>(sizeof(T)));
    T* x = reinterpret_cast<T*>(h.points.x.data());
    T* yt = reinterpret_cast<T*>(h.points.yt.data());
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
      for (index k = 0; k < d; ++k)
        y_at(j, k) = static_cast<T>((ys[j * d + k] - centre[static_cast<std::size_t>(k)]) * s);
    }
    if (expand) {
      h.points.xx = Buffer<char>(n * static_cast<index>(sizeof(T)));
      h.points.yy = Buffer<char>((m + cpu::kPad) * static_cast<index>(sizeof(T)));
      T* xx = reinterpret_cast<T*>(h.points.xx.data());
      T* yy = reinterpret_cast<T*>(h.points.yy.data());
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
};

}  // namespace ot::bindings
