// The device without its kernels: memory, copies, waits, and the sorts of CUB.
#include <algorithm>
#include <bit>
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#include <map>
#include <mutex>
#include <vector>

#include "cuda/gpu.cuh"

namespace ot::cuda {

void check(cudaError_t code, const char* what, std::size_t bytes) {
  if (code == cudaSuccess) return;
  (void)cudaGetLastError();
  if (code == cudaErrorMemoryAllocation) {
    std::size_t free = 0, total = 0;
    (void)cudaMemGetInfo(&free, &total);
    throw OutOfMemory(bytes, free);
  }
  throw Error(std::string("CUDA: ") + what + " failed: " + cudaGetErrorString(code) + " (" + cudaGetErrorName(code) +
              ")");
}

int device_count(std::string& reason) {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaSuccess && count > 0) return count;
  (void)cudaGetLastError();
  reason = code == cudaSuccess ? "the driver has no device" : cudaGetErrorString(code);
  return 0;
}

std::string device_name(int device) {
  cudaDeviceProp p;
  check(cudaGetDeviceProperties(&p, device), "cudaGetDeviceProperties");
  return p.name;
}

namespace {

// Pinned memory, kept for the next solve. Never freed: the context may be destroyed before statics are.
class Pinned {
 public:
  static Pinned& instance() {
    static auto* pool = new Pinned;
    return *pool;
  }
  void* take(std::size_t& bytes) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (auto b = free_.begin(); b != free_.end(); ++b)
        if (b->second >= bytes) {
          const auto found = *b;
          free_.erase(b);
          bytes = found.second;
          return found.first;
        }
    }
    bytes = std::max<std::size_t>(std::bit_ceil(bytes), 1 << 16);
    void* data = nullptr;
    check(cudaHostAlloc(&data, bytes, cudaHostAllocPortable | cudaHostAllocMapped), "cudaHostAlloc", bytes);
    return data;
  }
  void give(void* data, std::size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.emplace_back(data, bytes);
  }

 private:
  std::mutex mutex_;
  std::vector<std::pair<void*, std::size_t>> free_;
};

// Bytes of shared memory a thread that the largest kernel asks for: 16 costs and 16 sums of 8 bytes.
constexpr int kMostShared = 256;

__global__ void __launch_bounds__(kMaxThreads) probe() {}

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }

// Clusters of `blocks` blocks that run side by side. A cluster lies within a group of multiprocessors, whose number
// need not be a multiple of its own. 0 where no group is large enough (part of a shared device).
int clusters_at_once(int blocks, const Limits& l) {
  cudaLaunchConfig_t config{};
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {static_cast<unsigned>(blocks), 1, 1};
  config.gridDim = static_cast<unsigned>(blocks * l.processors);
  config.blockDim = static_cast<unsigned>(l.threads);
  config.dynamicSmemBytes = static_cast<std::size_t>(kMostShared * l.threads);
  config.attrs = &cluster;
  config.numAttrs = 1;
  int count = 0;
  check(cudaOccupancyMaxActiveClusters(&count, probe, &config), "cudaOccupancyMaxActiveClusters");
  return count;
}

Limits ask(int device) {
  Limits l;
  const auto attribute = [&](cudaDeviceAttr which) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
    return value;
  };
  l.processors = l.at_once[1] = attribute(cudaDevAttrMultiProcessorCount);
  l.pools = attribute(cudaDevAttrMemoryPoolsSupported) != 0;
  const int shared = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  constexpr int exchange = 8 << 10;  // bytes: slots of reductions and of compact
  while (l.threads * kMostShared + exchange > shared) l.threads /= 2;
  // Clusters on sm_90 and sm_100 (sm_120 has few multiprocessors and gains little), if this code was compiled for them:
  // code for an older device that the driver translates knows only blocks.
  const int major = attribute(cudaDevAttrComputeCapabilityMajor);
  cudaFuncAttributes compiled;
  check(cudaFuncGetAttributes(&compiled, probe), "cudaFuncGetAttributes");
  if (compiled.ptxVersion < 90 || (major != 9 && major != 10)) return l;
  check(cudaFuncSetAttribute(probe, cudaFuncAttributeMaxDynamicSharedMemorySize, kMostShared * l.threads),
        "cudaFuncSetAttribute");
  while (l.blocks < kMaxBlocks && (l.at_once[2 * l.blocks] = clusters_at_once(2 * l.blocks, l)) > 0) l.blocks *= 2;
  return l;
}

const Limits& limits_of(int device) {
  static std::mutex mutex;
  static std::map<int, Limits> known;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = known.find(device);
  return found != known.end() ? found->second : known.emplace(device, ask(device)).first->second;
}

}  // namespace

OnDevice::OnDevice(int device) : device_(device) {
  check(cudaGetDevice(&before_), "cudaGetDevice");
  if (before_ != device_) check(cudaSetDevice(device_), "cudaSetDevice");
}
OnDevice::~OnDevice() {
  if (before_ != device_) (void)cudaSetDevice(before_);
}

Gpu::Gpu(std::uintptr_t stream, Allocator allocator, std::function<bool()> poll)
    : stream_(reinterpret_cast<void*>(stream)),
      allocator_(std::move(allocator)),
      poll_(std::move(poll)),
      polled_(std::chrono::steady_clock::now()) {
  // A solve waits for results, which is an error in a capture.
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream_of(stream_), &capture), "cudaStreamIsCapturing");
  if (capture != cudaStreamCaptureStatusNone)
    throw Error(
        "CUDA: the stream is being captured to a graph, where a solve cannot wait; call it outside the capture");
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  limits_ = limits_of(device);
}

