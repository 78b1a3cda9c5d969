// Tiles of costs, whether C is stored or computed from points.
#pragma once
#include "cpu/kernels.hpp"
#include "cpu/kernels/exp_log-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// A cost between points: `accumulate` adds what a coordinate contributes, `finish` turns the sums of row i, columns
// [j, j + len), into costs.
struct SquaredDifference {
  template <class V, class T>
  static V accumulate(V acc, T x, V y) {
    const V z = x - y;
    return acc + z * z;
  }
  template <class T>
  static void finish(const Geometry&, index, index, index, T*) {}
};
struct EuclideanDifference : SquaredDifference {
  template <class T>
  static void finish(const Geometry&, index, index, index len, T* c) {
    for (index j = 0; j < len; ++j) c[j] = sizeof(T) == 8 ? __builtin_sqrt(c[j]) : __builtin_sqrtf(c[j]);
  }
};
struct PowerDifference : SquaredDifference {
  template <class T>
  static void finish(const Geometry& g, index, index, index len, T* c) {
    constexpr index W = lanes<double>;
    for (index j = 0; j < len; j += W) store_as(c + j, power(load_f64(c + j), 0.5 * g.p));  // up to a whole panel
  }
};
struct AbsoluteDifference {
  template <class V, class T>
  static V accumulate(V acc, T x, V y) {
    const V z = x - y;
    return acc + (z < 0 ? -z : z);
  }
  template <class T>
  static void finish(const Geometry&, index, index, index, T*) {}
};
struct Product {
  template <class V, class T>
  static V accumulate(V acc, T x, V y) {
    return acc + x * y;
  }
};
struct SquaredProduct : Product {  // |x|^2 + |y|^2 - 2 x.y, for points that are centred beforehand
  template <class T>
  static void finish(const Geometry& g, index i, index j, index len, T* c) {
    const T xx = static_cast<const T*>(g.xx)[i];
    const T* yy = static_cast<const T*>(g.yy) + j;
    for (index l = 0; l < len; ++l) {
      const T v = xx + yy[l] - 2 * c[l];
      c[l] = v > 0 ? v : 0;
    }
  }
};
struct CosineProduct : Product {  // 1 - x.y, for points that are normalised beforehand
  template <class T>
  static void finish(const Geometry&, index, index, index len, T* c) {
    for (index l = 0; l < len; ++l) c[l] = c[l] < 1 ? 1 - c[l] : 0;
  }
};

// Costs of `rows` rows and `len` columns to out (row stride kTile). D is the dimension where it is known at compile
// time, else 0. y lies in panels: kPanel bytes of coordinate 0, kPanel bytes of coordinate 1, and so on.
// Memory traffic: a panel is read from L2 once and serves all rows from L1; d (4 + 3) loads for 12 registers of costs,
// whose 4 x 3 sums stay in registers.
template <class T, class Pair, int D>
void tile_of_points(const Geometry& g, index i, index rows, index j, index len, T* out) {
  constexpr index W = lanes<T>, P = kPanel / sizeof(T);
  const index d = D ? D : g.d;
  for (index p = 0; p < len; p += P) {
    const T* panel = static_cast<const T*>(g.yt) + (j + p) * d;
    for (index r0 = 0; r0 < rows; r0 += 4) {
      const T* x[4];
      for (index r = 0; r < 4; ++r) x[r] = static_cast<const T*>(g.x) + (i + (r0 + r < rows ? r0 + r : rows - 1)) * d;
      for (index l = 0; l < P; l += 3 * W) {
        Vec<T> acc[4][3] = {};
        for (index k = 0; k < d; ++k) {
          const T* y = panel + k * P + l;
          const Vec<T> y0 = load(y), y1 = load(y + W), y2 = load(y + 2 * W);
#pragma GCC unroll 4
          for (index r = 0; r < 4; ++r) {
            const T xr = x[r][k];
            acc[r][0] = Pair::accumulate(acc[r][0], xr, y0);
            acc[r][1] = Pair::accumulate(acc[r][1], xr, y1);
            acc[r][2] = Pair::accumulate(acc[r][2], xr, y2);
          }
        }
#pragma GCC unroll 4
        for (index r = 0; r < 4; ++r) {
          T* to = out + (r0 + r) * kTile + p + l;
          store(to, acc[r][0]);
          store(to + W, acc[r][1]);
          store(to + 2 * W, acc[r][2]);
        }
      }
    }
  }
  for (index r = 0; r < rows; ++r) Pair::finish(g, i + r, j, len, out + r * kTile);
}

