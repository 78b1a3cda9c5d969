// One register of float32 or float64 numbers: loads, stores, conversions, gathers and reductions, by the vector
// extension of GCC and Clang. Intrinsics stand only where the extension has no word for an instruction.
#pragma once
#include "core/types.hpp"
#include "cpu/kernels/level-inl.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif
#if defined(__AVX512F__)
#define OT_VEC 64
#elif defined(__AVX__)
#define OT_VEC 32
#else
#define OT_VEC 16
#endif

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// Reductions of `omp simd`. Those of Clang start from the largest finite number, which hides infinities.
#if defined(__clang__)
#pragma omp declare reduction(least:float : omp_out = omp_in < omp_out ? omp_in : omp_out) \
    initializer(omp_priv = __builtin_inf())
#pragma omp declare reduction(least:double : omp_out = omp_in < omp_out ? omp_in : omp_out) \
    initializer(omp_priv = __builtin_inf())
#pragma omp declare reduction(most:float : omp_out = omp_in > omp_out ? omp_in : omp_out) \
    initializer(omp_priv = -__builtin_inf())
#pragma omp declare reduction(most:double : omp_out = omp_in > omp_out ? omp_in : omp_out) \
    initializer(omp_priv = -__builtin_inf())
#define OT_MIN least
#define OT_MAX most
#else
#define OT_MIN min
#define OT_MAX max
#endif

// A register of T, half a register of T, and the number of T in a register.
template <class T>
using Vec [[gnu::vector_size(OT_VEC)]] = T;
template <class T>
using Half [[gnu::vector_size(OT_VEC / 2)]] = T;
template <class T>
inline constexpr index lanes = OT_VEC / sizeof(T);

