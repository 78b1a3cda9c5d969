// Arrays with a __cuda_array_interface__ and the CUDA backend. Matrices stay where they are; vectors
// of length n and m come from the host and go back there.
#pragma once
#include <cstring>
#include <memory>
#include <tuple>
#include <vector>

#include "bindings/tensor.hpp"
#include "cuda/gpu.hpp"

namespace ot::bindings {

struct Cuda {
  using Backend = cuda::Backend;
  // Device, stream as an integer, and an allocator or None: called with a number of bytes, it returns
  // (pointer, owner), and the memory is given back when the owner goes.
  using Where = std::tuple<int, std::uintptr_t, py::object>;
  static constexpr const char* kWhere = "where";
  static Where anywhere() { return {0, 0, py::none()}; }

  struct Points {
    std::unique_ptr<cuda::Gpu> memory;  // of what follows
    cuda::PackedPoints packed;
  };
  using Handle = GeometryHandle<Cuda>;

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
    In(cuda::Gpu& gpu, const Vector& v) : buffer_(v.size(), gpu.memory()) {
      gpu.upload(buffer_.data(), v.data(), bytes(v));
    }
    const double* data() const { return buffer_.data(); }

   protected:
    static index bytes(const Vector& v) { return v.size() * static_cast<index>(sizeof(double)); }
    mutable Buffer<double> buffer_;
  };
  class Out : public In {
   public:
    Out(cuda::Gpu& gpu, Vector& v) : In(gpu, v), gpu_(&gpu), to_(v) {}
    double* data() const { return buffer_.data(); }
    void done() { gpu_->download(to_.mutable_data(), buffer_.data(), bytes(to_)); }

   private:
    cuda::Gpu* gpu_;
    Vector to_;
  };

  struct Session {
    explicit Session(const Where& where)
        : keep(std::get<2>(where)),
          on(std::get<0>(where)),
          gpu(std::get<1>(where), allocator(keep), signals_pending),
          be(gpu) {}
    In in(const Vector& v) { return In(gpu, v); }
    Out out(Vector& v) { return Out(gpu, v); }
    Out in_out(Vector& v) { return Out(gpu, v); }
    void finish() { gpu.wait(); }

    py::object keep;
    cuda::OnDevice on;
    cuda::Gpu gpu;
    cuda::Backend be;
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

  // The packed points outlive the call and its stream: memory of the driver, given back at once.
  static void load_points(Handle& h, const Matrix& x, const Matrix& y, const Where& where) {
    Session session(where);
    h.points.memory = std::make_unique<cuda::Gpu>(std::get<1>(where), cuda::Allocator(), nullptr);
    h.points.memory->outlive_stream();
    cuda::Backend be(*h.points.memory);
    h.points.packed = be.pack(h.view, x.data, y.data);
  }
};

}  // namespace ot::bindings
