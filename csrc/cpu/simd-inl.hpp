// Vectors of one register, by the compiler's vector extension, and their exponential. Included by
// kernel files only, inside the namespace of an instruction-set level; no STL.
#pragma once
#include "core/types.hpp"

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

namespace ot::cpu::OT_CONCAT(level_, OT_LEVEL) {

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
template <class T, class V>
inline double reduce(V v) {
#if OT_VEC == 64
  if constexpr (sizeof(T) == 8) {  // the intrinsic warns of variables of its own
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

// Float32 storage, float64 arithmetic, and back.
inline Vec<double> load_f64(const double* p) { return load(p); }
inline Vec<double> load_f64(const float* p) {
  Half<float> v;
  __builtin_memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, Vec<double>);
}
inline void store_as(double* p, Vec<double> v) { store(p, v); }
inline void store_as(float* p, Vec<double> v) { store(p, __builtin_convertvector(v, Half<float>)); }
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
inline void add_to(double* p, Vec<double> v) { store(p, load(p) + v); }
inline void add_to(double* p, Vec<float> v) {
  alignas(OT_VEC) float x[lanes<float>];
  store(x, v);
  add_to(p, load_f64(x));
  add_to(p + lanes<double>, load_f64(x + lanes<double>));
}

// x[idx[0]], x[idx[1]], ...
inline Vec<double> gather(const double* x, const std::int32_t* idx) {
#if OT_VEC == 64
  return (Vec<double>)_mm512_i32gather_pd(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(idx)), x, 8);
#elif defined(__AVX2__)
  // With a source and a mask: the plain one has an uninitialised source, of which gcc warns.
  const __m256d zero = _mm256_setzero_pd(), all = _mm256_cmp_pd(zero, zero, _CMP_EQ_OQ);
  return (Vec<double>)_mm256_mask_i32gather_pd(zero, x, _mm_loadu_si128(reinterpret_cast<const __m128i*>(idx)), all, 8);
#else
  Vec<double> v;
  for (index l = 0; l < lanes<double>; ++l) v[l] = x[idx[l]];
  return v;
#endif
}

// The first `count` lanes, zero beyond.
inline Vec<double> load_some(const double* p, index count) {
#if OT_VEC == 64
  return (Vec<double>)_mm512_maskz_loadu_pd(static_cast<__mmask8>((1 << count) - 1), p);
#else
  Vec<double> v{};
  for (index l = 0; l < count; ++l) v[l] = p[l];
  return v;
#endif
}
inline Vec<double> gather_some(const double* x, const std::int32_t* idx, index count) {
#if OT_VEC == 64
  const auto in = static_cast<__mmask8>((1 << count) - 1);
  return (Vec<double>)_mm512_mask_i32gather_pd(_mm512_setzero_pd(), in, _mm256_maskz_loadu_epi32(in, idx), x, 8);
#else
  Vec<double> v{};
  for (index l = 0; l < count; ++l) v[l] = x[idx[l]];
  return v;
#endif
}

// The w where v > cut (or v >= cut) are added to sum; returns their number.
template <bool OrEqual>
inline index add_where(Vec<double> v, double cut, Vec<double> w, Vec<double>& sum) {
#if OT_VEC == 64
  const __mmask8 in = _mm512_cmp_pd_mask((__m512d)v, _mm512_set1_pd(cut), OrEqual ? _CMP_GE_OQ : _CMP_GT_OQ);
  sum = (Vec<double>)_mm512_mask_add_pd((__m512d)sum, in, (__m512d)sum, (__m512d)w);
  return __builtin_popcount(in);
#else
  const auto in = OrEqual ? v >= cut : v > cut;
  sum += in ? w : Vec<double>{};
  index count = 0;
  for (index l = 0; l < lanes<double>; ++l) count -= in[l];
  return count;
#endif
}

inline index count_above(Vec<double> v, double cut) {
#if OT_VEC == 64
  return __builtin_popcount(_mm512_cmp_pd_mask((__m512d)v, _mm512_set1_pd(cut), _CMP_GT_OQ));
#else
  index count = 0;
  for (index l = 0; l < lanes<double>; ++l) count += v[l] > cut;
  return count;
#endif
}

// Whether any lane of v is above cut.
template <class T>
inline bool any_above(Vec<T> v, T cut) {
#if OT_VEC == 64
  if constexpr (sizeof(T) == 8) return _mm512_cmp_pd_mask((__m512d)v, _mm512_set1_pd(cut), _CMP_GT_OQ) != 0;
  else return _mm512_cmp_ps_mask((__m512)v, _mm512_set1_ps(cut), _CMP_GT_OQ) != 0;
#else
  bool any = false;
  for (index l = 0; l < lanes<T>; ++l) any |= v[l] > cut;
  return any;
#endif
}

// The lanes of v above cut go to val, times scale, and j + lane to idx. Returns their number;
// whole vectors are written.
template <class T>
inline index pack_above(Vec<T> v, T cut, double scale, index j, std::int32_t* idx, double* val) {
#if OT_VEC == 64
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i at = _mm512_add_epi32(lane, _mm512_set1_epi32(static_cast<int>(j)));
  if constexpr (sizeof(T) == 8) {
    const __mmask8 in = _mm512_cmp_pd_mask((__m512d)v, _mm512_set1_pd(cut), _CMP_GT_OQ);
    store(val, (Vec<double>)_mm512_maskz_compress_pd(in, (__m512d)v) * scale);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(idx), _mm256_maskz_compress_epi32(in, _mm512_castsi512_si256(at)));
    return __builtin_popcount(in);
  } else {
    const __mmask16 in = _mm512_cmp_ps_mask((__m512)v, _mm512_set1_ps(cut), _CMP_GT_OQ);
    float x[lanes<float>];
    store(x, (Vec<float>)_mm512_maskz_compress_ps(in, (__m512)v));
    store(val, load_f64(x) * scale);
    store(val + lanes<double>, load_f64(x + lanes<double>) * scale);
    _mm512_storeu_si512(idx, _mm512_maskz_compress_epi32(in, at));
    return __builtin_popcount(in);
  }
#else
  index count = 0;
  for (index l = 0; l < lanes<T>; ++l) {
    idx[count] = static_cast<std::int32_t>(j + l);
    val[count] = scale * static_cast<double>(v[l]);
    count += v[l] > cut;
  }
  return count;
#endif
}

