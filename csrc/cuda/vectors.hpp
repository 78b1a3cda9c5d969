// The kernels that read no costs: products with kept entries, vectors, points, what the device can reach.
#pragma once
#include "core/backend.hpp"
#include "cuda/costs.hpp"

namespace ot::cuda {

// ---------------------------------------------------------------- entries kept

// out_i = sum over the entries of row i of val^p x[idx], p = 1 or 2: a warp to a row.
struct KeptProduct {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  const index *begin, *end;
  const std::int32_t* idx;
  const double *val, *x;
  index n;
  bool squared;
  double* out;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    typename Team::template Local<double> part(team);
    const index per_team = team.threads / kWarp;
    team.each([&](int t) {
      const int thread = team.lane(t).thread;
      const index i = team.id * per_team + thread / kWarp;
      double s = 0;
      if (i < n)
        for (index k = begin[i] + thread % kWarp; k < end[i]; k += kWarp)
          s += val[k] * (squared ? val[k] : 1.0) * x[idx[k]];
      part[t] = s;
    });
    team.warp_sum(part);
    team.each([&](int t) {
      const int thread = team.lane(t).thread;
      const index i = team.id * per_team + thread / kWarp;
      if (i < n && thread % kWarp == 0) out[i] = part[t];
    });
  }
};

// An entry with its row: what is sorted by column.
struct Placed {
  double val;
  std::int32_t row;
};

// Rows of the regions, one behind another at offset_i: a warp to a row.
struct Gather {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  const index *begin, *end, *offset;
  const std::int32_t* idx;
  const double* val;
  index n;
  std::uint32_t* column;
  Placed* entry;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    const index per_team = team.threads / kWarp;
    team.each([&](int t) {
      const int thread = team.lane(t).thread;
      const index i = team.id * per_team + thread / kWarp;
      if (i >= n) return;
      for (index k = begin[i] + thread % kWarp; k < end[i]; k += kWarp) {
        const index to = offset[i] + k - begin[i];
        column[to] = static_cast<std::uint32_t>(idx[k]);
        entry[to] = Placed{val[k], static_cast<std::int32_t>(i)};
      }
    });
  }
};

struct Split {
  const std::uint32_t* key;
  const Placed* entry;
  std::int32_t* column;
  double* val;
  OT_HD void operator()(index k) const {
    column[k] = static_cast<std::int32_t>(key[k]);
    val[k] = entry[k].val;
  }
};

// Begin of every column in the sorted list, and the list taken apart.
struct Columns {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  const std::uint32_t* column;
  const Placed* entry;
  index count, m;
  index* begin;  // (m + 1)
  std::int32_t* row;
  double* val;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    team.each([&](int t) {
      for (index k = team.id * team.threads + team.lane(t).thread; k <= count; k += team.count * team.threads) {
        const index here = k < count ? static_cast<index>(column[k]) : m;
        for (index j = k > 0 ? static_cast<index>(column[k - 1]) + 1 : 0; j <= here; ++j) begin[j] = k;
        if (k == count) continue;
        row[k] = entry[k].row;
        val[k] = entry[k].val;
      }
    });
  }
};

// ---------------------------------------------------------------- vectors

template <class F>
struct Each {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  index n;
  F f;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    team.each([&](int t) {
      for (index i = team.id * team.threads + team.lane(t).thread; i < n; i += team.count * team.threads) f(i);
    });
  }
};

// parts_c = sums of f over chunk c.
template <int N, class F>
struct Sums {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  index n, chunk;
  F f;
  double* parts;  // (teams, N)

  template <class Team>
  OT_HD void operator()(Team& team) const {
    typename Team::template Local<Reg<double, N>> part(team);
    team.each([&](int t) {
      OT_UNROLL for (int c = 0; c < N; ++c) part[t][c] = 0;
      const index last = (team.id + 1) * chunk < n ? (team.id + 1) * chunk : n;
      for (index i = team.id * chunk + team.lane(t).thread; i < last; i += team.threads) f(i, part[t].v);
    });
    const Reg<double, N> total = team.sum(part);
    if (team.leader) OT_UNROLL for (int c = 0; c < N; ++c) parts[team.id * N + c] = total[c];
  }
};

