// The hot loops. A pass over C costs one exp per entry and one read of C; everything else is
// arranged to hide behind that. Rows go in blocks of kRows so that a column accumulator is loaded
// and stored once per block, and a block's exponentials stay in cache until its row sums are known.
#include "cpu/kernels.hpp"

#define OT_CONCAT_(a, b) a##b
#define OT_CONCAT(a, b) OT_CONCAT_(a, b)
#define OT_STRING_(a) #a
#define OT_STRING(a) OT_STRING_(a)

#if defined(__AVX512F__)
#define OT_VEC 64
#elif defined(__AVX__)
#define OT_VEC 32
#else
#define OT_VEC 16
#endif

namespace ot::cpu::OT_CONCAT(level_, OT_LEVEL) {

// ---------------------------------------------------------------- exp and log

// Cody-Waite reduction to |r| <= ln2/2, polynomial, exponent added as an integer.
// Arguments above the cap return exp(cap), those below the floor exactly 0: never a denormal.
inline double exp_(double t) {
  constexpr double magic = 0x1.8p52;
  const double x = t < 700.0 ? t : 700.0;
  const double k = x * 0x1.71547652b82fep0 + magic;
  const double q = k - magic;
  const double r = (x - q * 0x1.62e42fee00000p-1) - q * 0x1.a39ef35793c76p-33;
  double p = 2.510038549551032e-08;
  p = p * r + 2.7620088445409746e-07;
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
  const auto bits = __builtin_bit_cast(std::int64_t, p) +
                    static_cast<std::int64_t>(__builtin_bit_cast(std::uint64_t, k) << 52);
  return t > -708.0 ? __builtin_bit_cast(double, bits) : 0.0;
}

inline float exp_(float t) {
  constexpr float magic = 0x1.8p23f;
  const float x = t < 80.0f ? t : 80.0f;
  const float k = x * 0x1.715476p0f + magic;
  const float q = k - magic;
  const float r = (x - q * 0.693359375f) - q * -2.12194440e-4f;
  float p = 0.0013933649996309251f;
  p = p * r + 0.008369155667697397f;
  p = p * r + 0.041666464925285904f;
  p = p * r + 0.1666650519575811f;
  p = p * r + 0.500000001346581f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const auto bits = __builtin_bit_cast(std::int32_t, p) +
                    static_cast<std::int32_t>(__builtin_bit_cast(std::uint32_t, k) << 23);
  return t > -87.0f ? __builtin_bit_cast(float, bits) : 0.0f;
}

// Where row sums leave these bounds, the row is redone with its true maximum as stabiliser.
template <class T>
struct Range;
template <>
struct Range<double> {
  static constexpr double low = 1e-200, high = 1e200;
};
template <>
struct Range<float> {
  static constexpr double low = 1e-12, high = 1e20;
};

void exp_array(const double* x, double* out, index n) {
  for (index i = 0; i < n; ++i) out[i] = exp_(x[i]);
}
void log_array(const double* x, double* out, index n) {
  for (index i = 0; i < n; ++i) out[i] = __builtin_log(x[i]);
}

// ---------------------------------------------------------------- costs of points

template <class T>
using Vec [[gnu::vector_size(OT_VEC)]] = T;

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

// A cost is `core`, accumulated over coordinates, and `epilog` on a row of accumulators.
struct SquaredDifference {
  template <class V, class T>
  static V core(V acc, T x, V y) {
    const V z = x - y;
    return acc + z * z;
  }
  template <class T>
  static void epilog(const Geometry&, index, index, index, T*) {}
};
struct EuclideanDifference : SquaredDifference {
  template <class T>
  static void epilog(const Geometry&, index, index, index len, T* c) {
    for (index j = 0; j < len; ++j) c[j] = sizeof(T) == 8 ? __builtin_sqrt(c[j]) : __builtin_sqrtf(c[j]);
  }
};
struct AbsoluteDifference {
  template <class V, class T>
  static V core(V acc, T x, V y) {
    const V z = x - y;
    return acc + (z < 0 ? -z : z);
  }
  template <class T>
  static void epilog(const Geometry&, index, index, index, T*) {}
};
struct Product {
  template <class V, class T>
  static V core(V acc, T x, V y) {
    return acc + x * y;
  }
};
struct SquaredProduct : Product {  // |x|^2 + |y|^2 - 2 x.y on centred points
  template <class T>
  static void epilog(const Geometry& g, index i, index j, index len, T* c) {
    const T xx = static_cast<const T*>(g.xx)[i];
    const T* yy = static_cast<const T*>(g.yy) + j;
    for (index l = 0; l < len; ++l) {
      const T v = xx + yy[l] - 2 * c[l];
      c[l] = v > 0 ? v : 0;
    }
  }
};
struct CosineProduct : Product {  // points are normalised beforehand
  template <class T>
  static void epilog(const Geometry&, index, index, index len, T* c) {
    for (index l = 0; l < len; ++l) c[l] = c[l] < 1 ? 1 - c[l] : 0;
  }
};

// Costs of kRows x len into out (row stride kTile): 4 x 3 accumulators in registers, so an entry
// costs d core operations and 7/12 of a load per coordinate. Rows beyond `rows` repeat the last one.
template <class T, class Op, int D>
void tile_of_points(const Geometry& g, index i, index rows, index j, index len, T* out) {
  constexpr index W = OT_VEC / sizeof(T);
  const index d = D ? D : g.d;
  const T* y = static_cast<const T*>(g.yt) + j;
  const T* x[kRows];
  for (index r = 0; r < kRows; ++r)
    x[r] = static_cast<const T*>(g.x) + (i + (r < rows ? r : rows - 1)) * d;
  for (index l = 0; l < len; l += 3 * W) {
    Vec<T> acc[kRows][3] = {};
    for (index k = 0; k < d; ++k) {
      const T* yk = y + k * g.m + l;
      const Vec<T> y0 = load(yk), y1 = load(yk + W), y2 = load(yk + 2 * W);
#pragma GCC unroll 4
      for (index r = 0; r < kRows; ++r) {
        const T xr = x[r][k];
        acc[r][0] = Op::core(acc[r][0], xr, y0);
        acc[r][1] = Op::core(acc[r][1], xr, y1);
        acc[r][2] = Op::core(acc[r][2], xr, y2);
      }
    }
#pragma GCC unroll 4
    for (index r = 0; r < kRows; ++r) {
      store(out + r * kTile + l, acc[r][0]);
      store(out + r * kTile + l + W, acc[r][1]);
      store(out + r * kTile + l + 2 * W, acc[r][2]);
    }
  }
  for (index r = 0; r < rows; ++r) Op::epilog(g, i + r, j, len, out + r * kTile);
}

// Costs of a block of rows, tile by tile: a pointer into C, or a buffer filled on the fly.
template <class T>
struct Tiles {
  using Fill = void (*)(const Geometry&, index i, index rows, index j, index len, T* out);
  const Geometry& g;
  T* buffer;
  Fill fill;

