// Teams of threads on a device, and their launch.
#pragma once
#include <cooperative_groups.h>
#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include "cuda/backend-inl.hpp"
#include "cuda/gpu.hpp"

namespace ot::cuda {

// Throws OutOfMemory or Error, and clears what can be cleared: the context stays usable.
void check(cudaError_t code, const char* what, std::size_t bytes = 0);

extern __shared__ __align__(16) char dynamic_memory[];

// A block, or where Wide a cluster of blocks. Shared memory is double-buffered by parity: between two
// uses of a buffer every thread has passed a barrier.
template <bool Wide>
struct DeviceTeam {
  template <class T>
  struct Local {
    __device__ explicit Local(const DeviceTeam&) {}
    __device__ T& operator[](int) { return v; }
    T v;
  };

  template <class T, int K>
  struct Shared {
    __device__ explicit Shared(DeviceTeam& team)
        : mine(reinterpret_cast<T*>(dynamic_memory + team.taken_) + threadIdx.x / kWarp * (K * kWarp) +
               threadIdx.x % kWarp) {
      team.taken_ += K * static_cast<int>(sizeof(T)) * team.threads;
    }
    __device__ T& operator()(int, int k) { return mine[k * kWarp]; }
    // A thread reads only what it fetched itself: it waits for its own copies, without a barrier.
    __device__ void fetch(int, int k, const T* from) { __pipeline_memcpy_async(mine + k * kWarp, from, sizeof(T)); }
    __device__ void ready() const {
      if constexpr (K > 0) {
        __pipeline_commit();
        __pipeline_wait_prior(0);
        asm volatile("" ::: "memory");  // without it the compiler may read before the wait
      }
    }
    T* mine;
  };

  index id, count;
  int threads, blocks = 1, rank = 0;
  bool leader;

  __device__ DeviceTeam() : threads(static_cast<int>(blockDim.x)) {
#if __CUDA_ARCH__ >= 900
    if constexpr (Wide) {
      const auto cluster = cooperative_groups::this_cluster();
      blocks = static_cast<int>(cluster.num_blocks());
      rank = static_cast<int>(cluster.block_rank());
      if (blocks > 1) cluster.sync();  // all run before one writes to the memory of another
    }
#endif
    id = blockIdx.x / blocks;
    count = gridDim.x / blocks;
    leader = rank == 0 && threadIdx.x == 0;
  }

  __device__ Lane lane(int) const { return {rank, static_cast<int>(threadIdx.x)}; }

  template <class F>
  __device__ void each(F f) const {
    f(0);
  }

  template <int N>
  __device__ Reg<double, N> sum(Local<Reg<double, N>>& x) {
    return reduce<N>(x.v, [](double s, double v) { return s + v; });
  }
  template <int N>
  __device__ Reg<double, N> max(Local<Reg<double, N>>& x) {
    return reduce<N>(x.v, [](double s, double v) { return fmax(s, v); });
  }

  __device__ void warp_sum(Local<double>& x) const {
#pragma unroll
    for (int step = kWarp / 2; step > 0; step /= 2) x.v += __shfl_xor_sync(~0u, x.v, step);
  }

  // Ballots count the bits of (warp, k); the first warp scans these counts in shared memory.
  template <int K>
  __device__ int compact(Local<unsigned>& bits, Local<Reg<int, K>>& at) {
    constexpr int most = K * kMaxThreads / kWarp;
    __shared__ int counts[2][most + 1];
    int* const mine = counts[parity_];
    const int warps = threads / kWarp, warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, size = K * warps;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const unsigned vote = __ballot_sync(~0u, bits.v >> k & 1);
      at.v[k] = __popc(vote & ((1u << lane) - 1));
      if (lane == 0) mine[warp * K + k] = __popc(vote);
    }
    __syncthreads();
    if (warp == 0) {
      const int each = (size + kWarp - 1) / kWarp;  // counts of a lane
      int total = 0;
      for (int s = lane * each; s < min(size, (lane + 1) * each); ++s) total += mine[s];
      int upto = total;
#pragma unroll
      for (int step = 1; step < kWarp; step *= 2) {
        const int lower = __shfl_up_sync(~0u, upto, step);
        if (lane >= step) upto += lower;
      }
      int place = upto - total;
      for (int s = lane * each; s < min(size, (lane + 1) * each); ++s) {
        const int here = mine[s];
        mine[s] = place;
        place += here;
      }
      if (lane == kWarp - 1) mine[size] = upto;
    }
    __syncthreads();
    int total = mine[size], before = 0;
#if __CUDA_ARCH__ >= 900
    if constexpr (Wide) {
      if (blocks > 1) {
        __shared__ int exchange[2][kMaxBlocks];
        send(exchange[parity_] + rank, total);
        total = 0;
        for (int b = 0; b < blocks; ++b) {
          if (b < rank) before += exchange[parity_][b];
          total += exchange[parity_][b];
        }
      }
    }
#endif
#pragma unroll
    for (int k = 0; k < K; ++k) at.v[k] += before + mine[warp * K + k];
    parity_ ^= 1;
    return total;
  }

