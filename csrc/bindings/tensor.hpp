// NumPy arrays in and out of the core. Python has validated them; here sizes are checked once more.
#pragma once
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <string>

#include "core/buffer.hpp"
#include "core/status.hpp"
#include "cpu/backend.hpp"

namespace ot::bindings {

namespace py = pybind11;
using Vector = py::array_t<double, py::array::c_style>;

inline const double* input(const Vector& v, index size, const char* name) {
  if (v.ndim() != 1 || v.shape(0) != size)
    throw py::value_error(std::string(name) + " must have shape (" + std::to_string(size) + ",)");
  return v.data();
}
inline double* output(Vector& v, index size, const char* name) {
  input(v, size, name);
  return v.mutable_data();
}

// A geometry and what keeps its memory alive.
struct GeometryHandle {
  Geometry view;
  py::object owner;
  Buffer<char> x, yt, xx, yy;
};

inline DType dtype_of(const py::array& a) {
  if (py::isinstance<py::array_t<double>>(a)) return DType::f64;
  if (py::isinstance<py::array_t<float>>(a)) return DType::f32;
  throw py::type_error("expected a float32 or float64 array");
}

inline bool signals_pending() {
  py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

// Runs f without the GIL; a pending signal (Ctrl-C) surfaces as its Python exception.
template <class F>
auto released(F&& f) {
  try {
    py::gil_scoped_release release;
    return f();
  } catch (const Interrupted&) {
    throw py::error_already_set();
  }
}

inline cpu::Backend backend(int threads) { return cpu::Backend(threads, signals_pending); }

}  // namespace ot::bindings