template <int N>
struct Pointers {
  const double* d[N];
  OT_HD const double* operator[](int k) const { return d[k]; }
};
struct Exp {
  const double* x;
  double* out;
  OT_HD void operator()(index i) const { out[i] = exp2_of(x[i] * kLog2e, double{}); }
};
struct Log {
  const double* x;
  double* out;
  OT_HD void operator()(index i) const { out[i] = log(fmax(x[i], 0x1p-1022)); }
};
struct Scale {
  const double* x;
  double factor;
  double* out;
  OT_HD void operator()(index i) const { out[i] = factor * x[i]; }
};
template <int N>
struct Dots {  // s_k += w_i v_i d_ki
  const double *w, *v;
  Pointers<N> d;
  int count;
  OT_HD void operator()(index i, double* s) const {
    const double wv = w[i] * v[i];
    OT_UNROLL for (int k = 0; k < N; ++k) if (k < count) s[k] += wv * d[k][i];
  }
};
template <int N>
struct Combine {  // out = x - sum_k c_k d_k
  const double* x;
  Reg<double, N> c;
  Pointers<N> d;
  int count;
  double* out;
  OT_HD void operator()(index i) const {
    double s = x[i];
    OT_UNROLL for (int k = 0; k < N; ++k) if (k < count) s -= c[k] * d[k][i];
    out[i] = s;
  }
};
// u_i = target_i / s_i where there is a target, row_i = a_i u_i s_i.
struct ScaleRows {
  const double *s, *target, *a;
  double *u, *row, least;
  OT_HD void operator()(index i) const {
    if (target) u[i] = s[i] > least ? target[i] / s[i] : 0.0;
    if (row) row[i] = a[i] * u[i] * s[i];
  }
};
struct RowLength {
  const index *begin, *end;
  index* out;
  OT_HD void operator()(index i) const { out[i] = end[i] - begin[i]; }
};
// Values below the cut become 0; a warp's worth of rows is nothing to hide behind.
struct Cut {
  const index *begin, *end;
  double* val;
  double cut;
  OT_HD void operator()(index i) const {
    for (index k = begin[i]; k < end[i]; ++k)
      if (val[k] < cut) val[k] = 0;
  }
};

// ---------------------------------------------------------------- points and checks

// x as it is and y transposed to (d, m), both less a centre and, for the cosine, of norm 1.
template <class T>
struct PackPoints {
  const T *x, *y;
  index n, m, d;
  const double* centre;  // (d); null: 0
  bool normalise;
  T *to_x, *to_y;
  T *xx, *yy;  // squared norms, nullable

  // Point p of x, then of y.
  OT_HD void operator()(index p) const {
    const bool of_x = p < n;
    const index q = of_x ? p : p - n;
    const T* from = (of_x ? x : y) + q * d;
    double square = 0, scale = 1;
    if (normalise) {
      for (index k = 0; k < d; ++k) square += static_cast<double>(from[k]) * static_cast<double>(from[k]);
      scale = 1 / sqrt(square);
    }
    square = 0;
    for (index k = 0; k < d; ++k) {
      const T v = static_cast<T>((static_cast<double>(from[k]) - (centre ? centre[k] : 0.0)) * scale);
      (of_x ? to_x[q * d + k] : to_y[k * m + q]) = v;
      square += static_cast<double>(v) * static_cast<double>(v);
    }
    if (xx) (of_x ? xx : yy)[q] = static_cast<T>(square);
  }
};
// centre_k = mean over all points of both clouds.
template <class T>
struct Centre {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  const T *x, *y;
  index n, m, d;
  double* centre;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    typename Team::template Local<Reg<double, 1>> part(team);
    for (index k = team.id; k < d; k += team.count) {
      team.each([&](int t) {
        double s = 0;
        for (index p = team.lane(t).thread; p < n + m; p += team.threads)
          s += static_cast<double>(p < n ? x[p * d + k] : y[(p - n) * d + k]);
        part[t][0] = s;
      });
      const double total = team.sum(part)[0];
      if (team.leader) centre[k] = total / static_cast<double>(n + m);
    }
  }
};

// Over finite entries: max and -min; counts of NaN, -inf and +inf; the first NaN or -inf.
struct StatsPart {
  double max, negative_min, nan, neg_inf, pos_inf, negative_first;
};
template <class T>
struct Scan {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  const T* C;
  index n, m, ld;
  StatsPart* out;  // one a team

  template <class Team>
  OT_HD void operator()(Team& team) const {
    typename Team::template Local<Reg<double, 3>> top(team), count(team);
    team.each([&](int t) {
      double high = -kInf, low = -kInf, first = -kInf;
      OT_UNROLL for (int k = 0; k < 3; ++k) count[t][k] = 0;
      for (index i = team.id; i < n; i += team.count)
        for (index j = team.lane(t).thread; j < m; j += team.threads) {
          const auto v = static_cast<double>(C[i * ld + j]);
          if (v - v == 0) {
            high = fmax(high, v);
            low = fmax(low, -v);
          } else if (v == kInf) {
            count[t][2] += 1;
          } else {
            count[t][v == -kInf ? 1 : 0] += 1;
            first = fmax(first, -static_cast<double>(i * m + j));
          }
        }
      top[t] = Reg<double, 3>{{high, low, first}};
    });
    const Reg<double, 3> tops = team.max(top), counts = team.sum(count);
    if (team.leader) out[team.id] = StatsPart{tops[0], tops[1], counts[0], counts[1], counts[2], tops[2]};
  }
};

// ---------------------------------------------------------------- limits of the device

// 64 exponentials a thread and repetition.
template <class T>
struct ExpRate {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  int repeat;
  double* out;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    team.each([&](int t) {
      T sum = 0;
      double z = -1e-3 * t;
      for (int k = 0; k < repeat; ++k) {
        OT_UNROLL for (int l = 0; l < 64; ++l) sum += exp2_of(z - 0.1 * l, T{});
        z -= 1e-6;
      }
      if (sum < 0) out[0] = static_cast<double>(sum);  // never: keeps the loop
    });
  }
};

}  // namespace ot::cuda
