// exp, log and powers of one register.
#pragma once
#include "cpu/kernels/simd-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// exp(t) = 2^k exp(r) with t = k ln2 + r. Adding and subtracting `magic`, a number whose last bit is worth one step of
// k, rounds t/ln2 to k; exp(r) is a polynomial. k ln2 is rounded once: a relative error of eps |t|, as large as that
// which the rounding of t itself causes. Below the floor the result is exactly 0: at -680, exp(t) = 1e-295, and the
// product with a weight of 1e-12 is still a normal number (a product that is denormal takes about a hundred cycles).
// Above the cap the result is large or infinite; with AVX-512, and far above, of either sign.
inline constexpr double kFloor64 = -680.0, kCap64 = 709.0;
inline constexpr float kFloor32 = -75.0f, kCap32 = 88.0f;

#if defined(__AVX512F__)
// k in steps of 1/16 (float32: 1/32). The 16 (32) values 2^(l/16) are a table in two registers, so that half of the
// polynomial suffices; vscalef multiplies by 2^floor(k). 14 (11) instructions a register.
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
// k in steps of 1: a shift moves it from the last bits of z to the exponent.
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

// log(x) for normal x > 0: x = 2^k m with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s) with s = (m - 1)/(m + 1), a
// series in s^2. k becomes a float64 by way of the bits of 2^52 + 2^51 + k.
inline Vec<double> log(Vec<double> x) {
  using Int = Vec<std::int64_t>;
  using UInt = Vec<std::uint64_t>;
  const Int bits = (Int)((UInt)x - 0x3fe6a09e667f3bcd);  // 0x3fe6a09e667f3bcd: the bits of sqrt(1/2)
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

// x^q for x >= 0; 0 for x = 0 and denormal x, also where q < 0.
inline Vec<double> power(Vec<double> x, double q) {
  const Vec<double> tiny = splat(0x1p-1022), zero{};
  return x < tiny ? zero : exp(q * log(x < tiny ? tiny : x));
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