  Tiles(const Geometry& geo, void* work) : g(geo), buffer(static_cast<T*>(work)), fill(choose(geo)) {}

  static Fill choose(const Geometry& g) {
    if (g.kind == Kind::dense) return nullptr;
    switch (g.cost) {
      case Cost::sqeuclidean:
        if (g.xx) return tile_of_points<T, SquaredProduct, 0>;
        if (g.d == 1) return tile_of_points<T, SquaredDifference, 1>;
        if (g.d == 2) return tile_of_points<T, SquaredDifference, 2>;
        if (g.d == 3) return tile_of_points<T, SquaredDifference, 3>;
        return tile_of_points<T, SquaredDifference, 0>;
      case Cost::euclidean:
        return tile_of_points<T, EuclideanDifference, 0>;
      case Cost::cityblock:
        return tile_of_points<T, AbsoluteDifference, 0>;
      default:
        return tile_of_points<T, CosineProduct, 0>;
    }
  }
  void at(index i, index rows, index j, index len) const {
    if (fill) fill(g, i, rows, j, len, buffer);
  }
  const T* row(index i, index r, index j) const {
    return fill ? buffer + r * kTile : static_cast<const T*>(g.C) + (i + r) * g.ld + j;
  }
};

// f(j, len) over the columns, in the same tiles whether costs are stored or computed.
template <class F>
inline void for_tiles(index m, F f) {
  for (index j = 0; j < m; j += kTile) f(j, m - j < kTile ? m - j : kTile);
}

// ---------------------------------------------------------------- exponentials of a block of rows

struct Slack {
  double shift, ninv;
  template <class T>
  double operator()(T c, double h_phi) const {
    return (static_cast<double>(c) - shift) * ninv + h_phi;
  }
};

template <class TC, class TE>
inline double exp_tile(const TC* __restrict c, const double* __restrict h, double phi, Slack slack,
                       TE* __restrict e, index len) {
  TE sum = 0;
#pragma omp simd reduction(+ : sum)
  for (index j = 0; j < len; ++j) {
    const TE v = exp_(static_cast<TE>(slack(c[j], h[j] + phi)));
    e[j] = v;
    sum += v;
  }
  return sum;
}

template <class TC>
inline double max_tile(const TC* __restrict c, const double* __restrict h, Slack slack, index len) {
  double best = -__builtin_inf();
#pragma omp simd reduction(max : best)
  for (index j = 0; j < len; ++j) {
    const double t = slack(c[j], h[j]);
    best = t > best ? t : best;
  }
  return best;
}

template <class TC, class TE>
struct Block {
  const PassArgs& A;
  Slack slack;
  index stride;
  TE* e;
  Tiles<TC> tiles;

