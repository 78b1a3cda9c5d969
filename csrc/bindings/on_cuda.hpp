// Arrays with a __cuda_array_interface__ and the CUDA backend. Matrices stay where they are; vectors
// of length n and m come from the host and go back there.
#pragma once
#include <cstring>
#include <memory>
#include <tuple>
#include <vector>

#include "bindings/bind_entropic.hpp"
#include "bindings/bind_flow.hpp"
#include "bindings/bind_geometry.hpp"
#include "bindings/bind_plan.hpp"
#include "bindings/bind_sparse.hpp"
#include "bindings/tensor.hpp"
#include "cuda/gpu.hpp"

namespace ot::bindings {

// Device is cuda::Gpu, or its emulation in tests.
template <class Device>
struct CudaOn {
  using Backend = cuda::BackendOn<Device>;
  // Device, stream as an integer, and an allocator or None: called with a number of bytes, it returns
  // (pointer, owner), and the memory is released when the owner is destroyed.
  using Where = std::tuple<int, std::uintptr_t, py::object>;
  static constexpr const char* kWhere = "where";
  static Where anywhere() { return {0, 0, py::none()}; }
  static int device_of(const Where& where) { return std::get<0>(where); }
  static std::uintptr_t stream_of(const Where& where) { return std::get<1>(where); }
  static const py::object& allocator_of(const Where& where) { return std::get<2>(where); }

  struct Points {
    std::unique_ptr<Device> memory;  // of `packed`, and released after it
    PackedPoints packed;
  };
  using Handle = GeometryHandle<CudaOn>;

  static cuda::Allocator allocator(const py::object& allocate) {
    if (allocate.is_none()) return {};
    // Owners by address: few at a time.
    using Owners = std::vector<std::pair<void*, PyObject*>>;
    auto owners = std::make_shared<Owners>();
    PyObject* call = allocate.ptr();  // the caller holds it while the solve runs
    return {[call, owners](std::size_t bytes) {
              py::gil_scoped_acquire gil;
              const auto got = py::handle(call)(bytes).cast<std::pair<std::uintptr_t, py::object>>();
              void* data = reinterpret_cast<void*>(got.first);
              owners->emplace_back(data, py::object(got.second).release().ptr());
              return data;
            },
            [owners](void* data) {
              py::gil_scoped_acquire gil;
              for (auto o = owners->begin(); o != owners->end(); ++o)
                if (o->first == data) {
                  Py_DECREF(o->second);
                  owners->erase(o);
                  return;
                }
            }};
  }

  class In {
   public:
    In(Device& gpu, const Vector& v) : buffer_(v.size(), gpu.memory()) {
      gpu.upload(buffer_.data(), v.data(), bytes(v));
    }
    const double* data() const { return buffer_.data(); }

   protected:
    static index bytes(const Vector& v) { return v.size() * static_cast<index>(sizeof(double)); }
    mutable Buffer<double> buffer_;
  };
  class Out : public In {
   public:
    Out(Device& gpu, Vector& v) : In(gpu, v), gpu_(&gpu), to_(v) {}
    double* data() const { return this->buffer_.data(); }
    void done() { gpu_->download(to_.mutable_data(), this->buffer_.data(), this->bytes(to_)); }

   private:
    Device* gpu_;
    Vector to_;
  };

  struct Session {
    explicit Session(const Where& where)
        : keep(allocator_of(where)),
          on(device_of(where)),
          gpu(stream_of(where), allocator(keep), signals_pending),
          be(gpu) {}
    In in(const Vector& v) { return In(gpu, v); }
    Out out(Vector& v) { return Out(gpu, v); }
    Out in_out(Vector& v) { return Out(gpu, v); }
    void finish() { gpu.wait(); }

    py::object keep;
    typename Device::Guard on;
    Device gpu;
    Backend be;
  };

