// Vectors of length n or m.
#pragma once
#include "cuda/math.hpp"

namespace ot::cuda {

// f(i) for all i < n, a thread an element.
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

// parts_c = sums of f over chunk c, one team a chunk.
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

// Bodies of Each and of Sums. Memory traffic: one read of each input, one write of the output.
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

}  // namespace ot::cuda
