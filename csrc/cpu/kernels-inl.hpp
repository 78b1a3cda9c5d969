// The hot loops. A pass over C costs one exp per entry and one read of C; everything else is
// arranged to hide behind that. Rows go in blocks of kRows so that a column accumulator is loaded
// and stored once per block, and a block's exponentials stay in cache until its row sums are known.
#include "cpu/kernels.hpp"

#define OT_CONCAT_(a, b) a##b
#define OT_CONCAT(a, b) OT_CONCAT_(a, b)
#define OT_STRING_(a) #a
#define OT_STRING(a) OT_STRING_(a)

#include "cpu/simd-inl.hpp"
// On top of it:
#include "cpu/costs-inl.hpp"

namespace ot::cpu::OT_CONCAT(level_, OT_LEVEL) {

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

// ---------------------------------------------------------------- exponentials of a block of rows

// phi_i + h_j - (C_ij - shift)/reg, in float64 whatever C is.
struct Slack {
  double shift, ninv;
  template <class T>
  double operator()(T c, double h_phi) const {
    return (static_cast<double>(c) - shift) * ninv + h_phi;
  }
  template <class T>
  Vec<double> at(const T* c, const double* h, double phi) const {
    return (load_f64(c) - shift) * ninv + (load(h) + phi);
  }
  template <class T>
  void at(const T* c, const double* h, double phi, Vec<double>& t) const {
    t = at(c, h, phi);
  }
  template <class T>
  void at(const T* c, const double* h, double phi, Vec<float>& t) const {
    constexpr index W = lanes<double>;
    t = narrow(at(c, h, phi), at(c + W, h + W, phi));
  }
};

// Sums in TE over one tile only, so that float32 sums stay accurate.
template <class TC, class TE>
inline double exp_tile(const TC* __restrict c, const double* __restrict h, double phi, Slack slack, TE* __restrict e,
                       index len) {
  constexpr index W = lanes<TE>;
  Vec<TE> sum{}, t;
  index j = 0;
  for (; j + W <= len; j += W) {
    __builtin_prefetch(reinterpret_cast<const char*>(c + j) + kAhead, 0, 3);
    slack.at(c + j, h + j, phi, t);
    t = exp(t);
    store(e + j, t);
    sum += t;
  }
  if (j < len) {  // padded with exp(-inf) = 0, in e too
    TC tail[W] = {};
    double last[W];
    for (index l = 0; l < W; ++l) last[l] = j + l < len ? h[j + l] : -__builtin_inf();
    __builtin_memcpy(tail, c + j, (len - j) * sizeof(TC));
    slack.at(tail, last, phi, t);
    t = exp(t);
    store(e + j, t);
    sum += t;
  }
  return reduce<TE>(sum);
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

// col_j += sum_r w_r e_rj: one load and store of col for all rows of a block. Rows are padded to
// whole vectors, as col is. The sum over a block is taken in TE.
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

template <class TC, class TE>
struct Block {
  const PassArgs& A;
  Slack slack;
  index stride;
  TE* e;
  Tiles<TC> tiles;
  index height;  // rows of a block

  explicit Block(const PassArgs& args)
      : A(args),
        slack{args.geo.shift, -args.inv_reg},
        stride(row_stride(args.geo.m)),
        e(static_cast<TE*>(args.work)),
        tiles(args.geo, static_cast<char*>(args.work) + block_rows(args.geo) * stride * 8),
        height(block_rows(args.geo)) {}

  TE* row(index r) const { return e + r * stride; }

  void exponentials(index i, index rows, double* sum) const {
    for (index r = 0; r < rows; ++r) sum[r] = 0;
    // Stored costs are read row by row, one stream; computed ones a tile for all rows at once.
    const index group = A.geo.kind == Kind::dense ? 1 : rows;
    for (index r0 = 0; r0 < rows; r0 += group)
      for_tiles(A.geo.m, [&](index j, index len) {
        tiles.at(i + r0, group, j, len);
        for (index r = r0; r < r0 + group; ++r)
          sum[r] += exp_tile(tiles.row(i + r0, r - r0, j), A.h + j, A.phi[i + r], slack, row(r) + j, len);
      });
  }

  // Rows whose sums left the range again, with phi_i = -max_j slack: exponentials in [0, 1], at least
  // one equal to 1. The costs of all rows of the block are computed twice, however many rows it is.
  void restabilise(index i, index rows, const bool* bad, double* sum) const {
    double best[kMaxRows];
    for (index r = 0; r < rows; ++r) best[r] = -__builtin_inf();
    for_tiles(A.geo.m, [&](index j, index len) {
      tiles.at(i, rows, j, len);
      for (index r = 0; r < rows; ++r) {
        if (!bad[r]) continue;
        const double t = max_tile(tiles.row(i, r, j), A.h + j, slack, len);
        best[r] = t > best[r] ? t : best[r];
      }
    });
    for (index r = 0; r < rows; ++r) {
      if (!bad[r]) continue;
      sum[r] = 0;
      A.phi[i + r] = -best[r];
      if (best[r] > -__builtin_inf()) continue;
      A.phi[i + r] = 0;  // a row without an allowed pair
      for (index j = 0; j < A.geo.m; ++j) row(r)[j] = 0;
    }
    for_tiles(A.geo.m, [&](index j, index len) {
      tiles.at(i, rows, j, len);
      for (index r = 0; r < rows; ++r)
        if (bad[r] && best[r] > -__builtin_inf())
          sum[r] += exp_tile(tiles.row(i, r, j), A.h + j, -best[r], slack, row(r) + j, len);
    });
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
    // Relative to the row of the updated plan, or to T_ij = a_i e_ij itself without an update.
    const TE cut = static_cast<TE>(A.update ? k.threshold * sum : scale > 0 ? k.threshold / scale : __builtin_inf());
    index at = k.begin[i + r] - k.base;
    constexpr index W = lanes<TE>, G = 4;
    const index m = A.geo.m;
    for (index j0 = 0; j0 < m; j0 += G * W) {  // rows are padded with zeros to whole vectors
      Vec<TE> best{};
      for (index j = j0; j < j0 + G * W && j < m; j += W) best = load(v + j) > best ? load(v + j) : best;
      if (!any_above<TE>(best, cut)) continue;
      for (index j = j0; j < j0 + G * W && j < m; j += W) {
        if (at + W <= k.capacity) {
          at += pack_above<TE>(load(v + j), cut, scale, j, k.idx + at, k.val + at);
        } else {
          std::int32_t idx[W];
          double val[W];
          const index count = pack_above<TE>(load(v + j), cut, scale, j, idx, val);
          for (index l = 0; l < count; ++l, ++at) {
            if (at >= k.capacity) continue;
            k.idx[at] = idx[l];
            k.val[at] = val[l];
          }
        }
      }
    }
    k.end[i + r] = k.base + at;
  }

  // sum_j w_r e_rj dc(x_i, y_j)/dx_i = sum_j W_rj pull(x_i - y_j): d differences and products an entry.
  void gradient(index i, index rows, const double* w) const {
    const Geometry& g = A.geo;
    for (index r = 0; r < rows * g.d; ++r) A.gradient[i * g.d + r] = 0;
    const bool expanded = g.xx != nullptr;  // as the costs are: x sum_j W_j - sum_j W_j y_j, one product an entry
    const bool norm = g.cost == Cost::euclidean || g.cost == Cost::power;
    const double p = g.cost == Cost::power ? g.p : 1, half = 0.5 * p - 1;
    constexpr index W = lanes<double>, P = kPanel / sizeof(TC);
    alignas(64) double weight[kRows * kTile];
    for (index r0 = 0; r0 < rows; r0 += kRows) {
      const index some = rows - r0 < kRows ? rows - r0 : kRows;
      double total[kRows] = {};
      for_tiles(g.m, [&](index j, index len) {
        const index whole = round_up(len, P);
        // The weights W: dc/dx = p |x - y|^(p - 2) (x - y) for powers of the norm, 0 where x = y.
        if (norm) tile_of_points<TC, SquaredDifference, 0>(g, i + r0, some, j, len, tiles.buffer);
        for (index r = 0; r < kRows; ++r) {
          double* to = weight + r * kTile;
          const double scale = r >= some ? 0 : g.cost == Cost::sqeuclidean ? 2 * w[r0 + r] : p * w[r0 + r];
          const TE* __restrict e = row(r0 + (r < some ? r : 0)) + j;
          for (index l = 0; l < len; ++l) to[l] = scale * e[l];
          for (index l = len; l < whole; ++l) to[l] = 0;
          if (expanded)
            for (index l = 0; l < len; ++l) total[r] += to[l];
          if (norm && r < some)
            for (index l = 0; l < whole; l += W)
              store(to + l, load(to + l) * power(load_f64(tiles.buffer + r * kTile + l), half));
        }
        double* out = A.gradient + (i + r0) * g.d;
        for (index k = 0; k < g.d; k += 4) {
          if (g.cost == Cost::cityblock) pull<Sign>(i + r0, some, j, whole, k, weight, out);
          else if (expanded) pull<Minus>(i + r0, some, j, whole, k, weight, out);
          else pull<Difference>(i + r0, some, j, whole, k, weight, out);
        }
      });
      if (expanded)
        for (index r = 0; r < some; ++r)
          for (index k = 0; k < g.d; ++k)
            A.gradient[(i + r0 + r) * g.d + k] += total[r] * static_cast<const TC*>(g.x)[(i + r0 + r) * g.d + k];
      if (g.cost == Cost::cosine)
        for (index r = r0; r < r0 + some; ++r) project(i + r);
    }
  }

  struct Difference {
    static Vec<double> of(double x, Vec<double> y) { return x - y; }
  };
  struct Minus {
    static Vec<double> of(double, Vec<double> y) { return -y; }
  };
  struct Sign {
    static Vec<double> of(double x, Vec<double> y) {
      const Vec<double> one = splat(1.0), zero{}, z = x - y;
      return z > 0 ? one : z < 0 ? -one : zero;
    }
  };

  // out_rk += sum_j W_rj pull(x_rk - y_jk) over one tile, for up to four coordinates from k on: 4 x 4
  // accumulators in registers, 8 loads for 16 products.
  template <class Pull>
  void pull(index i, index rows, index j, index len, index k, const double* weight, double* out) const {
    switch (A.geo.d - k) {
      case 1: return pull<Pull, 1>(i, rows, j, len, k, weight, out);
      case 2: return pull<Pull, 2>(i, rows, j, len, k, weight, out);
      case 3: return pull<Pull, 3>(i, rows, j, len, k, weight, out);
      default: return pull<Pull, 4>(i, rows, j, len, k, weight, out);
    }
  }
  template <class Pull, index K>
  void pull(index i, index rows, index j, index len, index k, const double* weight, double* out) const {
    constexpr index W = lanes<double>, P = kPanel / sizeof(TC);
    const index d = A.geo.d;
    const TC *y = static_cast<const TC*>(A.geo.yt) + j * d + k * P, *x = static_cast<const TC*>(A.geo.x) + i * d + k;
    double at[kRows][K];
    for (index r = 0; r < kRows; ++r)
      for (index c = 0; c < K; ++c) at[r][c] = x[(r < rows ? r : 0) * d + c];
    Vec<double> acc[kRows][K] = {};
    for (index l0 = 0; l0 < len; l0 += P)
      for (index l = 0; l < P; l += W) {
        Vec<double> yv[K];
#pragma GCC unroll 4
        for (index c = 0; c < K; ++c) yv[c] = load_f64(y + l0 * d + c * P + l);
#pragma GCC unroll 4
        for (index r = 0; r < kRows; ++r) {
          const Vec<double> w = load(weight + r * kTile + l0 + l);
#pragma GCC unroll 4
          for (index c = 0; c < K; ++c) acc[r][c] += w * Pull::of(at[r][c], yv[c]);
        }
      }
    for (index r = 0; r < rows; ++r)
      for (index c = 0; c < K; ++c) out[r * d + k + c] += reduce<double>(acc[r][c]);
  }

  // Only what turns a normalised point matters to the cosine.
  void project(index i) const {
    const index d = A.geo.d;
    const TC* x = static_cast<const TC*>(A.geo.x) + i * d;
    double* out = A.gradient + i * d;
    double along = 0, square = 0;
    for (index k = 0; k < d; ++k) {
      along += out[k] * x[k];
      square += static_cast<double>(x[k]) * x[k];
    }
    for (index k = 0; k < d; ++k) out[k] -= along / square * x[k];
  }

  void add_columns(index rows, const double* w) const {
    for (index r0 = 0; r0 < rows; r0 += kRows) {
      const index some = rows - r0 < kRows ? rows - r0 : kRows;
      const TE* e[kRows];
      for (index r = 0; r < kRows; ++r) e[r] = row(r0 + (r < some ? r : 0));
      accumulate(e, some, w + r0, A.col, A.geo.m);
    }
  }
};

template <class TC, class TE>
void pass(const PassArgs& A, index i0, index i1) {
  const Block<TC, TE> block(A);
  for (index i = i0; i < i1; i += block.height) {
    const index rows = i1 - i < block.height ? i1 - i : block.height;
    double sum[kMaxRows], w[kMaxRows];
    block.exponentials(i, rows, sum);
    if (A.row)
      for (index r = 0; r < rows; ++r) A.row[i + r] = sum[r];
    if (A.update) {
      bool bad[kMaxRows], any = false;
      for (index r = 0; r < rows; ++r) {
        bad[r] = !(sum[r] > Range<TE>::low && sum[r] < Range<TE>::high);
        any |= bad[r];
      }
      if (any) block.restabilise(i, rows, bad, sum);
    }
    for (index r = 0; r < rows; ++r) {
      const index k = i + r;
      w[r] = A.a[k];
      if (A.update) {
        if (sum[r] > 0 && A.damp == 1) {
          A.phi[k] -= __builtin_log(sum[r]);
          w[r] /= sum[r];
        } else if (sum[r] > 0) {
          const double before = A.phi[k];
          A.phi[k] = A.damp * (before - __builtin_log(sum[r]));
          w[r] *= __builtin_exp(A.phi[k] - before);
        }
      }
      if (A.cost) A.cost[k] = block.cost_of_row(i, r);
      if (A.kept) {
        A.kept->begin[k] = k == A.kept->first ? A.kept->base : A.kept->end[k - 1];
        block.keep(i, r, w[r], sum[r]);
      }
    }
    if (A.col) block.add_columns(rows, w);
    if (A.gradient) block.gradient(i, rows, w);
  }
}

// out = P V (axis 1) or P'V (axis 0) for k vectors, without P.
template <class TC>
void apply(const ApplyArgs& B, index i0, index i1) {
  const PassArgs& A = B.pass;
  const Block<TC, double> block(A);
  const index n = A.geo.n, m = A.geo.m;
  for (index i = i0; i < i1; i += block.height) {
    const index rows = i1 - i < block.height ? i1 - i : block.height;
    double sum[kMaxRows], w[kMaxRows];
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
  for (index i = i0; i < i1; i += block.height) {
    const index rows = i1 - i < block.height ? i1 - i : block.height;
    double sum[kMaxRows];
    block.exponentials(i, rows, sum);
    for (index r = 0; r < rows; ++r) {
      TE* __restrict to = static_cast<TE*>(out) + (i + r) * ld;
      const TE* __restrict e = block.row(r);
      const double s = scale ? scale[i + r] : 1.0;
      for (index j = 0; j < A.geo.m; ++j) to[j] = static_cast<TE>(s * e[j]);
      for (index j = A.geo.m; j < ld; ++j) to[j] = 0;
    }
  }
}

// ---------------------------------------------------------------- stored kernel

// n m sizeof(TK) bytes per pass: the second use of a block of rows finds it in cache while the next
// block is prefetched, so memory never waits. TA is the arithmetic; q comes in TA, padded with zeros
// to whole vectors, as the rows of K and col are.
template <class TA>
inline Vec<TA> load_as(const TA* p) {
  return load(p);
}
template <class TA>
inline Vec<TA> load_as(const float* p)
  requires(sizeof(TA) == 8)
{
  return load_f64(p);
}

template <class TK, class TA>
void kernel_pass(const KernelArgs& A, index i0, index i1) {
  constexpr index W = lanes<TA>, flush = 64 * W;
  const index m = round_up(A.m, W);
  const TA* __restrict q = static_cast<const TA*>(A.q);
  for (index i = i0; i < i1; i += kRows) {
    const index rows = i1 - i < kRows ? i1 - i : kRows;
    const TK* k[kRows];
    for (index r = 0; r < kRows; ++r) k[r] = static_cast<const TK*>(A.K) + (i + (r < rows ? r : 0)) * A.ld;
    double s[kRows] = {}, w[kRows] = {};
    for (index j0 = 0; j0 < m; j0 += flush) {
      const index j1 = m - j0 < flush ? m : j0 + flush;
      Vec<TA> acc[kRows] = {};
      for (index j = j0; j < j1; j += W) {
        const Vec<TA> v = load(q + j);
#pragma GCC unroll 4
        for (index r = 0; r < kRows; ++r) acc[r] += load_as<TA>(k[r] + j) * v;
      }
      for (index r = 0; r < kRows; ++r) s[r] += reduce<TA>(acc[r]);
    }
    for (index r = 0; r < rows; ++r) {
      if (A.target) A.u[i + r] = s[r] > kLeastSum<TA> ? A.target[i + r] / s[r] : 0.0;
      w[r] = A.a[i + r] * A.u[i + r];
      if (A.row) A.row[i + r] = w[r] * s[r];
    }
    constexpr index line = 64 / sizeof(TK);
    const TK* next = k[0] + (i + kRows < i1 ? kRows * A.ld : 0);
    double* __restrict col = A.col;
    TA c[kRows];
    for (index r = 0; r < kRows; ++r) c[r] = static_cast<TA>(w[r]);
    for (index j = 0; j < m; j += line) {
#pragma GCC unroll 4
      for (index r = 0; r < kRows; ++r) __builtin_prefetch(next + r * A.ld + j, 0, 2);
      for (index l = j; l < j + line && l < m; l += W) {
        Vec<TA> s0 = load_as<TA>(k[0] + l) * c[0], s1 = load_as<TA>(k[1] + l) * c[1];
#pragma GCC unroll 4
        for (index r = 2; r < kRows; r += 2) {
          s0 += load_as<TA>(k[r] + l) * c[r];
          s1 += load_as<TA>(k[r + 1] + l) * c[r + 1];
        }
        add_to(col + l, s0 + s1);
      }
    }
  }
}

// ---------------------------------------------------------------- passes without exponentials

template <class TC>
void c_transform(const MinArgs& A, index i0, index i1) {
  const index m = A.geo.m;
  const double shift = A.geo.shift;
  double* cost = static_cast<double*>(A.work);
  const Tiles<TC> tiles(A.geo, static_cast<char*>(A.work) + block_rows(A.geo) * row_stride(m) * 8);
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
      for (index l = 0; l < len; ++l) sum += v[l] != 0 ? (static_cast<double>(c[l]) - g.shift) * v[l] : 0.0;
    });
    out[i] = sum;
  }
}