  explicit Block(const PassArgs& args)
      : A(args),
        slack{args.geo.shift, -args.inv_reg},
        stride(row_stride(args.geo.m)),
        e(static_cast<TE*>(args.work)),
        tiles(args.geo, static_cast<char*>(args.work) + kRows * stride * 8) {}

  TE* row(index r) const { return e + r * stride; }

  void exponentials(index i, index rows, double* sum) const {
    for (index r = 0; r < rows; ++r) sum[r] = 0;
    for_tiles(A.geo.m, [&](index j, index len) {
      tiles.at(i, rows, j, len);
      for (index r = 0; r < rows; ++r)
        sum[r] += exp_tile(tiles.row(i, r, j), A.h + j, A.phi[i + r], slack, row(r) + j, len);
    });
  }

  // phi_i = -max_j slack: exponentials in [0, 1] with at least one equal to 1.
  double restabilised(index i, index r) const {
    double best = -__builtin_inf();
    for_tiles(A.geo.m, [&](index j, index len) {
      tiles.at(i + r, 1, j, len);
      const double t = max_tile(tiles.row(i + r, 0, j), A.h + j, slack, len);
      best = t > best ? t : best;
    });
    if (!(best > -__builtin_inf())) {  // a row without an allowed pair
      A.phi[i + r] = 0;
      for (index j = 0; j < A.geo.m; ++j) row(r)[j] = 0;
      return 0;
    }
    A.phi[i + r] = -best;
    double sum = 0;
    for_tiles(A.geo.m, [&](index j, index len) {
      tiles.at(i + r, 1, j, len);
      sum += exp_tile(tiles.row(i + r, 0, j), A.h + j, -best, slack, row(r) + j, len);
    });
    return sum;
  }

  double cost_of_row(index i, index r) const {
    double sum = 0;
    for_tiles(A.geo.m, [&](index j, index len) {
      tiles.at(i + r, 1, j, len);
      const TC* __restrict c = tiles.row(i + r, 0, j);
      const TE* __restrict v = row(r) + j;
#pragma omp simd reduction(+ : sum)
      for (index l = 0; l < len; ++l)
        sum += v[l] > 0 ? static_cast<double>(v[l]) * (static_cast<double>(c[l]) - A.geo.shift) : 0.0;
    });
    return sum;
  }

  void keep(index i, index r, double scale, double sum) const {
    KeptView& k = *A.kept;
    const TE* v = row(r);
    const TE cut = static_cast<TE>(k.threshold * sum);
    index at = k.begin[i + r] - k.base;
    const index m = A.geo.m;
    for (index j = 0; j < m; j += 32) {
      const index len = m - j < 32 ? m - j : 32;
      TE best = 0;
#pragma omp simd reduction(max : best)
      for (index l = 0; l < len; ++l) best = v[j + l] > best ? v[j + l] : best;
      if (best > cut) {
        for (index l = 0; l < len; ++l) {
          if (v[j + l] > cut) {
            if (at < k.capacity) {
              k.idx[at] = static_cast<std::int32_t>(j + l);
              k.val[at] = scale * v[j + l];
            }
            ++at;
          }
        }
      }
    }
    k.end[i + r] = k.base + at;
  }