template <class T>
inline Vec<T> load(const T* p) {
  Vec<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class T, class V>
inline void store(T* p, V v) {
  __builtin_memcpy(p, &v, sizeof v);
}
template <class T>
inline Vec<T> splat(T x) {
  return Vec<T>{} + x;
}
// The sum of all lanes, by halves: lane l + lane (l + lanes/2) first.
template <class T, class V>
inline double reduce(V v) {
#if OT_VEC == 64
  if constexpr (sizeof(T) == 8) {  // _mm512_reduce_add_pd warns of uninitialised variables
    const auto half = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
    const auto pair = __builtin_shufflevector(half, half, 0, 1) + __builtin_shufflevector(half, half, 2, 3);
    return pair[0] + pair[1];
  }
#endif
  double x[lanes<T>];
  for (index l = 0; l < lanes<T>; ++l) x[l] = v[l];
  for (index step = lanes<T> / 2; step > 0; step /= 2)
    for (index l = 0; l < step; ++l) x[l] += x[l + step];
  return x[0];
}

// The largest and the smallest lane.
inline double reduce_max(Vec<double> v) {
#if OT_VEC == 64
  return _mm512_reduce_max_pd((__m512d)v);
#else
  double most = v[0];
  for (index l = 1; l < lanes<double>; ++l) most = v[l] > most ? v[l] : most;
  return most;
#endif
}

inline double reduce_min(Vec<double> v) { return -reduce_max(-v); }

// Float32 in memory, float64 in the register, and back.
inline Vec<double> load_f64(const double* p) { return load(p); }
inline Vec<double> load_f64(const float* p) {
  Half<float> v;
  __builtin_memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, Vec<double>);
}
inline void store_as(double* p, Vec<double> v) { store(p, v); }
inline void store_as(float* p, Vec<double> v) { store(p, __builtin_convertvector(v, Half<float>)); }
// One register of float32 from two of float64.
inline Vec<float> narrow(Vec<double> low, Vec<double> high) {
  const Half<float> a = __builtin_convertvector(low, Half<float>), b = __builtin_convertvector(high, Half<float>);
#if OT_VEC == 64
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#elif OT_VEC == 32
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
#else
  return __builtin_shufflevector(a, b, 0, 1, 2, 3);
#endif
}
// a0 b0 a1 b1 ... of the first or of the second halves of a and b.
template <index W, class V>
inline V interleave_low(V a, V b) {
  if constexpr (W == 2) return __builtin_shufflevector(a, b, 0, 2);
  else if constexpr (W == 4) return __builtin_shufflevector(a, b, 0, 4, 1, 5);
  else if constexpr (W == 8) return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  else return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
template <index W, class V>
inline V interleave_high(V a, V b) {
  if constexpr (W == 2) return __builtin_shufflevector(a, b, 1, 3);
  else if constexpr (W == 4) return __builtin_shufflevector(a, b, 2, 6, 3, 7);
  else if constexpr (W == 8) return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
  else return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// The transpose of a square of whole registers: to[k * to_stride + l] = from[l * from_stride + k]. Each interleaving
// rotates the bits of (row, lane) by one; after log2 of the lanes, row and lane have changed places.
template <class T>
inline void transpose(const T* from, index from_stride, T* to, index to_stride) {
  constexpr index W = lanes<T>;
  Vec<T> v[W], w[W];
#pragma GCC unroll 16
  for (index k = 0; k < W; ++k) v[k] = load(from + k * from_stride);
#pragma GCC unroll 4
  for (index step = 1; step < W; step *= 2) {
#pragma GCC unroll 8
    for (index k = 0; k < W / 2; ++k) {
      w[2 * k] = interleave_low<W>(v[k], v[k + W / 2]);
      w[2 * k + 1] = interleave_high<W>(v[k], v[k + W / 2]);
    }
#pragma GCC unroll 16
    for (index k = 0; k < W; ++k) v[k] = w[k];
  }
#pragma GCC unroll 16
  for (index k = 0; k < W; ++k) store(to + k * to_stride, v[k]);
}

// p += v, float64 in memory.
inline void add_to(double* p, Vec<double> v) { store(p, load(p) + v); }
inline void add_to(double* p, Vec<float> v) {
  alignas(OT_VEC) float x[lanes<float>];
  store(x, v);
  add_to(p, load_f64(x));
  add_to(p + lanes<double>, load_f64(x + lanes<double>));
}

// x[idx[0]], x[idx[1]], ..., one in each lane.
inline Vec<double> gather(const double* x, const std::int32_t* idx) {
#if OT_VEC == 64
  return (Vec<double>)_mm512_i32gather_pd(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(idx)), x, 8);
#elif defined(__AVX2__)
  // Masked with all lanes set: GCC warns that the source of the unmasked intrinsic is uninitialised.
  const __m256d zero = _mm256_setzero_pd(), all = _mm256_cmp_pd(zero, zero, _CMP_EQ_OQ);
  return (Vec<double>)_mm256_mask_i32gather_pd(zero, x, _mm_loadu_si128(reinterpret_cast<const __m128i*>(idx)), all, 8);
#else
  Vec<double> v;
  for (index l = 0; l < lanes<double>; ++l) v[l] = x[idx[l]];
  return v;
#endif
}

// The first `count` lanes of a load and of a gather, zero in the others; nothing behind them is read.
inline Vec<double> load_first(const double* p, index count) {
#if OT_VEC == 64
  return (Vec<double>)_mm512_maskz_loadu_pd(static_cast<__mmask8>((1 << count) - 1), p);
#else
  Vec<double> v{};
  for (index l = 0; l < count; ++l) v[l] = p[l];
  return v;
#endif
}
inline Vec<double> gather_first(const double* x, const std::int32_t* idx, index count) {
#if OT_VEC == 64
  const auto in = static_cast<__mmask8>((1 << count) - 1);
  return (Vec<double>)_mm512_mask_i32gather_pd(_mm512_setzero_pd(), in, _mm256_maskz_loadu_epi32(in, idx), x, 8);
#else
  Vec<double> v{};
  for (index l = 0; l < count; ++l) v[l] = x[idx[l]];
  return v;
#endif
}

// Stores the first min(count, lanes) lanes.
inline void store_first(double* p, Vec<double> v, index count) {
#if OT_VEC == 64
  if (count < lanes<double>) _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1 << count) - 1), (__m512d)v);
  else store(p, v);
#else
  for (index l = 0; l < lanes<double> && l < count; ++l) p[l] = v[l];
#endif
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