template <class TC>
void cost_rows(const Geometry& g, void* out, index ld, index i0, index i1) {
  TC buffer[kRows * kTile];
  const Tiles<TC> tiles(g, buffer);
  for (index i = i0; i < i1; i += kRows) {
    const index rows = i1 - i < kRows ? i1 - i : kRows;
    for_tiles(g.m, [&](index j, index len) {
      tiles.at(i, rows, j, len);
      for (index r = 0; r < rows; ++r)
        __builtin_memcpy(static_cast<TC*>(out) + (i + r) * ld + j, tiles.row(i, r, j), len * sizeof(TC));
    });
  }
}

// x - x is 0 for finite x and NaN otherwise, so one sum per tile tells whether to look closer.
template <class TC>
void stats(const Geometry& g, index i0, index i1, CostStats& out) {
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

}  // namespace ot::cpu::OT_CONCAT(level_, OT_LEVEL)

#include "cpu/lines-inl.hpp"
#include "cpu/sparse-inl.hpp"
#include "cpu/vectors-inl.hpp"

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
  k.kernel_pass[0][0] = L::kernel_pass<float, float>;
  k.kernel_pass[0][1] = L::kernel_pass<float, double>;
  k.kernel_pass[1][1] = L::kernel_pass<double, double>;
  k.c_transform[0] = L::c_transform<float>;
  k.c_transform[1] = L::c_transform<double>;
  k.cost_apply[0] = L::cost_apply<float>;
  k.cost_apply[1] = L::cost_apply<double>;
  k.cost_rows[0] = L::cost_rows<float>;
  k.cost_rows[1] = L::cost_rows<double>;
  k.stats[0] = L::stats<float>;
  k.stats[1] = L::stats<double>;
  k.slack[0] = L::slack<float>;
  k.slack[1] = L::slack<double>;
  k.lines = L::lines;
  k.line_step = L::line_step;
  k.line_entries = L::line_entries;
  k.kept_product[0] = L::kept_product<false>;
  k.kept_product[1] = L::kept_product<true>;
  k.exp = L::exp_array;
  k.log = L::log_array;
  k.dots = L::dots;
  k.combine = L::combine;
  k.add_rows = L::add_rows;
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
