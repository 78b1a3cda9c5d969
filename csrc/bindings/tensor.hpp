// Arrays in and out of the core. Python has validated them; here sizes are checked once more.
//
// Bindings are written once, over a Place: where arrays live and solvers run (on_cpu.hpp, on_cuda.hpp).
//   Backend
//   Where, kWhere          the argument that selects threads or device and stream, and its name
//   Session s(where)       s.be is the backend; s.finish() waits until its work is done
//   matrix(object)         a view of an array there
//   s.in(v), s.out(v)      a NumPy vector as the backend reads or writes it; out.done() brings it back
//   Points                 owner of packed points; load_points(handle, x, y, where) packs them
#pragma once
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <string>

#include "core/buffer.hpp"
#include "core/monitor.hpp"
#include "core/types.hpp"

namespace ot::bindings {

namespace py = pybind11;
using Vector = py::array_t<double, py::array::c_style>;

inline const double* input(const Vector& v, index size, const char* name) {
  if (v.ndim() != 1 || v.shape(0) != size)
    throw py::value_error(std::string(name) + " must have shape (" + std::to_string(size) + ",)");
  return v.data();
}
inline Vector& checked(Vector& v, index size, const char* name) {
  input(v, size, name);
  return v;
}

// A matrix whose rows are contiguous.
struct Matrix {
  void* data = nullptr;
  DType dtype = DType::f64;
  index rows = 0, cols = 0, ld = 0;
};

// A geometry and what keeps its memory alive.
template <class Place>
struct GeometryHandle {
  Geometry view;
  py::object owner;
  typename Place::Points points;
};

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

}  // namespace ot::bindings
