// The gradient of a pass with respect to the points x.
#pragma once
#include "cpu/kernels/block-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// dc(x, y)/dx_k = p |x - y|^(p - 2) direction(x_k, y_k) for powers of the norm, 0 where x = y; direction alone for
// the others.
struct Difference {
  static Vec<double> of(double x, Vec<double> y) { return x - y; }
};
struct MinusY {  // of x - y, where x is taken out of the sum
  static Vec<double> of(double, Vec<double> y) { return -y; }
};
struct Sign {
  static Vec<double> of(double x, Vec<double> y) {
    const Vec<double> one = splat(1.0), zero{}, z = x - y;
    return z > 0 ? one : z < 0 ? -one : zero;
  }
};

// Weights W of `rows` rows from i on and `len` columns from j on (row stride kTile), and the gradient of row i.
struct WeightedTile {
  const Geometry& g;
  index i, rows, j, len;
  const double* weight;
  double* out;  // (rows, d)
};

// out_rk += sum_j W_rj direction(x_rk, y_jk) over a tile, for K coordinates from k on.
// Memory traffic: kRows + K loads from cache for kRows K products, whose sums stay in registers.
template <class TC, class Direction, index K>
void add_coordinates(const WeightedTile& t, index k) {
  constexpr index W = lanes<double>, P = kPanel / sizeof(TC);
  const index d = t.g.d;
  const TC *y = static_cast<const TC*>(t.g.yt) + t.j * d + k * P, *x = static_cast<const TC*>(t.g.x) + t.i * d + k;
  double xs[kRows][K];
  for (index r = 0; r < kRows; ++r)
    for (index c = 0; c < K; ++c) xs[r][c] = x[(r < t.rows ? r : 0) * d + c];
  Vec<double> sum[kRows][K] = {};
  for (index l0 = 0; l0 < t.len; l0 += P)
    for (index l = 0; l < P; l += W) {
      Vec<double> ys[K];
#pragma GCC unroll 4
      for (index c = 0; c < K; ++c) ys[c] = load_f64(y + l0 * d + c * P + l);
#pragma GCC unroll 4
      for (index r = 0; r < kRows; ++r) {
        const Vec<double> w = load(t.weight + r * kTile + l0 + l);
#pragma GCC unroll 4
        for (index c = 0; c < K; ++c) sum[r][c] += w * Direction::of(xs[r][c], ys[c]);
      }
    }
  for (index r = 0; r < t.rows; ++r)
    for (index c = 0; c < K; ++c) t.out[r * d + k + c] += reduce<double>(sum[r][c]);
}

// The same for all coordinates, four at a time.
template <class TC, class Direction>
void add_tile(const WeightedTile& t) {
  index k = 0;
  for (; k + 4 <= t.g.d; k += 4) add_coordinates<TC, Direction, 4>(t, k);
  switch (t.g.d - k) {
    case 1: return add_coordinates<TC, Direction, 1>(t, k);
    case 2: return add_coordinates<TC, Direction, 2>(t, k);
    case 3: return add_coordinates<TC, Direction, 3>(t, k);
    default: return;
  }
}

// Cosine: takes away the part of the gradient along x, which does not change the angle.
template <class TC>
inline void project(const TC* x, index d, double* gradient) {
  double along = 0, square = 0;
  for (index k = 0; k < d; ++k) {
    along += gradient[k] * x[k];
    square += static_cast<double>(x[k]) * x[k];
  }
  for (index k = 0; k < d; ++k) gradient[k] -= along / square * x[k];
}

// gradient_i = sum_j w_r e_rj dc(x_i, y_j)/dx_i = sum_j W_rj direction(x_i, y_j) for the rows of a block from i on.
// Where costs are expanded (squared norms, d >= 8) so is the gradient: x_i sum_j W_rj - sum_j W_rj y_j.
// Memory traffic: the exponentials of the block from cache, y once for kRows rows; d products an entry.
template <class TC, class TE>
inline void gradient(const Block<TC, TE>& block, index i, index rows, const double* w) {
  const PassArgs& A = block.A;
  const Geometry& g = A.geo;
  for (index r = 0; r < rows * g.d; ++r) A.gradient[i * g.d + r] = 0;
  const bool expanded = g.xx != nullptr;
  const bool norm = g.cost == Cost::euclidean || g.cost == Cost::power;
  const double p = g.cost == Cost::power ? g.p : 1, half = 0.5 * p - 1;
  constexpr index W = lanes<double>, P = kPanel / sizeof(TC);
  alignas(64) double weight[kRows * kTile];
  for (index r0 = 0; r0 < rows; r0 += kRows) {
    const index some = rows - r0 < kRows ? rows - r0 : kRows;
    double total[kRows] = {};
    double* out = A.gradient + (i + r0) * g.d;
    for_tiles(g.m, [&](index j, index len) {
      const index whole = round_up(len, P);
      const TC* squares = block.tiles.buffer;  // |x - y|^2
      if (norm) tile_of_points<TC, SquaredDifference, 0>(g, i + r0, some, j, len, block.tiles.buffer);
      for (index r = 0; r < kRows; ++r) {
        double* to = weight + r * kTile;
        const double scale = r >= some ? 0 : g.cost == Cost::sqeuclidean ? 2 * w[r0 + r] : p * w[r0 + r];
        const TE* __restrict e = block.row(r0 + (r < some ? r : 0)) + j;
        for (index l = 0; l < len; ++l) to[l] = scale * e[l];
        for (index l = len; l < whole; ++l) to[l] = 0;
        if (expanded)
          for (index l = 0; l < len; ++l) total[r] += to[l];
        if (norm && r < some)
          for (index l = 0; l < whole; l += W)
            store(to + l, load(to + l) * power(load_f64(squares + r * kTile + l), half));
      }
      const WeightedTile tile{.g = g, .i = i + r0, .rows = some, .j = j, .len = whole, .weight = weight, .out = out};
      if (g.cost == Cost::cityblock) add_tile<TC, Sign>(tile);
      else if (expanded) add_tile<TC, MinusY>(tile);
      else add_tile<TC, Difference>(tile);
    });
    for (index r = 0; r < some; ++r) {
      const TC* x = static_cast<const TC*>(g.x) + (i + r0 + r) * g.d;
      if (expanded)
        for (index k = 0; k < g.d; ++k) out[r * g.d + k] += total[r] * x[k];
      if (g.cost == Cost::cosine) project(x, g.d, out + r * g.d);
    }
  }
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
