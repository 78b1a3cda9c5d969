// What the machine can do at most: what passes are measured against.
#pragma once
#include "cpu/kernels/exp_log-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// Evaluates 1024 reps exponentials of numbers in cache; returns how many.
template <class T>
double exp_rate(index reps, double* sink) {
  constexpr index N = 1024, W = lanes<T>;
  T x[N], y[N];
  for (index i = 0; i < N; ++i) x[i] = static_cast<T>(-0.03 * static_cast<double>(i));
  double total = 0;
  for (index k = 0; k < reps; ++k) {
    for (index i = 0; i < N; i += W) store(y + i, exp(load(x + i)));
    __asm__ volatile("" : : "r"(y), "r"(x) : "memory");
    total += y[k & (N - 1)];
  }
  *sink = total;
  return static_cast<double>(N * reps);
}

// 1024 reps fused multiply-adds in 12 registers; returns how many. An instruction waits 4 or 5 cycles for its
// predecessor and two start a cycle: 8 to 10 registers keep both units busy.
template <class T>
double fma_rate(index reps, double* sink) {
  constexpr index W = lanes<T>, G = 12;
  Vec<T> acc[G] = {};
  const Vec<T> a = acc[0] + T(0.999), b = acc[0] + T(1e-3);
  for (index i = 0; i < G; ++i) acc[i] += static_cast<T>(i);
  const index steps = reps * 1024 / (G * W);
  for (index k = 0; k < steps; ++k)
#pragma GCC unroll 12
    for (index i = 0; i < G; ++i) acc[i] = acc[i] * a + b;
  T total = 0;
  for (index i = 0; i < G; ++i) total += acc[i][0];
  *sink = total;
  return static_cast<double>(steps * G * W);
}

// Sums n numbers, read in four streams.
double read(const double* x, index n) {
  double a = 0, b = 0, c = 0, d = 0;
  const index q = n / 4;
#pragma omp simd reduction(+ : a, b, c, d)
  for (index i = 0; i < q; ++i) {
    a += x[i];
    b += x[i + q];
    c += x[i + 2 * q];
    d += x[i + 3 * q];
  }
  return a + b + c + d;
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