 private:
  // Warps by shuffles; then every thread adds the results of all warps, and of all blocks, in order.
  template <int N, class Op>
  __device__ Reg<double, N> reduce(Reg<double, N> v, Op op) {
    __shared__ double slots[2][kMaxThreads / kWarp * N];
    double* const mine = slots[parity_];
    const int warps = threads / kWarp;
#pragma unroll
    for (int step = kWarp / 2; step > 0; step /= 2)
#pragma unroll
      for (int c = 0; c < N; ++c) v[c] = op(v[c], __shfl_xor_sync(~0u, v[c], step));
    if (threadIdx.x % kWarp == 0)
#pragma unroll
      for (int c = 0; c < N; ++c) mine[threadIdx.x / kWarp * N + c] = v[c];
    __syncthreads();
#pragma unroll
    for (int c = 0; c < N; ++c) v[c] = mine[c];
    for (int w = 1; w < warps; ++w)
#pragma unroll
      for (int c = 0; c < N; ++c) v[c] = op(v[c], mine[w * N + c]);
#if __CUDA_ARCH__ >= 900
    if constexpr (Wide) {
      if (blocks > 1) {
        __shared__ Reg<double, N> exchange[2][kMaxBlocks];
        send(exchange[parity_] + rank, v);
        v = exchange[parity_][0];
        for (int b = 1; b < blocks; ++b)
#pragma unroll
          for (int c = 0; c < N; ++c) v[c] = op(v[c], exchange[parity_][b][c]);
      }
    }
#endif
    parity_ ^= 1;
    return v;
  }

#if __CUDA_ARCH__ >= 900
  // Writes a value to the same place in every block of the cluster, and waits for all others.
  template <class T>
  __device__ void send(T* place, const T& value) const {
    auto cluster = cooperative_groups::this_cluster();
    if (threadIdx.x < blocks) *cluster.map_shared_rank(place, threadIdx.x) = value;
    cluster.sync();
  }
#endif

  int parity_ = 0, taken_ = 0;
};

template <class Body>
__global__ void __launch_bounds__(Body::kThreads) run(const __grid_constant__ Body body) {
  DeviceTeam<(Body::kBlocks > 1)> team;
  body(team);
}

template <class Body>
void Gpu::launch(const Shape& shape, const Body& body) {
  cudaLaunchConfig_t config{};
  cudaLaunchAttribute cluster{};
  config.gridDim = static_cast<unsigned>(shape.teams * shape.blocks);
  config.blockDim = static_cast<unsigned>(shape.threads);
  config.stream = static_cast<cudaStream_t>(stream_);
  if constexpr (requires { Body::kShared; }) {
    config.dynamicSmemBytes = Body::kShared * static_cast<std::size_t>(shape.threads);
    // As much as the largest launch needs: other threads may launch the same kernel.
    check(cudaFuncSetAttribute(run<Body>, cudaFuncAttributeMaxDynamicSharedMemorySize, Body::kShared * limits_.threads),
          "cudaFuncSetAttribute");
  }
  if (shape.blocks > 1) {
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {static_cast<unsigned>(shape.blocks), 1, 1};
    config.attrs = &cluster;
    config.numAttrs = 1;
  }
  check(cudaLaunchKernelEx(&config, run<Body>, body), "launch of a kernel");
}

}  // namespace ot::cuda