  static Matrix matrix(const py::object& object, bool writable = false) {
    const py::dict face = object.attr("__cuda_array_interface__");
    const auto data = face["data"].cast<std::pair<std::uintptr_t, bool>>();
    const auto shape = face["shape"].cast<std::vector<index>>();
    const auto type = face["typestr"].cast<std::string>();
    Matrix v;
    if (type == "<f8") v.dtype = DType::f64;
    else if (type == "<f4") v.dtype = DType::f32;
    else throw py::type_error("expected a float32 or float64 array, got " + type);
    const index item = v.dtype == DType::f64 ? 8 : 4;
    if (shape.size() != 2) throw py::value_error("expected a matrix");
    v.rows = shape[0];
    v.cols = shape[1];
    v.ld = v.cols;
    if (face.contains("strides") && !face["strides"].is_none()) {
      const auto strides = face["strides"].cast<std::vector<index>>();
      if ((strides[1] != item && v.cols > 1) || strides[0] % item != 0)
        throw py::value_error("expected a row-major matrix");
      if (v.rows > 1) v.ld = strides[0] / item;
    }
    if (writable && data.second) throw py::value_error("expected a writable array");
    v.data = reinterpret_cast<void*>(data.first);
    return v;
  }

  // Memory that outlives the call and its stream.
  static std::unique_ptr<Device> lasting(const Where& where) {
    auto memory = std::make_unique<Device>(stream_of(where), cuda::Allocator(), nullptr);
    memory->outlive_stream();
    return memory;
  }

