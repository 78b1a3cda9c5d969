// Exponentials in base 2, the same on device and host. Exponents are scaled by log2(e) beforehand: splitting off the
// integer part is then exact.
#pragma once
#include <cmath>
#include <cstring>

#include "cuda/team.hpp"

namespace ot::cuda {

inline constexpr double kLog2e = 1.4426950408889634, kLn2 = 0.6931471805599453;
inline constexpr double kInf = __builtin_huge_val();

template <class To, class From>
OT_HD inline To bits_as(From x) {
  static_assert(sizeof(To) == sizeof(From));
  To y;
  memcpy(&y, &x, sizeof y);
  return y;
}

// 2^z to 1.6 units in the last place: z = k + r, where adding and subtracting 2^52 + 2^51 (`magic`) rounds z to k; a
// polynomial of degree 11 in r in [-1/2, 1/2]; k is added to the exponent bits. 0 below -1021 (no denormals); 2^1023
// above 1023 and for NaN.
OT_HD inline double exp2_of(double z, double) {
  constexpr double magic = 0x1.8p52;
  const double x = fmin(z, 1023.0);
  const double k = x + magic, r = x - (k - magic);
  double p = fma(r, 0x1.e9d3fe3952179p-32, 0x1.e6063f7217bc6p-28);
  p = fma(r, p, 0x1.b524fae627834p-24);
  p = fma(r, p, 0x1.62bfd47773353p-20);
  p = fma(r, p, 0x1.ffcbfc670dcd4p-17);
  p = fma(r, p, 0x1.430913096fd9fp-13);
  p = fma(r, p, 0x1.5d87fe78a5276p-10);
  p = fma(r, p, 0x1.3b2ab6fba1ddap-7);
  p = fma(r, p, 0x1.c6b08d704a0c2p-5);
  p = fma(r, p, 0x1.ebfbdff82c598p-3);
  p = fma(r, p, 0x1.62e42fefa39efp-1);
  p = fma(r, p, 1.0);
  const auto scaled = bits_as<std::uint64_t>(p) + (bits_as<std::uint64_t>(k) << 52);
  return z < -1021.0 ? 0.0 : bits_as<double>(scaled);
}
// One instruction of the special function unit on the device. 0 below -125 (no denormals).
OT_HD inline float exp2_of(double z, float) {
  const float x = fminf(static_cast<float>(z), 127.0f);
#if defined(__CUDA_ARCH__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return x < -125.0f ? 0.0f : y;
#else
  return x < -125.0f ? 0.0f : exp2f(x);
#endif
}

}  // namespace ot::cuda