// Where v > cut: w goes to val, and j + lane to idx. Returns their number; whole vectors are written.
inline index pack_where(Vec<double> v, double cut, Vec<double> w, index j, std::int32_t* idx, double* val) {
#if OT_VEC == 64
  const __mmask8 in = _mm512_cmp_pd_mask((__m512d)v, _mm512_set1_pd(cut), _CMP_GT_OQ);
  const __m256i at =
      _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(static_cast<int>(j)));
  _mm512_storeu_pd(val, _mm512_maskz_compress_pd(in, (__m512d)w));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(idx), _mm256_maskz_compress_epi32(in, at));
  return __builtin_popcount(in);
#else
  index count = 0;
  for (index l = 0; l < lanes<double>; ++l) {
    idx[count] = static_cast<std::int32_t>(j + l);
    val[count] = w[l];
    count += v[l] > cut;
  }
  return count;
#endif
}

// The first `count` lanes, or all.
inline void store_some(double* p, Vec<double> v, index count) {
#if OT_VEC == 64
  if (count < lanes<double>) _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1 << count) - 1), (__m512d)v);
  else store(p, v);
#else
  for (index l = 0; l < lanes<double> && l < count; ++l) p[l] = v[l];
#endif
}

// The lanes of v in [low, high) go to val and their idx to `to`: whole vectors are written, `count` idx are read.
// Returns their number.
inline index pack_between(Vec<double> v, double low, double high, const std::int32_t* idx, index count,
                          std::int32_t* to, double* val) {
#if OT_VEC == 64
  const auto all = static_cast<__mmask8>((1 << count) - 1);
  const __mmask8 above = _mm512_mask_cmp_pd_mask(all, (__m512d)v, _mm512_set1_pd(low), _CMP_GE_OQ);
  const __mmask8 in = _mm512_mask_cmp_pd_mask(above, (__m512d)v, _mm512_set1_pd(high), _CMP_LT_OQ);
  const __m256i i = _mm256_maskz_loadu_epi32(all, idx);
  _mm512_storeu_pd(val, _mm512_maskz_compress_pd(in, (__m512d)v));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_maskz_compress_epi32(in, i));
  return __builtin_popcount(in);
