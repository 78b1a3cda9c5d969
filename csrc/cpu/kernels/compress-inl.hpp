// Comparisons of a register with a bound, and the lanes that pass it: counted, added, or stored one behind another
// (one compress instruction with AVX-512).
#pragma once
#include "cpu/kernels/simd-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// sum += w in the lanes where v > cut (OrEqual: v >= cut). Returns how many there are.
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

// How many lanes of v are above cut.
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

// Stores scale v to val and j + lane to idx for the lanes with v > cut, one behind another. Returns how many there
// are. Whole registers are written: both need room for one.
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

// The same for another value: stores w where v > cut.
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

// Stores v and its idx for the first `count` lanes with low <= v < high, one behind another, to val and `to`. Returns
// how many there are. Whole registers are written, `count` idx are read.
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

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
