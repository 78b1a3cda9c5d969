// The CUDA backend with the constructor that the typed suite calls, and managed memory, which the host can read. Runs
// under CUDA_LAUNCH_BLOCKING=1: a kernel has ended when its call returns.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <new>

#include "cuda/gpu.cuh"

namespace ot {

inline void* managed(std::size_t bytes) {
  void* data = nullptr;
  if (cudaMallocManaged(&data, bytes) != cudaSuccess) throw std::bad_alloc();
  return data;
}

template <class T>
struct Managed {
  using value_type = T;
  Managed() = default;
  template <class U>
  Managed(const Managed<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(managed(n * sizeof(T))); }
  void deallocate(T* data, std::size_t) { (void)cudaFree(data); }
  friend bool operator==(const Managed&, const Managed&) { return true; }
};

extern template class cuda::BackendOn<cuda::Gpu>;  // kernels.cu

struct ManagedGpu {
  cuda::Gpu gpu{0,
                cuda::Allocator{managed,
                                [](void* data) {
                                  (void)cudaDeviceSynchronize();
                                  (void)cudaFree(data);
                                }},
                {}};
};

struct GpuBackend : ManagedGpu, cuda::Backend {
  explicit GpuBackend(int = 1) : cuda::Backend(gpu) {}
};

static_assert(SparseBackend<GpuBackend>);

}  // namespace ot