#else
  index found = 0;
  for (index l = 0; l < count; ++l) {
    to[found] = idx[l];
    val[found] = v[l];
    found += v[l] >= low && v[l] < high;
  }
  return found;
#endif
}

// exp(t): t = k ln2 + r with k rounded by adding a magic number, a polynomial in r, and 2^k. The
// error that one rounding of k ln2 leaves is eps |t|, which t itself carries. Exactly 0 below the
// floor, which leaves room for a weight before products become denormal and cost a hundred cycles; large above the cap.
inline constexpr double kFloor64 = -680.0, kCap64 = 709.0;
inline constexpr float kFloor32 = -75.0f, kCap32 = 88.0f;

#if defined(__AVX512F__)
// k in steps of 1/16 (1/32): a table in registers takes over half of the polynomial, and vscalef
// applies the integer part of k. 14 (11) instructions a vector.
inline Vec<double> exp(Vec<double> t) {
  const __m512d low =
      _mm512_setr_pd(0x1.0000000000000p+0, 0x1.0b5586cf9890fp+0, 0x1.172b83c7d517bp+0, 0x1.2387a6e756238p+0,
                     0x1.306fe0a31b715p+0, 0x1.3dea64c123422p+0, 0x1.4bfdad5362a27p+0, 0x1.5ab07dd485429p+0);
  const __m512d high =
      _mm512_setr_pd(0x1.6a09e667f3bcdp+0, 0x1.7a11473eb0187p+0, 0x1.8ace5422aa0dbp+0, 0x1.9c49182a3f090p+0,
                     0x1.ae89f995ad3adp+0, 0x1.c199bdd85529cp+0, 0x1.d5818dcfba487p+0, 0x1.ea4afa2a490dap+0);
  const Vec<double> magic = splat(0x1.8p48);
  const Vec<double> z = t * 0x1.71547652b82fep0 + magic;
  const Vec<double> k = z - magic;
  const Vec<double> r = t - k * 0x1.62e42fefa39efp-1;
  Vec<double> p = r * 0.0013889034639665864 + 0.008333449934107185;
  p = p * r + 0.04166666666495362;
  p = p * r + 0.16666666665296223;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const __m512d s = _mm512_permutex2var_pd(low, _mm512_castpd_si512((__m512d)z), high);
  const __mmask8 in = _mm512_cmp_pd_mask((__m512d)t, _mm512_set1_pd(kFloor64), _CMP_GT_OQ);
  return (Vec<double>)_mm512_maskz_scalef_pd(in, (__m512d)(p * (Vec<double>)s), (__m512d)k);
}

