// Vectors, and the shapes of launches that everything uses.
#pragma once
#include <algorithm>

#include "cuda/backend.hpp"
#include "cuda/kernels/vectors.hpp"

namespace ot::cuda {

// Entries of C between two polls for Ctrl-C: some tens of milliseconds.
inline constexpr index kPiece = index{1} << 34;
inline constexpr index kMostParts = 64;  // chunks of a vector, and of rows where columns are folded

inline index ceil_div(index n, index k) { return (n + k - 1) / k; }

// Blocks of 256 threads: 8 of them fill a multiprocessor of 2048 threads.
inline constexpr int kBlockThreads = 256;
inline constexpr index kBlocksAtOnce = 8;

template <class Device>
int BackendOn<Device>::block_threads() const {
  return std::min(kBlockThreads, device_.threads());
}
template <class Device>
Shape BackendOn<Device>::thread_each(index n) const {
  const index blocks = std::max<index>(ceil_div(n, block_threads()), 1);
  return {std::min(blocks, 2 * kBlocksAtOnce * device_.processors()), 1, block_threads()};
}
template <class Device>
Shape BackendOn<Device>::team_each(index n) const {
  return {std::min(std::max<index>(n, 1), kBlocksAtOnce * device_.processors()), 1, block_threads()};
}
template <class Device>
Shape BackendOn<Device>::warp_each(index n) const {
  return {ceil_div(n, block_threads() / kWarp), 1, block_threads()};
}

// Scratch memory of at least n elements; its contents are lost when it grows.
template <class Device>
template <class T>
T* BackendOn<Device>::grown(Buffer<T>& b, index n) {
  if (b.size() < n) {
    b = Buffer<T>();
    b = buffer<T>(n + n / 8);
  }
  return b.data();
}

// run(first, last) for pieces of rows; Ctrl-C is polled in between.
template <class Device>
template <class F>
void BackendOn<Device>::by_pieces(index n, index row_work, F&& run) {
  const index piece = kPiece / std::max<index>(row_work, 1) + 1;
  for (index first = 0; first < n; first += piece) {
    run(first, std::min(n, first + piece));
    if (piece < n) device_.wait();
    device_.poll();
  }
}

// ---------------------------------------------------------------- operations

template <class Device>
template <class F>
void BackendOn<Device>::for_each(index n, F f) {
  if (n > 0) device_.launch(thread_each(n), Each<F>{n, f});
}
template <class Device>
void BackendOn<Device>::exp(index n, const double* x, double* out) {
  for_each(n, Exp{x, out});
}
template <class Device>
void BackendOn<Device>::log(index n, const double* x, double* out) {
  for_each(n, Log{x, out});
}
template <class Device>
template <std::size_t N>
void BackendOn<Device>::combine(index n, const double* x, const double* c, const std::array<const double*, N>& D,
                                int count, double* out) {
  Combine<N> body{x, {}, {}, count, out};
  for (int k = 0; k < count; ++k) {
    body.c[k] = c[k];
    body.d.d[k] = D[static_cast<std::size_t>(k)];
  }
  for_each(n, body);
}

// One team a chunk. Its sums come to the host after one wait, and are added there in order.
template <class Device>
template <int N, class F>
std::array<double, N> BackendOn<Device>::sums(index n, F f) {
  std::array<double, N> total{};
  if (n == 0) return total;
  constexpr index least = 4096;  // elements
  const index chunk = std::max(least, ceil_div(n, kMostParts)), count = ceil_div(n, chunk);
  double* parts = device_.template staging<double>(count * N);
  device_.launch(Shape{count, 1, device_.threads()}, Sums<N, F>{n, chunk, f, parts});
  device_.wait();
  device_.poll();
  for (index c = 0; c < count; ++c)
    for (int k = 0; k < N; ++k) total[static_cast<std::size_t>(k)] += parts[c * N + k];
  return total;
}
template <class Device>
template <std::size_t N>
void BackendOn<Device>::dots(index n, const double* w, const double* v, const std::array<const double*, N>& D,
                             int count, double* out) {
  Dots<static_cast<int>(N)> body{w, v, {}, count};
  for (int k = 0; k < count; ++k) body.d.d[k] = D[static_cast<std::size_t>(k)];
  const auto total = sums<static_cast<int>(N)>(n, body);
  std::copy_n(total.begin(), count, out);
}

}  // namespace ot::cuda
