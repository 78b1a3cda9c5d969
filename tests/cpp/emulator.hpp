// The device of the CUDA backend on the host: the bodies of its kernels, walked through one thread at
// a time. Threads of a phase go backwards in every other phase: a body whose threads depend on one
// another within a phase gives different results.
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "cuda/backend-inl.hpp"
#include "cuda/gpu.hpp"

namespace ot {

struct EmulatedTeam {
  template <class T>
  struct Local {
    explicit Local(const EmulatedTeam& team) : v(static_cast<std::size_t>(team.size())) {
      std::memset(static_cast<void*>(v.data()), 0xff, v.size() * sizeof(T));  // NaN
    }
    T& operator[](int t) { return v[static_cast<std::size_t>(t)]; }
    std::vector<T> v;
  };

  template <class T, int K>
  struct Shared {
    explicit Shared(const EmulatedTeam& team) : v(static_cast<std::size_t>(team.size() * K)) {
      if (!v.empty()) std::memset(v.data(), 0xff, v.size() * sizeof(T));
    }
    T& operator()(int t, int k) { return v[static_cast<std::size_t>(t * K + k)]; }
    void fetch(int t, int k, const T* from) { (*this)(t, k) = *from; }
    void ready() {}
    std::vector<T> v;
  };

  index id, count;
  int threads, blocks;
  bool leader = true;
  bool backwards = false;

  int size() const { return threads * blocks; }
  cuda::Lane lane(int t) const { return {t / threads, t % threads}; }

  template <class F>
  void each(F f) {
    backwards = !backwards;
    for (int t = 0; t < size(); ++t) f(backwards ? size() - 1 - t : t);
  }
  template <int N>
  cuda::Reg<double, N> sum(Local<cuda::Reg<double, N>>& x) {
    cuda::Reg<double, N> total{};
    for (auto& v : x.v)
      for (int c = 0; c < N; ++c) total[c] += v[c];
    return total;
  }
  template <int N>
  cuda::Reg<double, N> max(Local<cuda::Reg<double, N>>& x) {
    auto most = x.v[0];
    for (auto& v : x.v)
      for (int c = 0; c < N; ++c) most[c] = std::fmax(most[c], v[c]);
    return most;
  }
  void warp_sum(Local<double>& x) {
    for (int w = 0; w < size(); w += cuda::kWarp) {
      const double s = std::accumulate(x.v.begin() + w, x.v.begin() + w + cuda::kWarp, 0.0);
      std::fill_n(x.v.begin() + w, cuda::kWarp, s);
    }
  }
  template <int K>
  int compact(Local<unsigned>& bits, Local<cuda::Reg<int, K>>& at) {
    int place = 0;
    for (int b = 0; b < blocks; ++b)
      for (int warp = b * threads; warp < (b + 1) * threads; warp += cuda::kWarp)
        for (int k = 0; k < K; ++k)
          for (int t = warp; t < warp + cuda::kWarp; ++t) {
            at[t][k] = place;
            place += static_cast<int>(bits[t] >> k & 1);
          }
    return place;
  }
};

// Small blocks, so that small problems need several teams of several blocks.
class Emulator : public Memory {
 public:
  struct Guard {
    explicit Guard(int) {}
  };
  explicit Emulator(std::uintptr_t = 0, cuda::Allocator allocator = {}, std::function<bool()> poll = {})
      : allocator_(std::move(allocator)), poll_(std::move(poll)) {}
  virtual ~Emulator() = default;

  void outlive_stream() {}
  std::pair<std::size_t, std::size_t> memory_info() const { return {std::size_t{1} << 32, std::size_t{1} << 32}; }
  Memory& memory() { return *this; }
  int processors() const { return 3; }
  int threads() const { return 64; }
  int blocks() const { return 4; }
  int at_once(int blocks) const { return blocks > 1 ? 2 : processors(); }