inline Vec<float> exp(Vec<float> t) {
  const __m512 low =
      _mm512_setr_ps(0x1.000000p+0f, 0x1.059b0ep+0f, 0x1.0b5586p+0f, 0x1.11301ep+0f, 0x1.172b84p+0f, 0x1.1d4874p+0f,
                     0x1.2387a6p+0f, 0x1.29e9e0p+0f, 0x1.306fe0p+0f, 0x1.371a74p+0f, 0x1.3dea64p+0f, 0x1.44e086p+0f,
                     0x1.4bfdaep+0f, 0x1.5342b6p+0f, 0x1.5ab07ep+0f, 0x1.6247ecp+0f);
  const __m512 high =
      _mm512_setr_ps(0x1.6a09e6p+0f, 0x1.71f75ep+0f, 0x1.7a1148p+0f, 0x1.82589ap+0f, 0x1.8ace54p+0f, 0x1.93737cp+0f,
                     0x1.9c4918p+0f, 0x1.a5503cp+0f, 0x1.ae89fap+0f, 0x1.b7f770p+0f, 0x1.c199bep+0f, 0x1.cb720ep+0f,
                     0x1.d5818ep+0f, 0x1.dfc974p+0f, 0x1.ea4afap+0f, 0x1.f50766p+0f);
  const Vec<float> magic = splat(0x1.8p18f);
  const Vec<float> z = t * 0x1.715476p0f + magic;
  const Vec<float> k = z - magic;
  const Vec<float> r = t - k * 0x1.62e430p-1f;
  Vec<float> p = r * 0.16666740124828713f + 0.5000036729111859f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const __m512 s = _mm512_permutex2var_ps(low, _mm512_castps_si512((__m512)z), high);
  const __mmask16 in = _mm512_cmp_ps_mask((__m512)t, _mm512_set1_ps(kFloor32), _CMP_GT_OQ);
  return (Vec<float>)_mm512_maskz_scalef_ps(in, (__m512)(p * (Vec<float>)s), (__m512)k);
}
#else
inline Vec<double> exp(Vec<double> t) {
  const Vec<double> magic = splat(0x1.8p52);
  const Vec<double> x = t < kCap64 ? t : splat(kCap64);
  const Vec<double> z = x * 0x1.71547652b82fep0 + magic;
  const Vec<double> r = x - (z - magic) * 0x1.62e42fefa39efp-1;
  Vec<double> p = r * 2.510038549551032e-08 + 2.7620088445409746e-07;
  p = p * r + 2.7557268459997064e-06;
  p = p * r + 2.4801521295954376e-05;
  p = p * r + 0.00019841269863053618;
  p = p * r + 0.0013888888917213717;
  p = p * r + 0.008333333333330062;
  p = p * r + 0.04166666666662413;
  p = p * r + 0.16666666666666669;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const auto bits = (Vec<std::uint64_t>)p + ((Vec<std::uint64_t>)z << 52);
  return t > kFloor64 ? (Vec<double>)bits : Vec<double>{};
}

inline Vec<float> exp(Vec<float> t) {
  const Vec<float> magic = splat(0x1.8p23f);
  const Vec<float> x = t < kCap32 ? t : splat(kCap32);
  const Vec<float> z = x * 0x1.715476p0f + magic;
  const Vec<float> r = x - (z - magic) * 0x1.62e430p-1f;
  Vec<float> p = r * 0.0013933649996309251f + 0.008369155667697397f;
  p = p * r + 0.041666464925285904f;
  p = p * r + 0.1666650519575811f;
  p = p * r + 0.500000001346581f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const auto bits = (Vec<std::uint32_t>)p + ((Vec<std::uint32_t>)z << 23);
  return t > kFloor32 ? (Vec<float>)bits : Vec<float>{};
}
#endif

// log(x) for normal x > 0: x = 2^k m with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m-1)/(m+1)).
inline Vec<double> log(Vec<double> x) {
  using Int = Vec<std::int64_t>;
  using UInt = Vec<std::uint64_t>;
  const Int bits = (Int)((UInt)x - 0x3fe6a09e667f3bcd);  // of sqrt(1/2)
  const Vec<double> m = (Vec<double>)((bits & 0x000fffffffffffff) + 0x3fe6a09e667f3bcd);
  const Vec<double> k = (Vec<double>)((bits >> 52) + 0x4338000000000000) - 0x1.8p52;
  const Vec<double> s = (m - 1.0) / (m + 1.0), z = s * s;
  Vec<double> p = z * (1.0 / 21) + 1.0 / 19;
  p = p * z + 1.0 / 17;
  p = p * z + 1.0 / 15;
  p = p * z + 1.0 / 13;
  p = p * z + 1.0 / 11;
  p = p * z + 1.0 / 9;
  p = p * z + 1.0 / 7;
  p = p * z + 1.0 / 5;
  p = p * z + 1.0 / 3;
  return k * 0x1.62e42fefa39efp-1 + (2.0 * s + (2.0 * s * z) * p);
}

// x^q for x >= 0, with 0 at 0 (and below the normal numbers) whatever q is.
inline Vec<double> power(Vec<double> x, double q) {
  const Vec<double> tiny = splat(0x1p-1022), zero{};
  return x < tiny ? zero : exp(q * log(x < tiny ? tiny : x));
}

}  // namespace ot::cpu::OT_CONCAT(level_, OT_LEVEL)
