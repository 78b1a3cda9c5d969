// Exponentials of a block of rows, and what is summed over them.
#pragma once
#include "cpu/kernels/compress-inl.hpp"
#include "cpu/kernels/costs-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// phi_i + h_j - (C_ij - shift)/reg, computed in float64 whatever C is, then rounded to the type of the exponential.
struct Exponent {
  double shift, minus_inv_reg;
  template <class T>
  double operator()(T c, double h_phi) const {
    return (static_cast<double>(c) - shift) * minus_inv_reg + h_phi;
  }
  template <class T>
  Vec<double> vector(const T* c, const double* h, double phi) const {
    return (load_f64(c) - shift) * minus_inv_reg + (load(h) + phi);
  }
  template <class T>
  void vector(const T* c, const double* h, double phi, Vec<double>& t) const {
    t = vector(c, h, phi);
  }
  template <class T>
  void vector(const T* c, const double* h, double phi, Vec<float>& t) const {
    constexpr index W = lanes<double>;
    t = narrow(vector(c, h, phi), vector(c + W, h + W, phi));
  }
};

// e_j = exp(exponent) over a tile of one row; returns their sum. Sums in TE extend over one tile only, so that float32
// sums stay accurate.
template <class TC, class TE>
inline double exp_tile(const TC* __restrict c, const double* __restrict h, double phi, Exponent exponent,
                       TE* __restrict e, index len, Ahead<TC> ahead) {
  constexpr index W = lanes<TE>;
  Vec<TE> sum{}, t;
  index j = 0;
  for (; j + W <= len; j += W) {
    __builtin_prefetch(ahead.at + j * ahead.stride, 0, 3);
    exponent.vector(c + j, h + j, phi, t);
    t = exp(t);
    store(e + j, t);
    sum += t;
  }
  if (j < len) {  // the last register is filled up with exp(-inf) = 0, in e too
    TC tail[W] = {};
    double last[W];
    for (index l = 0; l < W; ++l) last[l] = j + l < len ? h[j + l] : -__builtin_inf();
    __builtin_memcpy(tail, c + j, (len - j) * sizeof(TC));
    exponent.vector(tail, last, phi, t);
    t = exp(t);
    store(e + j, t);
    sum += t;
  }
  return reduce<TE>(sum);
}

// The largest exponent of a tile of one row, with phi = 0.
template <class TC>
inline double max_tile(const TC* __restrict c, const double* __restrict h, Exponent exponent, index len) {
  double best = -__builtin_inf();
#pragma omp simd reduction(OT_MAX : best)
  for (index j = 0; j < len; ++j) {
    const double t = exponent(c[j], h[j]);
    best = t > best ? t : best;
  }
  return best;
}

// col_j += sum_r w_r e_rj over at most kRows rows, whose sum is taken in TE. Rows and col are filled up to whole
// registers. Memory traffic: kRows loads from cache, one load and one store of col for all rows.
template <class TE>
inline void accumulate(const TE* const* e, index rows, const double* weight, double* __restrict col, index m) {
  constexpr index W = lanes<TE>;
  TE w[kRows];
  for (index r = 0; r < kRows; ++r) w[r] = r < rows ? static_cast<TE>(weight[r]) : TE(0);
  for (index j = 0; j < m; j += W) {
    Vec<TE> s0 = load(e[0] + j) * w[0], s1 = load(e[1] + j) * w[1];
#pragma GCC unroll 4
    for (index r = 2; r < kRows; r += 2) {
      s0 += load(e[r] + j) * w[r];
      s1 += load(e[r + 1] + j) * w[r + 1];
    }
    add_to(col + j, s0 + s1);
  }
}

// The exponentials of a block of `height` rows, kept in cache until the sums of the rows are known.
template <class TC, class TE>
struct Block {
  const PassArgs& A;
  Exponent exponent;
  index stride;  // of the rows of e
  TE* e;
  Tiles<TC> tiles;
  index height;

  Block(const PassArgs& args, index last)
      : A(args),
        exponent{args.geo.shift, -args.inv_reg},
        stride(row_stride(args.geo.m)),
        e(static_cast<TE*>(args.work)),
        tiles(args.geo, last, static_cast<char*>(args.work) + block_rows(args.geo) * stride * 8),
        height(block_rows(args.geo)) {}

  TE* row(index r) const { return e + r * stride; }

  // e and its row sums, for rows [i, i + rows).
  void exponentials(index i, index rows, double* sum) const {
    for (index r = 0; r < rows; ++r) sum[r] = 0;
    tiles.each(i, rows, [&](index r, index j, index len, const TC* c) {
      sum[r] += exp_tile(c, A.h + j, A.phi[i + r], exponent, row(r) + j, len, tiles.ahead(i + r, c));
    });
  }

  // Redoes the `bad` rows with phi_i = -max_j (h_j - (C_ij - shift)/reg): exponentials lie in [0, 1], one equals 1.
  // Two more reads of the costs of the block.
  void restabilise(index i, index rows, const bool* bad, double* sum) const {
    double best[kMaxRows];
    for (index r = 0; r < rows; ++r) best[r] = -__builtin_inf();
    tiles.each(i, rows, [&](index r, index j, index len, const TC* c) {
      if (!bad[r]) return;
      const double t = max_tile(c, A.h + j, exponent, len);
      best[r] = t > best[r] ? t : best[r];
    });
    for (index r = 0; r < rows; ++r) {
      if (!bad[r]) continue;
      sum[r] = 0;
      A.phi[i + r] = -best[r];
      if (best[r] > -__builtin_inf()) continue;
      A.phi[i + r] = 0;  // a row without an allowed pair
      for (index j = 0; j < A.geo.m; ++j) row(r)[j] = 0;
    }
    tiles.each(i, rows, [&](index r, index j, index len, const TC* c) {
      if (!bad[r] || !(best[r] > -__builtin_inf())) return;
      sum[r] += exp_tile(c, A.h + j, -best[r], exponent, row(r) + j, len, {c, 1});
    });
  }

  // cost_r = sum_j e_rj (C_rj - shift) of rows [i, i + rows), with 0 inf = 0: one more read of the costs.
  void costs(index i, index rows, double* cost) const {
    for (index r = 0; r < rows; ++r) cost[r] = 0;
    tiles.each(i, rows, [&](index r, index j, index len, const TC* __restrict c) {
      const TE* __restrict v = row(r) + j;
      double sum = cost[r];
#pragma omp simd reduction(+ : sum)
      for (index l = 0; l < len; ++l)
        sum += v[l] > 0 ? static_cast<double>(v[l]) * (static_cast<double>(c[l]) - A.geo.shift) : 0.0;
      cost[r] = sum;
    });
  }

  // col_j += sum_r w_r e_rj.
  void add_columns(index rows, const double* w, double* col) const {
    for (index r0 = 0; r0 < rows; r0 += kRows) {
      const index some = rows - r0 < kRows ? rows - r0 : kRows;
      const TE* e[kRows];
      for (index r = 0; r < kRows; ++r) e[r] = row(r0 + (r < some ? r : 0));
      accumulate(e, some, w + r0, col, A.geo.m);
    }
  }
};

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
