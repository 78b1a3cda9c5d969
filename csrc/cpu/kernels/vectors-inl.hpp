// Vectors of length n or m. Memory traffic: one read of each input, one write of the output; they mostly lie in cache.
#pragma once
#include "cpu/kernels/exp_log-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// out_i = f(x_i), a register at a time; the last one is filled up with 1.
template <class F>
inline void map(const double* x, double* out, index n, F f) {
  constexpr index W = lanes<double>;
  index i = 0;
  for (; i + W <= n; i += W) store(out + i, f(load(x + i)));
  if (i < n) {
    double tail[W];
    for (index l = 0; l < W; ++l) tail[l] = i + l < n ? x[i + l] : 1.0;
    store(tail, f(load(tail)));
    __builtin_memcpy(out + i, tail, (n - i) * sizeof(double));
  }
}
void exp_array(const double* x, double* out, index n) {
  map(x, out, n, [](Vec<double> v) { return exp(v); });
}
void log_array(const double* x, double* out, index n) {
  map(x, out, n, [](Vec<double> v) { return log(v < 0x1p-1022 ? splat(0x1p-1022) : v); });
}

// out_k = sum_j w_j v_j d_kj, in four partial sums a lane.
void dots(const double* w, const double* v, const double* const* d, int count, index n, double* out) {
  constexpr index W = lanes<double>;
  for (int k = 0; k < count; ++k) {
    const double* x = d[k];
    Vec<double> s0{}, s1{}, s2{}, s3{};
    index j = 0;
    for (; j + 4 * W <= n; j += 4 * W) {
      s0 += load(w + j) * load(v + j) * load(x + j);
      s1 += load(w + j + W) * load(v + j + W) * load(x + j + W);
      s2 += load(w + j + 2 * W) * load(v + j + 2 * W) * load(x + j + 2 * W);
      s3 += load(w + j + 3 * W) * load(v + j + 3 * W) * load(x + j + 3 * W);
    }
    double tail = 0;
    for (; j < n; ++j) tail += w[j] * v[j] * x[j];
    out[k] = reduce<double>((s0 + s1) + (s2 + s3)) + tail;
  }
}

// out = x - sum_k c_k d_k.
void combine(const double* x, const double* c, const double* const* d, int count, index n, double* out) {
  for (index j = 0; j < n; ++j) out[j] = x[j];
  for (int k = 0; k < count; ++k) {
    const double* __restrict y = d[k];
    double* __restrict to = out;
    for (index j = 0; j < n; ++j) to[j] -= c[k] * y[j];
  }
}

// out_j = sum_c rows_cj for j in [j0, j1), in the order of c: partial column sums of `count` chunks, row by row.
void add_rows(const double* rows, index count, index stride, index j0, index j1, double* out) {
  constexpr index W = lanes<double>;
  index j = j0;
  for (; j + 4 * W <= j1; j += 4 * W) {
    Vec<double> s[4] = {};
    for (index c = 0; c < count; ++c)
#pragma GCC unroll 4
      for (index l = 0; l < 4; ++l) s[l] += load(rows + c * stride + j + l * W);
#pragma GCC unroll 4
    for (index l = 0; l < 4; ++l) store(out + j + l * W, s[l]);
  }
  for (; j < j1; ++j) {
    double s = 0;
    for (index c = 0; c < count; ++c) s += rows[c * stride + j];
    out[j] = s;
  }
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
