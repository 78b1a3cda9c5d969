// Vectors of a problem, products with kept entries, and what the machine can reach at most. Part of
// kernels-inl.hpp.
#pragma once

namespace ot::cpu::OT_CONCAT(level_, OT_LEVEL) {

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

// out_k = sum_j w_j v_j d_kj
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

// out = x - sum_k c_k d_k
void combine(const double* x, const double* c, const double* const* d, int count, index n, double* out) {
  for (index j = 0; j < n; ++j) out[j] = x[j];
  for (int k = 0; k < count; ++k) {
    const double* __restrict y = d[k];
    double* __restrict to = out;
    for (index j = 0; j < n; ++j) to[j] -= c[k] * y[j];
  }
}

// out_j = sum of `count` rows, in order.
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

// ---------------------------------------------------------------- kept entries

// out_i = sum_k val_k x[idx_k] over the entries of row i (val_k^2 for `square`): one gather and
// 12 bytes read an entry.
template <bool square>
void kept_product(const Entries& T, const double* x, double* out, index i0, index i1) {
  constexpr index W = lanes<double>;
  for (index i = i0; i < i1; ++i) {
    Vec<double> s0{}, s1{};
    index k = T.begin[i];
    const index end = T.end[i];
    const auto term = [&](index at) {
      const Vec<double> v = load(T.val + at);
      return (square ? v * v : v) * gather(x, T.idx + at);
    };
    for (; k + 2 * W <= end; k += 2 * W) {
      s0 += term(k);
      s1 += term(k + W);
    }
    if (k + W <= end) {
      s0 += term(k);
      k += W;
    }
    if (k < end) {
      const Vec<double> v = load_some(T.val + k, end - k);
      s1 += (square ? v * v : v) * gather_some(x, T.idx + k, end - k);
    }
    out[i] = reduce<double>(s0 + s1);
  }
}

// ---------------------------------------------------------------- limits of the machine

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

}  // namespace ot::cpu::OT_CONCAT(level_, OT_LEVEL)