  template <class Body>
  void launch(const cuda::Shape& shape, const Body& body) {
    if (shape.threads > std::min(threads(), Body::kThreads) || shape.threads % cuda::kWarp ||
        shape.blocks > std::min(blocks(), Body::kBlocks) || shape.teams < 1)
      throw std::logic_error("no such launch");
    for (index id = 0; id < shape.teams; ++id) {
      EmulatedTeam team{id, shape.teams, shape.threads, shape.blocks};
      body(team);
    }
  }
  template <class T>
  T* staging(index n) {
    staging_ = Buffer<char>(n * static_cast<index>(sizeof(T)), *this);
    return reinterpret_cast<T*>(staging_.data());
  }
  void upload(void* to, const void* from, index bytes) { std::memcpy(to, from, static_cast<std::size_t>(bytes)); }
  void download(void* to, const void* from, index bytes) { upload(to, from, bytes); }
  void wait() {}
  void poll() {
    if (poll_ && poll_()) throw Interrupted();
  }
  template <class F>
  double seconds(F f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  void scan(index n, const index* in, index* out) { std::exclusive_scan(in, in + n, out, index{0}); }
  void sort(index n, std::uint32_t* keys, cuda::Placed* entries, index) {
    std::vector<index> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), index{0});
    std::stable_sort(order.begin(), order.end(), [&](index x, index y) { return keys[x] < keys[y]; });
    const std::vector<std::uint32_t> k(keys, keys + n);
    const std::vector<cuda::Placed> e(entries, entries + n);
    for (index i = 0; i < n; ++i) {
      const auto from = static_cast<std::size_t>(order[static_cast<std::size_t>(i)]);
      keys[i] = k[from];
      entries[i] = e[from];
    }
  }
  void sort_descending(index n, double* v) { std::sort(v, v + n, std::greater<>()); }

  // Filled with NaN: a read before the first write changes results.
  void* allocate(std::size_t bytes) override {
    void* data = allocator_.allocate ? allocator_.allocate(bytes) : std::malloc(bytes);
    if (!data) throw cuda::OutOfMemory(bytes, 0);
    return std::memset(data, 0xff, bytes);
  }
  void release(void* data) noexcept override {
    if (allocator_.release) allocator_.release(data);
    else std::free(data);
  }

 private:
  cuda::Allocator allocator_;
  std::function<bool()> poll_;
  Buffer<char> staging_;
};

// With the constructor that the typed suite calls: a number of threads, here ignored.
struct EmulatedBackend : Emulator, cuda::BackendOn<Emulator> {
  explicit EmulatedBackend(int = 1) : cuda::BackendOn<Emulator>(static_cast<Emulator&>(*this)) {}
};

static_assert(SparseBackend<EmulatedBackend>);

// Only kernels and copies may access its memory: a solver that reads or writes it on the host is ended by a SIGSEGV.
class GuardedEmulator : public Emulator {
 public:
  using Emulator::Emulator;
  GuardedEmulator(const GuardedEmulator&) = delete;
  ~GuardedEmulator() { munmap(arena_, kArena); }

  template <class Body>
  void launch(const cuda::Shape& shape, const Body& body) {
    opened([&] { Emulator::launch(shape, body); });
  }
  template <class T>
  T* staging(index n) {
    staging_ = Buffer<char>(n * static_cast<index>(sizeof(T)));
    return reinterpret_cast<T*>(std::memset(staging_.data(), 0xff, static_cast<std::size_t>(staging_.size())));
  }
  void upload(void* to, const void* from, index bytes) {
    opened([&] { Emulator::upload(to, from, bytes); });
  }
  void download(void* to, const void* from, index bytes) { upload(to, from, bytes); }
  void scan(index n, const index* in, index* out) {
    opened([&] { Emulator::scan(n, in, out); });
  }
  void sort(index n, std::uint32_t* keys, cuda::Placed* entries, index bound) {
    opened([&] { Emulator::sort(n, keys, entries, bound); });
  }
  void sort_descending(index n, double* v) {
    opened([&] { Emulator::sort_descending(n, v); });
  }

  void* allocate(std::size_t bytes) override {
    void* data = arena_ + used_;
    used_ += (bytes + 63) / 64 * 64;
    if (used_ > kArena) throw std::bad_alloc();
    opened([&] { std::memset(data, 0xff, bytes); });
    return data;
  }
  void release(void*) noexcept override {}

 private:
  template <class F>
  void opened(F f) {
    mprotect(arena_, kArena, PROT_READ | PROT_WRITE);
    f();
    mprotect(arena_, kArena, PROT_NONE);
  }

  static constexpr std::size_t kArena = std::size_t{1} << 30;  // of addresses
  char* arena_ =
      static_cast<char*>(mmap(nullptr, kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  std::size_t used_ = 0;
  Buffer<char> staging_;
};

struct GuardedEmulatedBackend : GuardedEmulator, cuda::BackendOn<GuardedEmulator> {
  explicit GuardedEmulatedBackend(int = 1) : cuda::BackendOn<GuardedEmulator>(static_cast<GuardedEmulator&>(*this)) {}
};

}  // namespace ot
