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
    PackedPoints packed;
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

  static void load_points(Handle& h, const Matrix& x, const Matrix& y, Where threads) {
    h.points.packed = cpu::Backend(threads).pack(h.view, x.data, y.data);
  }
};

}  // namespace ot::bindings