  // col_j += sum_r w_r e_rj
  void add_columns(index rows, const double* w) const {
    const TE* __restrict e0 = row(0);
    const TE* __restrict e1 = row(rows > 1 ? 1 : 0);
    const TE* __restrict e2 = row(rows > 2 ? 2 : 0);
    const TE* __restrict e3 = row(rows > 3 ? 3 : 0);
    const TE w0 = w[0], w1 = rows > 1 ? w[1] : 0, w2 = rows > 2 ? w[2] : 0, w3 = rows > 3 ? w[3] : 0;
    double* __restrict col = A.col;
    const index m = A.geo.m;
    for (index j = 0; j < m; ++j) col[j] += (w0 * e0[j] + w1 * e1[j]) + (w2 * e2[j] + w3 * e3[j]);
  }
};

template <class TC, class TE>
void pass(const PassArgs& A, index i0, index i1) {
  const Block<TC, TE> block(A);
  for (index i = i0; i < i1; i += kRows) {
    const index rows = i1 - i < kRows ? i1 - i : kRows;
    double sum[kRows], w[kRows];
    block.exponentials(i, rows, sum);
    for (index r = 0; r < rows; ++r) {
      const index k = i + r;
      if (A.row) A.row[k] = sum[r];
      w[r] = A.a[k];
      if (A.update) {
        if (!(sum[r] > Range<TE>::low && sum[r] < Range<TE>::high)) sum[r] = block.restabilised(i, r);
        if (sum[r] > 0) {
          A.phi[k] -= __builtin_log(sum[r]);
          w[r] /= sum[r];
        }
      }
      if (A.cost) A.cost[k] = block.cost_of_row(i, r);
      if (A.kept) {
        A.kept->begin[k] = k == A.kept->first ? A.kept->base : A.kept->end[k - 1];
        block.keep(i, r, w[r], sum[r]);
      }
    }
    if (A.col) block.add_columns(rows, w);
  }
}

// out = P V (axis 1) or P'V (axis 0) for k vectors, without P.
template <class TC>
void apply(const ApplyArgs& B, index i0, index i1) {
  const PassArgs& A = B.pass;
  const Block<TC, double> block(A);
  const index n = A.geo.n, m = A.geo.m;
  for (index i = i0; i < i1; i += kRows) {
    const index rows = i1 - i < kRows ? i1 - i : kRows;
    double sum[kRows], w[kRows];
    block.exponentials(i, rows, sum);
    for (index k = 0; k < B.k; ++k) {
      if (B.columns) {
        for (index r = 0; r < rows; ++r) w[r] = A.a[i + r] * B.V[k * n + i + r];
        PassArgs to = A;
        to.col = B.out + k * m;
        Block<TC, double>(to).add_columns(rows, w);
      } else {
        const double* __restrict v = B.V + k * m;
        for (index r = 0; r < rows; ++r) {
          const double* __restrict e = block.row(r);
          double s = 0;
#pragma omp simd reduction(+ : s)
          for (index j = 0; j < m; ++j) s += e[j] * v[j];
          B.out[k * n + i + r] = A.a[i + r] * s;
        }
      }
    }
  }
}

// out_ij = scale_i e_ij: the plan (scale = a, h with log b), or a kernel (scale null, h without).
template <class TC, class TE>
void plan(const PassArgs& A, void* out, index ld, const double* scale, index i0, index i1) {
  const Block<TC, TE> block(A);
  for (index i = i0; i < i1; i += kRows) {
    const index rows = i1 - i < kRows ? i1 - i : kRows;
    double sum[kRows];
    block.exponentials(i, rows, sum);
    for (index r = 0; r < rows; ++r) {
      TE* __restrict to = static_cast<TE*>(out) + (i + r) * ld;
      const TE* __restrict e = block.row(r);
      const double s = scale ? scale[i + r] : 1.0;
      for (index j = 0; j < A.geo.m; ++j) to[j] = static_cast<TE>(s * e[j]);
    }
  }
}

// ---------------------------------------------------------------- stored kernel

// Products in float64 whatever K is stored in. The second use of a block finds it in cache while
// the next block is prefetched, so memory never waits: n m sizeof(TK) bytes per pass.
template <class TK>
void kernel_pass(const KernelArgs& A, index i0, index i1) {
  const index m = A.m;
  const double* __restrict q = A.q;
  double* __restrict col = A.col;
  for (index i = i0; i < i1; i += kRows) {
    const index rows = i1 - i < kRows ? i1 - i : kRows;
    const TK* k[kRows];
    for (index r = 0; r < kRows; ++r)
      k[r] = static_cast<const TK*>(A.K) + (i + (r < rows ? r : 0)) * A.ld;
    const TK *__restrict k0 = k[0], *__restrict k1 = k[1], *__restrict k2 = k[2], *__restrict k3 = k[3];
    double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
    for (index j = 0; j < m; ++j) {
      s0 += k0[j] * q[j];
      s1 += k1[j] * q[j];
      s2 += k2[j] * q[j];
      s3 += k3[j] * q[j];
    }
    const double s[kRows] = {s0, s1, s2, s3};
    double w[kRows] = {};
    for (index r = 0; r < rows; ++r) {
      if (A.target) A.u[i + r] = s[r] > 0 ? A.target[i + r] / s[r] : 0.0;
      w[r] = A.a[i + r] * A.u[i + r];
      if (A.row) A.row[i + r] = w[r] * s[r];
    }
    const double w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
    constexpr index line = 64 / sizeof(TK), step = 8 * line;
    const TK* next = k0 + (i + kRows < i1 ? kRows * A.ld : 0);
    for (index j = 0; j < m; j += step) {
      const index len = m - j < step ? m - j : step;
      for (index r = 0; r < kRows; ++r)
        for (index l = 0; l < len; l += line) __builtin_prefetch(next + r * A.ld + j + l, 0, 2);
      for (index l = j; l < j + len; ++l)
        col[l] += (w0 * k0[l] + w1 * k1[l]) + (w2 * k2[l] + w3 * k3[l]);
    }
  }
}

// ---------------------------------------------------------------- passes without exponentials

template <class TC>
void c_transform(const MinArgs& A, index i0, index i1) {
  const index m = A.geo.m;
  const double shift = A.geo.shift;
  double* cost = static_cast<double*>(A.work);
  const Tiles<TC> tiles(A.geo, static_cast<char*>(A.work) + kRows * row_stride(m) * 8);
  for (index i = i0; i < i1; ++i) {
    double best = __builtin_inf();
    for_tiles(m, [&](index j, index len) {
      tiles.at(i, 1, j, len);
      const TC* __restrict c = tiles.row(i, 0, j);
      double* __restrict to = cost + j;
      for (index l = 0; l < len; ++l) to[l] = static_cast<double>(c[l]) - shift;
      if (A.g) {
        const double* __restrict g = A.g + j;
        double low = __builtin_inf();
#pragma omp simd reduction(min : low)
        for (index l = 0; l < len; ++l) {
          const double w = to[l] - g[l];
          low = w < low ? w : low;
        }
        best = low < best ? low : best;
      }
    });
    if (A.g) A.row[i] = best;
    if (A.col && !(A.weight && A.weight[i] == 0)) {
      const double f = A.row[i];
      double* __restrict col = A.col;
      for (index j = 0; j < m; ++j) {
        const double w = cost[j] - f;
        col[j] = w < col[j] ? w : col[j];
      }
    }
  }
}

// out_i = sum_j C_ij w_j with 0 * inf = 0.
template <class TC>
void cost_apply(const Geometry& g, const double* w, double* out, void* work, index i0, index i1) {
  const Tiles<TC> tiles(g, work);
  for (index i = i0; i < i1; ++i) {
    double sum = 0;
    for_tiles(g.m, [&](index j, index len) {
      tiles.at(i, 1, j, len);
      const TC* __restrict c = tiles.row(i, 0, j);
      const double* __restrict v = w + j;
#pragma omp simd reduction(+ : sum)
      for (index l = 0; l < len; ++l)
        sum += v[l] != 0 ? (static_cast<double>(c[l]) - g.shift) * v[l] : 0.0;
    });
    out[i] = sum;
  }
}

template <class TC>
void cost_rows(const Geometry& g, void* out, index ld, index i0, index i1) {
  TC buffer[kRows * kTile];
  const Tiles<TC> tiles(g, buffer);
  for (index i = i0; i < i1; ++i)
    for_tiles(g.m, [&](index j, index len) {
      tiles.at(i, 1, j, len);
      __builtin_memcpy(static_cast<TC*>(out) + i * ld + j, tiles.row(i, 0, j), len * sizeof(TC));
    });
}

// x - x is 0 for finite x and NaN otherwise, so one sum per tile tells whether to look closer.
template <class TC>
void stats(const Geometry& g, index i0, index i1, Stats& out) {
  constexpr TC inf = __builtin_inf();
  TC low = inf, high = -inf;
  for (index i = i0; i < i1; ++i) {
    for_tiles(g.m, [&](index j, index len) {
      const TC* __restrict c = static_cast<const TC*>(g.C) + i * g.ld + j;
      TC a = inf, b = -inf, bad = 0;
#pragma omp simd reduction(min : a) reduction(max : b) reduction(+ : bad)
      for (index l = 0; l < len; ++l) {
        a = c[l] < a ? c[l] : a;
        b = c[l] > b ? c[l] : b;
        bad += c[l] - c[l];
      }
      if (bad != 0) {
        for (index l = 0; l < len; ++l) {
          const TC v = c[l];
          if (v != v || v == -inf) {
            if (out.first_bad < 0) out.first_bad = i * g.m + j + l;
            ++(v != v ? out.nan : out.neg_inf);
          } else if (v == inf) {
            ++out.pos_inf;
          } else {
            low = v < low ? v : low;
            high = v > high ? v : high;
          }
        }
      } else {
        low = a < low ? a : low;
        high = b > high ? b : high;
      }
    });
  }
  out.min = low;
  out.max = high;
}

// ---------------------------------------------------------------- limits of the machine

template <class T>
double exp_rate(index reps, double* sink) {
  constexpr index N = 1024;
  T x[N], y[N];
  for (index i = 0; i < N; ++i) x[i] = static_cast<T>(-0.03 * i);
  T total = 0;
  for (index k = 0; k < reps; ++k) {
    const T offset = static_cast<T>(k & 7) * static_cast<T>(-0.01);
    for (index i = 0; i < N; ++i) y[i] = exp_(x[i] + offset);
    total += y[k & (N - 1)];
    __asm__ volatile("" : : "r"(y) : "memory");
  }
  *sink = total;
  return static_cast<double>(N) * reps;
}

template <class T>
double fma_rate(index reps, double* sink) {
  constexpr index W = OT_VEC / sizeof(T), G = 12;
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
  return static_cast<double>(steps) * G * W;
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

namespace ot::cpu {

// Constant initialisation: no code of this level runs before the dispatcher has chosen it.
constexpr Kernels OT_CONCAT(table_, OT_LEVEL)() {
  namespace L = OT_CONCAT(level_, OT_LEVEL);
  Kernels k{};
  k.name = OT_STRING(OT_LEVEL);
  k.pass[0][0] = L::pass<float, float>;
  k.pass[0][1] = L::pass<float, double>;
  k.pass[1][0] = L::pass<double, float>;
  k.pass[1][1] = L::pass<double, double>;
  k.apply[0] = L::apply<float>;
  k.apply[1] = L::apply<double>;
  k.plan[0][0] = L::plan<float, float>;
  k.plan[0][1] = L::plan<float, double>;
  k.plan[1][0] = L::plan<double, float>;
  k.plan[1][1] = L::plan<double, double>;
  k.kernel_pass[0] = L::kernel_pass<float>;
  k.kernel_pass[1] = L::kernel_pass<double>;
  k.c_transform[0] = L::c_transform<float>;
  k.c_transform[1] = L::c_transform<double>;
  k.cost_apply[0] = L::cost_apply<float>;
  k.cost_apply[1] = L::cost_apply<double>;
  k.cost_rows[0] = L::cost_rows<float>;
  k.cost_rows[1] = L::cost_rows<double>;
  k.stats[0] = L::stats<float>;
  k.stats[1] = L::stats<double>;
  k.exp = L::exp_array;
  k.log = L::log_array;
  k.exp_rate[0] = L::exp_rate<float>;
  k.exp_rate[1] = L::exp_rate<double>;
  k.fma_rate[0] = L::fma_rate<float>;
  k.fma_rate[1] = L::fma_rate<double>;
  k.read = L::read;
  return k;
}
extern const Kernels OT_CONCAT(kernels_, OT_LEVEL);
constinit const Kernels OT_CONCAT(kernels_, OT_LEVEL) = OT_CONCAT(table_, OT_LEVEL)();

}  // namespace ot::cpu