// Rows [i, i + rows) of column-major costs to out, with this row stride.
// Memory traffic: `rows` consecutive entries of each column.
template <class T>
void rows_of_columns(const Geometry& g, index i, index rows, T* out, index stride) {
  constexpr index W = lanes<T>;
  const T* C = static_cast<const T*>(g.C) + i;
  const index square_rows = rows - rows % W, squares = g.m - g.m % W;
  for (index j = 0; j < squares; j += W)
    for (index r = 0; r < square_rows; r += W) transpose(C + j * g.ld + r, g.ld, out + r * stride + j, stride);
  for (index j = 0; j < g.m; ++j)
    for (index r = j < squares ? square_rows : 0; r < rows; ++r) out[r * stride + j] = C[j * g.ld + r];
}

// f(j, len) for every tile of columns. All costs have the same tiles, so that sums have the same order.
template <class F>
inline void for_tiles(index m, F f) {
  for (index j = 0; j < m; j += kTile) f(j, m - j < kTile ? m - j : kTile);
}

// What is prefetched with column l of a tile: at + l stride.
template <class T>
struct Ahead {
  const T* at;
  index stride;
};

// The costs of the rows of a call, which end at `last`, in blocks from the first to the last. Row-major costs are read
// where they are. The buffer holds kHeld rows of column-major costs, or a tile of those of points.
template <class T>
struct Tiles {
  using Compute = void (*)(const Geometry&, index i, index rows, index j, index len, T* out);
  const Geometry& g;
  const index last;
  T* buffer;
  Compute compute;          // of a tile of points; null: costs are stored
  mutable index held = -1;  // the first row in the buffer

  Tiles(const Geometry& geo, index end, void* work)
      : g(geo), last(end), buffer(static_cast<T*>(work)), compute(choose(geo)) {}

  // The costs of row i, where they are stored.
  const T* row(index i) const {
    if (!g.column_major) return static_cast<const T*>(g.C) + i * g.ld;
    const index stride = row_stride(g.m);
    if (held < 0 || i < held || i >= held + kHeld) {
      held = i;
      rows_of_columns(g, i, last - i < kHeld ? last - i : kHeld, buffer, stride);
    }
    return buffer + (i - held) * stride;
  }

  // Rows [i, i + rows) of one tile of columns, in the buffer where they are not row-major. No row is held after it.
  struct Window {
    const T* at;
    index stride;
  };
  Window window(index i, index rows, index j, index len) const {
    if (compute) {
      compute(g, i, rows, j, len, buffer);
      return {buffer, kTile};
    }
    if (!g.column_major) return {static_cast<const T*>(g.C) + i * g.ld + j, g.ld};
    Geometry part = g;
    part.C = static_cast<const T*>(g.C) + j * g.ld;
    part.m = len;
    held = -1;
    rows_of_columns(part, i, rows, buffer, kTile);
    return {buffer, kTile};
  }

  // With a tile c of row i: row-major costs kAhead bytes ahead; of column-major ones a share of the cache lines of the
  // rows that are held next, so that all have come when these are read.
  Ahead<T> ahead(index i, const T* c) const {
    constexpr index line = 64 / sizeof(T), lines = kHeld / line;  // entries of a cache line; lines of a column
    const index next = held + kHeld, share = i - held;
    if (!g.column_major || next >= last) return {c + kAhead / sizeof(T), 1};
    const index j = c - (buffer + share * row_stride(g.m)) + share / lines % line;
    return {static_cast<const T*>(g.C) + j * g.ld + next + share % lines * line, g.ld};
  }

  // f(r, j, len, c) for every row i + r of a block and every tile of columns, with its costs c; a row goes from left to
  // right. Memory traffic: C is read once, as one stream where it is row-major.
  template <class F>
  void each(index i, index rows, F f) const {
    if (!compute) {
      for (index r = 0; r < rows; ++r) {
        const T* c = row(i + r);
        for_tiles(g.m, [&](index j, index len) { f(r, j, len, c + j); });
      }
      return;
    }
    for_tiles(g.m, [&](index j, index len) {
      compute(g, i, rows, j, len, buffer);
      for (index r = 0; r < rows; ++r) f(r, j, len, buffer + r * kTile);
    });
  }

  static Compute choose(const Geometry& g) {
    if (g.kind == Kind::dense) return nullptr;
    switch (g.cost) {
      case Cost::sqeuclidean:
        if (g.xx) return tile_of_points<T, SquaredProduct, 0>;
        if (g.d == 1) return tile_of_points<T, SquaredDifference, 1>;
        if (g.d == 2) return tile_of_points<T, SquaredDifference, 2>;
        if (g.d == 3) return tile_of_points<T, SquaredDifference, 3>;
        return tile_of_points<T, SquaredDifference, 0>;
      case Cost::euclidean: return tile_of_points<T, EuclideanDifference, 0>;
      case Cost::cityblock: return tile_of_points<T, AbsoluteDifference, 0>;
      case Cost::power: return tile_of_points<T, PowerDifference, 0>;
      default: return tile_of_points<T, CosineProduct, 0>;
    }
  }
};

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