  // The packed points outlive the call and its stream: memory of the driver, given back at once.
  static void load_points(Handle& h, const Matrix& x, const Matrix& y, const Where& where) {
    Session session(where);
    h.points.memory = lasting(where);
    Backend be(*h.points.memory);
    h.points.packed = be.pack(h.view, x.data, y.data);
  }
};

// Device memory with a __cuda_array_interface__, for libraries that import arrays but no pointers (JAX).
template <class Place>
void bind_array(py::module_& module) {
  using Where = typename Place::Where;
  struct Array {
    typename Place::Points owner;  // its memory outlives streams
    Buffer<char> data;
    Matrix view;
  };
  py::class_<Array>(module, "Array")
      .def(
          py::init([](index rows, index cols, bool f64, const Where& where) {
            typename Place::Session session(where);
            auto a = std::make_unique<Array>();
            a->owner.memory = Place::lasting(where);
            const index item = f64 ? 8 : 4;
            a->data = Buffer<char>(rows * cols * item, a->owner.memory->memory());
            a->view = {
                .data = a->data.data(), .dtype = f64 ? DType::f64 : DType::f32, .rows = rows, .cols = cols, .ld = cols};
            session.finish();
            return a;
          }),
          py::arg("rows"), py::arg("cols"), py::arg("f64"), py::arg("where"))
      .def_property_readonly("__cuda_array_interface__",
                             [](const Array& a) {
                               py::dict d;
                               d["shape"] = py::make_tuple(a.view.rows, a.view.cols);
                               d["typestr"] = a.view.dtype == DType::f64 ? "<f8" : "<f4";
                               d["data"] = py::make_tuple(reinterpret_cast<std::uintptr_t>(a.view.data), false);
                               d["version"] = 3;
                               return d;
                             })
      .def("host", [](const Array& a) {
        const py::ssize_t shape[2] = {a.view.rows, a.view.cols};
        const bool f64 = a.view.dtype == DType::f64;
        py::array out = f64 ? py::array(py::array_t<double>(shape)) : py::array(py::array_t<float>(shape));
        a.owner.memory->download(out.mutable_data(), a.view.data, out.nbytes());
        return out;
      });
}

// Entries of the plan above a threshold, as a CSR matrix on the host: offsets of rows, columns, values.
template <class Place>
py::tuple entries(const PlanHandle<Place>& plan, double threshold, typename Place::Where where) {
  Reading<Place> reading(plan, Precision::f64, where);
  const Geometry& geo = reading.geo;
  auto& be = reading.session.be;
  auto& gpu = reading.session.gpu;
  const index n = geo.n;
  Kept kept;
  kept.threshold = threshold;
  kept.limit = geo.m;
  released([&] { be.pass(geo, reading.pass, kept); });
  auto offset = be.template buffer<index>(n);
  auto column = be.template buffer<std::int32_t>(kept.nnz);
  auto val = be.template buffer<double>(kept.nnz);
  be.collect(kept, n, offset.data(), column.data(), val.data());
  py::array_t<index> begin(n + 1);
  py::array_t<std::int32_t> columns(kept.nnz);
  Vector values(kept.nnz);
  gpu.download(begin.mutable_data(), offset.data(), n * static_cast<index>(sizeof(index)));
  begin.mutable_data()[n] = kept.nnz;
  gpu.download(columns.mutable_data(), column.data(), static_cast<index>(columns.nbytes()));
  gpu.download(values.mutable_data(), val.data(), static_cast<index>(values.nbytes()));
  return py::make_tuple(begin, columns, values);
}

// C_ij of pairs, from stored costs.
template <class Place>
Vector cost_of_pairs(const GeometryHandle<Place>& h, const py::array_t<index>& i, const py::array_t<index>& j,
                     typename Place::Where where) {
  if (h.view.kind != Kind::dense || i.ndim() != 1 || j.ndim() != 1 || i.size() != j.size())
    throw py::value_error("pairs of stored costs are two vectors of one size");
  typename Place::Session session(where);
  const index count = i.size(), bytes = count * static_cast<index>(sizeof(index));
  Buffer<index> rows(count, session.gpu.memory()), cols(count, session.gpu.memory());
  session.gpu.upload(rows.data(), i.data(), bytes);
  session.gpu.upload(cols.data(), j.data(), bytes);
  Vector out(count);
  auto o = session.out(out);
  released([&] { session.be.cost_of_pairs(h.view, count, rows.data(), cols.data(), o.data()); });
  o.done();
  return out;
}

// Seconds of one fused pass (update and column sums, or with entries kept), best of `repeat`.
template <class Place>
double pass_seconds(const GeometryHandle<Place>& h, double reg, bool f64, double threshold, int repeat,
                    typename Place::Where where) {
  typename Place::Session session(where);
  auto& be = session.be;
  const index n = h.view.n, m = h.view.m;
  auto a = be.template buffer<double>(n), phi = be.template buffer<double>(n);
  auto b = be.template buffer<double>(m), col = be.template buffer<double>(m);
  const std::vector<double> rows(static_cast<std::size_t>(n), 1 / static_cast<double>(n)),
      cols(static_cast<std::size_t>(m), -std::log(static_cast<double>(m))), unknown(rows.size(), NAN);
  session.gpu.upload(a.data(), rows.data(), n * 8);
  session.gpu.upload(b.data(), cols.data(), m * 8);
  session.gpu.upload(phi.data(), unknown.data(), n * 8);
  session.finish();
  Pass pass;
  pass.reg = reg;
  pass.h = b.data();
  pass.phi = phi.data();
  pass.a = a.data();
  pass.update = true;
  pass.precision = f64 ? Precision::f64 : Precision::f32;
  pass.col = col.data();
  Kept kept;
  kept.threshold = threshold;
  const auto run = [&] { threshold > 0 ? be.pass(h.view, pass, kept) : be.pass(h.view, pass); };
  return released([&] {
    run();  // untimed: rows whose phi is unknown are computed twice
    double best = INFINITY;
    for (int k = 0; k < repeat; ++k) best = std::min(best, session.gpu.seconds(run));
    return best;
  });
}

// The module of a CUDA device.
template <class Place>
void bind_cuda(py::module_& module) {
  py::register_exception<cuda::Error>(module, "CudaError", PyExc_RuntimeError);
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const cuda::OutOfMemory& e) {
      PyErr_SetString(PyExc_MemoryError, e.what());
    }
  });
  bind_geometry<Place>(module);
  bind_problem<Place>(module);
  bind_plan<Place>(module);
  bind_entropic<Place>(module);
  bind_sparse<Place>(module);
  bind_pairs<Place>(module);
  bind_array<Place>(module);
  module.def("cost_of_pairs", cost_of_pairs<Place>, py::arg("geometry"), py::arg("i"), py::arg("j"), py::arg("where"));
  module.def("entries", entries<Place>, py::arg("plan"), py::arg("threshold"), py::arg("where"));
  module.def("pass_seconds", pass_seconds<Place>, py::arg("geometry"), py::arg("reg"), py::arg("f64"),
             py::arg("threshold"), py::arg("repeat"), py::arg("where"));
  // Waits until all work of a stream is done.
  module.def(
      "wait",
      [](const typename Place::Where& where) {
        typename Place::Session session(where);
        released([&] { session.finish(); });
      },
      py::arg("where"));
  // (free, total) in bytes.
  module.def(
      "memory",
      [](const typename Place::Where& where) {
        typename Place::Session session(where);
        return session.gpu.memory_info();
      },
      py::arg("where"));
}

}  // namespace ot::bindings
