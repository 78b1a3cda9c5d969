// Costs as kernels read them: stored, or computed from two point clouds.
#pragma once
#include "cuda/math.hpp"

namespace ot::cuda {

// Memory traffic: one read of C, coalesced where it is row-major. Column-major, a warp reads as many sectors of 32
// bytes as it has lanes, and finds the rows that follow in cache.
template <class T, bool kColumnMajor = false>
struct Dense {
  using Real = T;
  const T* C;
  index ld;

  OT_HD const T* address(index i, index j) const { return kColumnMajor ? C + j * ld + i : C + i * ld + j; }
  OT_HD T at(index i, index j) const { return *address(i, j); }

  // Costs of rows [i, i + R), at most last - 1, at columns j, j + step, ... before `end`: fetch starts copies to shared
  // memory, tile reads them after slots.ready().
  static constexpr bool kFetched = true;
  template <int K, int R, class Slots>
  OT_HD void fetch(Slots& slots, int t, index i, index last, index j, int step, index end) const {
    OT_UNROLL for (int r = 0; r < R; ++r) {
      const T* first = address(i + r < last ? i + r : last - 1, j);
      OT_UNROLL for (int k = 0; k < K; ++k) {
        if (j + k * step < end) slots.fetch(t, r * K + k, first + (kColumnMajor ? k * step * ld : k * step));
      }
    }
  }
  template <int K, int R, class Slots>
  OT_HD void tile(Slots& slots, int t, index, index, index, int, index, Reg<T, K * R>& c) const {
    OT_UNROLL for (int l = 0; l < K * R; ++l) c[l] = slots(t, l);
  }
};

// x is (n, d), y is (d, ldy): threads side by side read columns side by side. D is d where it is known at compile time
// (squared differences), else 0. Memory traffic: see tile.
template <class T, int D>
struct Points {
  using Real = T;
  const T *x, *y, *xx, *yy;
  index d, ldy;
  Cost cost;
  T half;  // p / 2, for powers of the norm

  OT_HD T add(T sum, T a, T b) const {
    const T z = a - b;
    if (D > 0) return sum + z * z;
    switch (cost) {
      case Cost::sqeuclidean: return xx ? sum + a * b : sum + z * z;
      case Cost::euclidean:
      case Cost::power: return sum + z * z;
      case Cost::cityblock: return sum + (z < 0 ? -z : z);
      default: return sum + a * b;
    }
  }
  // Expanded squares where xx is given: points are then centred. Cosine: points have norm 1.
  OT_HD T finish(T sum, index i, index j) const {
    if (D > 0) return sum;
    switch (cost) {
      case Cost::sqeuclidean:
        if (xx) sum = xx[i] + yy[j] - 2 * sum;
        return sum > 0 ? sum : T(0);
      case Cost::euclidean: return static_cast<T>(sqrt(sum));
      case Cost::power: return static_cast<T>(pow(sum, half));
      case Cost::cityblock: return sum;
      default: return sum < 1 ? 1 - sum : T(0);
    }
  }
  // dc(x_i, y_j)/dx_ik = weight direction_k, with weight p |x - y|^(p - 2) for powers of the norm, 0 where x = y.
  OT_HD double weight(index i, index j) const {
    if (cost == Cost::sqeuclidean) return 2;
    if (cost != Cost::euclidean && cost != Cost::power) return 1;
    double s = 0;
    for (index k = 0; k < d; ++k) {
      const double z = static_cast<double>(x[i * d + k]) - static_cast<double>(y[k * ldy + j]);
      s += z * z;
    }
    if (!(s > 0)) return 0;
    return cost == Cost::euclidean ? 1 / sqrt(s)
                                   : 2 * static_cast<double>(half) * pow(s, static_cast<double>(half) - 1);
  }
  // Of the cosine without its part along x_i, which Gradient takes away from the sum.
  OT_HD double direction(index i, index j, index k) const {
    const auto a = static_cast<double>(x[i * d + k]), b = static_cast<double>(y[k * ldy + j]);
    if (cost == Cost::cityblock) return (a > b) - (a < b);
    return cost == Cost::cosine ? -b : a - b;
  }

  OT_HD T at(index i, index j) const {
    T sum = 0;
    const index depth = D ? D : d;
    for (index k = 0; k < depth; ++k) sum = add(sum, x[i * depth + k], y[k * ldy + j]);
    return finish(sum, i, j);
  }

  // A coordinate of y is read once for R rows, one of x once for K columns.
  static constexpr bool kFetched = false;
  template <int K, int R, class Slots>
  OT_HD void fetch(Slots&, int, index, index, index, int, index) const {}
  template <int K, int R, class Slots>
  OT_HD void tile(Slots&, int, index i, index last, index j, int step, index end, Reg<T, K * R>& c) const {
    const index depth = D ? D : d;
    OT_UNROLL for (int l = 0; l < K * R; ++l) c[l] = 0;
    for (index k = 0; k < depth; ++k) {
      Reg<T, K> b;
      OT_UNROLL for (int l = 0; l < K; ++l) b[l] = j + l * step < end ? y[k * ldy + j + l * step] : T(0);
      OT_UNROLL for (int r = 0; r < R; ++r) {
        const T a = x[(i + r < last ? i + r : last - 1) * depth + k];
        OT_UNROLL for (int l = 0; l < K; ++l) c[r * K + l] = add(c[r * K + l], a, b[l]);
      }
    }
    if constexpr (D == 0) {
      OT_UNROLL for (int r = 0; r < R; ++r) {
        const index row = i + r < last ? i + r : last - 1;
        OT_UNROLL for (int l = 0; l < K; ++l) {
          if (j + l * step < end) c[r * K + l] = finish(c[r * K + l], row, j + l * step);
        }
      }
    }
  }
};

}  // namespace ot::cuda