Gpu::~Gpu() {
  sorting_ = {};
  // After an exception kernels may still run, on memory that is about to be freed.
  if (!outlives_) (void)cudaStreamSynchronize(stream_of(stream_));
  if (pinned_.data) Pinned::instance().give(pinned_.data, pinned_.bytes);
  for (void* event : timer_)
    if (event) (void)cudaEventDestroy(static_cast<cudaEvent_t>(event));
  (void)cudaGetLastError();
}

std::pair<std::size_t, std::size_t> Gpu::memory_info() const {
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return {free, total};
}

void* Gpu::allocate(std::size_t bytes) {
  if (allocator_.allocate) return allocator_.allocate(bytes);
  void* data = nullptr;
  if (limits_.pools) check(cudaMallocAsync(&data, bytes, stream_of(stream_)), "cudaMallocAsync", bytes);
  else check(cudaMalloc(&data, bytes), "cudaMalloc", bytes);
  return data;
}
void Gpu::release(void* data) noexcept {
  if (allocator_.release) return allocator_.release(data);
  const cudaError_t code = outlives_ || !limits_.pools ? cudaFree(data) : cudaFreeAsync(data, stream_of(stream_));
  if (code != cudaSuccess) (void)cudaGetLastError();
}

void* Gpu::pinned(std::size_t bytes) {
  if (bytes > pinned_.bytes) {
    if (pinned_.data) {
      wait();
      Pinned::instance().give(pinned_.data, pinned_.bytes);
      pinned_ = {};
    }
    pinned_.data = Pinned::instance().take(bytes);
    pinned_.bytes = bytes;
  }
  return pinned_.data;
}

namespace {
template <class T>
T* grown(Buffer<T>& b, index n, Memory& memory) {
  if (b.size() < n) {
    b = Buffer<T>();
    b = Buffer<T>(n + n / 8, memory);
  }
  return b.data();
}
}  // namespace

void* Gpu::scratch(std::size_t bytes) { return grown(sorting_.temporary, static_cast<index>(bytes), *this); }

void Gpu::upload(void* to, const void* from, index bytes) {
  check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDefault, stream_of(stream_)), "upload");
}
void Gpu::download(void* to, const void* from, index bytes) {
  upload(to, from, bytes);
  wait();
}
void Gpu::wait() { check(cudaStreamSynchronize(stream_of(stream_)), "a kernel"); }

// poll_ takes the GIL: at most 50 times a second.
static constexpr std::chrono::milliseconds kPollEvery{20};
void Gpu::poll() {
  const auto now = std::chrono::steady_clock::now();
  if (!poll_ || now - polled_ < kPollEvery) return;
  polled_ = now;
  if (poll_()) throw Interrupted();
}

void Gpu::start_timer() {
  for (void*& event : timer_)
    if (!event) {
      cudaEvent_t made;
      check(cudaEventCreate(&made), "cudaEventCreate");
      event = made;
    }
  check(cudaEventRecord(static_cast<cudaEvent_t>(timer_[0]), stream_of(stream_)), "cudaEventRecord");
}
double Gpu::stop_timer() {
  const auto start = static_cast<cudaEvent_t>(timer_[0]), stop = static_cast<cudaEvent_t>(timer_[1]);
  check(cudaEventRecord(stop, stream_of(stream_)), "cudaEventRecord");
  check(cudaEventSynchronize(stop), "a kernel");
  float ms = 0;
  check(cudaEventElapsedTime(&ms, start, stop), "cudaEventElapsedTime");
  return 1e-3 * static_cast<double>(ms);
}

void Gpu::scan(index n, const index* in, index* out) {
  std::size_t bytes = 0;
  check(cub::DeviceScan::ExclusiveSum(nullptr, bytes, in, out, n, stream_of(stream_)), "scan");
  void* temporary = scratch(bytes);
  check(cub::DeviceScan::ExclusiveSum(temporary, bytes, in, out, n, stream_of(stream_)), "scan");
}

void Gpu::sort(index n, std::uint32_t* keys, Placed* entries, index bound) {
  if (n == 0) return;
  const int bits = std::bit_width(static_cast<std::uint64_t>(bound));
  cub::DoubleBuffer<std::uint32_t> k(keys, grown(sorting_.keys, n, *this));
  cub::DoubleBuffer<Placed> e(entries, grown(sorting_.entries, n, *this));
  std::size_t bytes = 0;
  check(cub::DeviceRadixSort::SortPairs(nullptr, bytes, k, e, n, 0, bits, stream_of(stream_)), "sort");
  void* temporary = scratch(bytes);
  check(cub::DeviceRadixSort::SortPairs(temporary, bytes, k, e, n, 0, bits, stream_of(stream_)), "sort");
  if (k.Current() != keys) upload(keys, k.Current(), n * static_cast<index>(sizeof *keys));
  if (e.Current() != entries) upload(entries, e.Current(), n * static_cast<index>(sizeof *entries));
}

void Gpu::sort_descending(index n, double* values) {
  if (n == 0) return;
  cub::DoubleBuffer<double> v(values, grown(sorting_.values, n, *this));
  std::size_t bytes = 0;
  check(cub::DeviceRadixSort::SortKeysDescending(nullptr, bytes, v, n, 0, 64, stream_of(stream_)), "sort");
  void* temporary = scratch(bytes);
  check(cub::DeviceRadixSort::SortKeysDescending(temporary, bytes, v, n, 0, 64, stream_of(stream_)), "sort");
  if (v.Current() != values) upload(values, v.Current(), n * static_cast<index>(sizeof *values));
}

}  // namespace ot::cuda
