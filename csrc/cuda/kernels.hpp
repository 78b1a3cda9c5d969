// The kernels as bodies over a team (team.hpp). Sums have a fixed order: results are the same to the
// last bit from run to run.
#pragma once
#include "core/backend.hpp"
#include "cuda/costs.hpp"

namespace ot::cuda {

// ---------------------------------------------------------------- entries

// 2^z for z = phi_i + h_j - (C_ij - shift)/reg in units of ln 2; slacks are float64 whatever C is.
template <class Costs>
struct Exponent {
  Costs costs;
  double shift, ninv;  // ninv = -log2(e)/reg
  const double* h;     // (m) times log2(e)

  OT_HD double slack(double c, index j) const { return fma(c - shift, ninv, h[j]); }
  OT_HD double slack_at(index i, index j) const { return slack(static_cast<double>(costs.at(i, j)), j); }
  // e_ij = exp(phi_i + slack).
  OT_HD double entry(double phi, index i, index j) const { return exp2_of(fma(phi, kLog2e, slack_at(i, j)), double{}); }
};

// Where row sums leave these bounds, the row is redone with its true maximum as stabiliser.
OT_HD inline bool in_range(double s, double) { return s > 1e-200 && s < 1e200; }
OT_HD inline bool in_range(double s, float) { return s > 1e-12 && s < 1e20; }

// Entries kept by a sweep: one region per team, rows delimited by begin and end.
struct KeptOut {
  double threshold = 0;
  std::int32_t* idx = nullptr;  // null: nothing is kept
  double* val = nullptr;
  index *begin = nullptr, *end = nullptr;  // (n)
  index base = 0, capacity = 0;            // of the first region, of each
  index* used = nullptr;                   // (teams) entries found by each, stored or not
};

// Rows [first, last), `rows` to a team; columns [0, m) of the sources, part of wider ones or all.
struct Rows {
  index first, last, rows;
  OT_HD index begin(index team) const { return first + team * rows < last ? first + team * rows : last; }
  OT_HD index end(index team) const { return begin(team) + rows < last ? begin(team) + rows : last; }
};

// ---------------------------------------------------------------- what a sweep reads, and what it makes of a row

// exp(phi_i + h_j - C_ij/reg): a pass over C.
template <class Costs, class TE>
struct PassSource {
  using Entry = TE;
  using Stored = Costs;
  Exponent<Costs> exponent;
  double* phi;
  const double* a;
  double* row;  // (n) nullable
  bool update;
  double damp;

  OT_HD const Costs& costs() const { return exponent.costs; }
  OT_HD double head(index i) const { return phi[i] * kLog2e; }
  OT_HD double column(index j) const { return exponent.h[j]; }
  OT_HD TE entry(typename Costs::Real c, double head, double column) const {
    return exp2_of(fma(static_cast<double>(c) - exponent.shift, exponent.ninv, column + head), TE{});
  }
  OT_HD double share(TE e, double) const { return static_cast<double>(e); }  // of the row sum

  OT_HD bool redo(double s) const { return update && !in_range(s, TE{}); }
  OT_HD double slack_at(index i, index j) const { return exponent.slack_at(i, j); }

  // The weight of the row in the columns; the leader stores what is known of it. `first` is the sum
  // before anything was redone.
  OT_HD double finish(index i, double head, double s, double first, bool leader) const {
    const double weight = a[i];
    if (leader && row) row[i] = first;
    if (!update) return weight;
    const double exact = s > 0 ? head * kLn2 - log(s) : 0.0;
    if (leader) phi[i] = damp * exact;
    if (damp != 1 && s > 0) return weight * exp(damp * exact - head * kLn2);
    return s > 0 ? weight / s : weight;
  }
  // Entries above the cut are kept.
  OT_HD double cut(double threshold, double s, double weight) const {
    return update ? threshold * s : weight > 0 ? threshold / weight : kInf;
  }
};

// A stored kernel: s_i = sum_j K_ij q_j, u_i = target_i / s_i, columns weighted by a_i u_i.
template <class TK, class TE>
struct StoredSource {
  using Entry = TE;
  using Stored = Dense<TK>;
  Dense<TK> kernel;
  const double *q, *target, *a;
  double *u, *row;

  OT_HD const Dense<TK>& costs() const { return kernel; }
  OT_HD double head(index i) const { return target ? target[i] : u[i]; }
  OT_HD double column(index j) const { return q[j]; }
  OT_HD TE entry(TK k, double, double) const { return static_cast<TE>(k); }
  OT_HD double share(TE e, double q) const { return static_cast<double>(e * static_cast<TE>(q)); }

  OT_HD bool redo(double) const { return false; }
  OT_HD double slack_at(index, index) const { return 0; }
  OT_HD double finish(index i, double head, double s, double, bool leader) const {
    const double scaling = !target ? head : s > kLeastSum<TE> ? head / s : 0.0;
    const double weight = a[i] * scaling;
    if (leader && target) u[i] = scaling;
    if (leader && row) row[i] = weight * s;
    return weight;
  }
  OT_HD double cut(double, double, double) const { return kInf; }
};

// ---------------------------------------------------------------- the fused sweep

// One read of C (or K): row sums, then, the row still in registers, its share of the column sums.
// Every thread owns K columns of its team's slabs for all rows of the team, so that column sums stay
// on the multiprocessor; R rows go together. The next rows are on their way while sums are exchanged.
//   columns of a lane: slab of its block + K * 32 * its warp + lane + 32 k
template <class Source, int K, int R>
struct Sweep {
  using TE = typename Source::Entry;
  using Raw = typename Source::Stored::Real;
  static constexpr int kSlots = Source::Stored::kFetched ? K * R : 0;
  static constexpr int kThreads = kMaxThreads, kBlocks = kMaxBlocks;
  static constexpr int kShared = K * sizeof(double) + kSlots * sizeof(Raw);  // bytes a thread

  Source source;
  Rows rows;
  index m;
  int slab;       // columns of a block, K a thread
  double* parts;  // (teams, stride) column sums of each team; nullable
  index stride;
  bool add;  // to what parts holds
  KeptOut kept;

  template <class Team>
  struct Place {
    index j, end;
    OT_HD Place(const Sweep& s, const Team& team, int t) {
      const Lane lane = team.lane(t);
      const index first = static_cast<index>(lane.block) * s.slab;
      j = first + lane.thread / kWarp * (K * kWarp) + lane.thread % kWarp;
      end = first + s.slab < s.m ? first + s.slab : s.m;
    }
  };

  template <class Team>
  OT_HD void operator()(Team& team) const {
    using Head = Reg<double, R>;
    constexpr int step = kWarp;
    const index i0 = rows.begin(team.id), i1 = rows.end(team.id);
    typename Team::template Shared<double, K> column_sum(team);
    typename Team::template Shared<Raw, kSlots> slots(team);
    typename Team::template Local<Reg<TE, K * R>> e(team);
    typename Team::template Local<Head> part(team);
    if (i0 >= i1) return;

    team.each([&](int t) {
      const Place<Team> at(*this, team, t);
      OT_UNROLL for (int k = 0; k < K; ++k) column_sum(t, k) = 0;
      source.costs().template fetch<K, R>(slots, t, i0, i1, at.j, step, at.end);
    });
    index kept_at = kept.base + team.id * kept.capacity;
    for (index i = i0; i < i1; i += R) {
      Head head, sum, first, weight;
      OT_UNROLL for (int r = 0; r < R; ++r) head[r] = source.head(i + r < i1 ? i + r : i1 - 1);
      slots.ready();
      team.each([&](int t) {
        const Place<Team> at(*this, team, t);
        Reg<Raw, K * R> c;
        source.costs().template tile<K, R>(slots, t, i, i1, at.j, step, at.end, c);
        OT_UNROLL for (int r = 0; r < R; ++r) part[t][r] = 0;
        OT_UNROLL for (int k = 0; k < K; ++k) {
          const index j = at.j + k * step;
          const bool in = j < at.end;
          const double column = in ? source.column(j) : 0.0;
          OT_UNROLL for (int r = 0; r < R; ++r) {
            const TE v = in ? source.entry(c[r * K + k], head[r], column) : TE(0);
            e[t][r * K + k] = v;
            part[t][r] += source.share(v, column);
          }
        }
        if (i + R < i1) source.costs().template fetch<K, R>(slots, t, i + R, i1, at.j, step, at.end);
      });
      first = sum = team.sum(part);
      bool redo = false;
      OT_UNROLL for (int r = 0; r < R; ++r) redo |= source.redo(sum[r]);
      if (redo) restabilise(team, i, i1, head, sum, e);
      OT_UNROLL for (int r = 0; r < R; ++r) {
        weight[r] = i + r < i1 ? source.finish(i + r, head[r], sum[r], first[r], team.leader) : 0.0;
      }
      if (kept.idx) keep(team, i, i1, sum, weight, e, kept_at);
      team.each([&](int t) {
        OT_UNROLL for (int k = 0; k < K; ++k) {
          TE s = 0;
          OT_UNROLL for (int r = 0; r < R; ++r) s += static_cast<TE>(weight[r]) * e[t][r * K + k];
          column_sum(t, k) += static_cast<double>(s);
        }
      });
    }
    if (kept.idx && team.leader) kept.used[team.id] = kept_at - kept.base - team.id * kept.capacity;
    if (!parts) return;
    team.each([&](int t) {
      const Place<Team> at(*this, team, t);
      OT_UNROLL for (int k = 0; k < K; ++k) {
        const index j = at.j + k * step;
        double* to = parts + team.id * stride + j;
        if (j < at.end) *to = column_sum(t, k) + (add ? *to : 0.0);
      }
    });
  }

  // phi_i = -max_j slack: exponentials in [0, 1] with at least one equal to 1. A row without an
  // allowed pair has no entries.
  template <class Team, class Entries>
  OT_HD void restabilise(Team& team, index i, index i1, Reg<double, R>& head, Reg<double, R>& sum, Entries& e) const {
    constexpr int step = kWarp;
    typename Team::template Local<Reg<double, R>> best(team);
    team.each([&](int t) {
      const Place<Team> at(*this, team, t);
      OT_UNROLL for (int r = 0; r < R; ++r) {
        best[t][r] = -kInf;
        const index row = i + r < i1 ? i + r : i1 - 1;
        if (source.redo(sum[r]))
          for (index j = at.j; j < at.end && j < at.j + K * step; j += step)
            best[t][r] = fmax(best[t][r], source.slack_at(row, j));
      }
    });
    const Reg<double, R> top = team.max(best);
    team.each([&](int t) {
      const Place<Team> at(*this, team, t);
      OT_UNROLL for (int r = 0; r < R; ++r) {
        const index row = i + r < i1 ? i + r : i1 - 1;
        best[t][r] = 0;
        if (!source.redo(sum[r])) continue;
        OT_UNROLL for (int k = 0; k < K; ++k) {
          const index j = at.j + k * step;
          const TE v = j < at.end && top[r] > -kInf ? exp2_of(source.slack_at(row, j) - top[r], TE{}) : TE(0);
          e[t][r * K + k] = v;
          best[t][r] += static_cast<double>(v);
        }
      }
    });
    const Reg<double, R> again = team.sum(best);
    OT_UNROLL for (int r = 0; r < R; ++r) if (source.redo(sum[r])) {
      head[r] = top[r] > -kInf ? -top[r] : 0.0;
      sum[r] = again[r];
    }
  }

  // Appends entries above the cut to the team's region, in the order of columns.
  template <class Team, class Entries>
  OT_HD void keep(Team& team, index i, index i1, const Reg<double, R>& sum, const Reg<double, R>& weight, Entries& e,
                  index& at) const {
    typename Team::template Local<unsigned> bits(team);
    typename Team::template Local<Reg<int, K>> place(team);
    const index full = kept.base + (team.id + 1) * kept.capacity;
    OT_UNROLL for (int r = 0; r < R; ++r) {
      if (i + r >= i1) continue;
      const TE cut = static_cast<TE>(source.cut(kept.threshold, sum[r], weight[r]));
      team.each([&](int t) {
        unsigned mine = 0;
        OT_UNROLL for (int k = 0; k < K; ++k) mine |= e[t][r * K + k] > cut ? 1u << k : 0u;
        bits[t] = mine;
      });
      const int count = team.template compact<K>(bits, place);
      team.each([&](int t) {
        if (!bits[t]) return;
        const Place<Team> column(*this, team, t);
        OT_UNROLL for (int k = 0; k < K; ++k) {
          const index to = at + place[t][k];
          if (!(bits[t] >> k & 1) || to >= full) continue;
          kept.idx[to] = static_cast<std::int32_t>(column.j + k * kWarp);
          kept.val[to] = weight[r] * static_cast<double>(e[t][r * K + k]);
        }
      });
      if (team.leader) {
        kept.begin[i + r] = at;
        kept.end[i + r] = at + count;
      }
      at += count;
    }
  }
};

// ---------------------------------------------------------------- rows one by one: any m

// s_i, the update of phi and sum_j e_ij (C_ij - shift) by online log-sum-exp: one team a row.
template <class Costs>
struct RowSums {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  Exponent<Costs> exponent;
  Rows rows;
  index m;
  double* phi;
  double *row, *cost;  // nullable
  bool update;
  double damp;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    typename Team::template Local<Reg<double, 1>> top(team);
    typename Team::template Local<Reg<double, 2>> sum(team);
    for (index i = rows.first + team.id; i < rows.last; i += team.count) {
      const double before = phi[i];
      team.each([&](int t) {
        double best = -kInf, s = 0, c = 0;
        for (index j = team.lane(t).thread; j < m; j += team.threads) {
          const auto cost_ij = static_cast<double>(exponent.costs.at(i, j));
          const double z = exponent.slack(cost_ij, j);
          if (z > best) {
            const double shrink = exp2_of(best - z, double{});
            s *= shrink;
            c *= shrink;
            best = z;
          }
          const double e = best > -kInf ? exp2_of(z - best, double{}) : 0.0;
          s += e;
          if (e > 0) c += e * (cost_ij - exponent.shift);
        }
        top[t][0] = best;
        sum[t][0] = s;
        sum[t][1] = c;
      });
      const double best = team.max(top)[0];
      team.each([&](int t) {
        const double scale = top[t][0] > -kInf ? exp2_of(top[t][0] - best, double{}) : 0.0;
        sum[t][0] *= scale;
        sum[t][1] *= scale;
      });
      const Reg<double, 2> total = team.sum(sum);
      if (!team.leader) continue;
      // exp(before + best) may overflow where the sum itself does: large then, as it is.
      const double scale = exp2_of(fma(before, kLog2e, best), double{});
      if (row) row[i] = total[0] > 0 ? scale * total[0] : 0.0;
      if (cost) cost[i] = total[0] > 0 ? scale * total[1] : 0.0;
      if (update) phi[i] = total[0] > 0 ? damp * (-best * kLn2 - log(total[0])) : 0.0;
    }
  }
};

// out_ik = sum_j P_ij dc(x_i, y_j)/dx_ik: one team a row. A thread holds the weights of K columns, and goes
// through them once for every G coordinates.
template <class Costs>
struct Gradient {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1, K = 8, G = 4;
  Exponent<Costs> exponent;
  Rows rows;
  index m;
  const double *phi, *a;
  double* out;  // (n, d)

  template <class Team>
  OT_HD void operator()(Team& team) const {
    typename Team::template Local<Reg<double, K>> w(team);
    typename Team::template Local<Reg<double, G>> part(team);
    const Costs& costs = exponent.costs;
    const index d = costs.d, width = static_cast<index>(K) * team.threads;
    for (index i = rows.first + team.id; i < rows.last; i += team.count) {
      double* to = out + i * d;
      for (index j0 = 0; j0 < m; j0 += width) {
        team.each([&](int t) {
          OT_UNROLL for (int l = 0; l < K; ++l) {
            const index j = j0 + static_cast<index>(l) * team.threads + team.lane(t).thread;
            w[t][l] = j < m && a[i] > 0 ? a[i] * exponent.entry(phi[i], i, j) * costs.weight(i, j) : 0.0;
          }
        });
        for (index k = 0; k < d; k += G) {
          team.each([&](int t) {
            OT_UNROLL for (int g = 0; g < G; ++g) {
              double s = 0;
              OT_UNROLL for (int l = 0; l < K; ++l) {
                const index j = j0 + static_cast<index>(l) * team.threads + team.lane(t).thread;
                if (j < m && k + g < d) s += w[t][l] * costs.pull(i, j, k + g);
              }
              part[t][g] = s;
            }
          });
          const Reg<double, G> total = team.sum(part);
          if (team.leader)
            for (int g = 0; g < G && k + g < d; ++g) to[k + g] = total[g] + (j0 > 0 ? to[k + g] : 0.0);
        }
      }
      if (costs.cost != Cost::cosine || !team.leader) continue;
      const auto* x = costs.x + i * d;
      double along = 0;
      for (index k = 0; k < d; ++k) along += to[k] * static_cast<double>(x[k]);
      for (index k = 0; k < d; ++k) to[k] -= along * static_cast<double>(x[k]);
    }
  }
};

// Terms over which rows and columns are folded: a value for a pair, from its cost.
template <class Costs>
struct MinTerm {  // C_ij - shift - g_j
  Costs costs;
  double shift;
  const double* g;       // (m); null: 0
  const double* f;       // (n); null: 0
  const double* weight;  // (n); rows of zero weight, and those without an allowed pair, take no part; nullable
  OT_HD bool skip(index i) const { return f && ((weight && weight[i] == 0) || !(f[i] < kInf)); }
  OT_HD double at(index i, index j) const {
    return static_cast<double>(costs.at(i, j)) - shift - (f ? f[i] : 0.0) - (g ? g[j] : 0.0);
  }
};
template <class Costs>
struct CostTerm {  // (C_ij - shift) w_j with 0 * inf = 0
  Costs costs;
  double shift;
  const double* w;
  OT_HD double at(index i, index j) const {
    const double v = w[j];
    return v != 0 ? (static_cast<double>(costs.at(i, j)) - shift) * v : 0.0;
  }
};
template <class Costs>
struct PlanTerm {  // P_ij v, v over columns or over rows
  Exponent<Costs> exponent;
  const double *phi, *a;  // a null: 1
  const double* over_columns;
  const double* over_rows;
  OT_HD double at(index i, index j) const {
    const double w = (a ? a[i] : 1.0) * (over_columns ? over_columns[j] : 1.0) * (over_rows ? over_rows[i] : 1.0);
    return w != 0 ? w * exponent.entry(phi[i], i, j) : 0.0;
  }
};

template <class TK>
struct StoredTerm {  // K_ij q_j
  Dense<TK> kernel;
  const double* q;
  OT_HD double at(index i, index j) const { return static_cast<double>(kernel.at(i, j)) * q[j]; }
};

struct Plus {
  static constexpr double start = 0;
  OT_HD static double fold(double x, double y) { return x + y; }
  template <class Team, class L>
  OT_HD static double over(Team& team, L& local) {
    return team.sum(local)[0];
  }
};
struct Least {
  static constexpr double start = __builtin_huge_val();
  OT_HD static double fold(double x, double y) { return fmin(x, y); }
  template <class Team, class L>
  OT_HD static double over(Team& team, L& local) {
    team.each([&](int t) { local[t][0] = -local[t][0]; });
    return -team.max(local)[0];
  }
};

// out_i = fold_j term(i, j)
template <class Term, class Fold>
struct FoldRows {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  Term term;
  index first, last, m;
  double* out;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    typename Team::template Local<Reg<double, 1>> part(team);
    for (index i = first + team.id; i < last; i += team.count) {
      team.each([&](int t) {
        double s = Fold::start;
        for (index j = team.lane(t).thread; j < m; j += team.threads) s = Fold::fold(s, term.at(i, j));
        part[t][0] = s;
      });
      const double total = Fold::over(team, part);
      if (team.leader) out[i] = total;
    }
  }
};

// parts_cj = fold over the rows of chunk c of term(i, j): a thread to a column.
template <class Term, class Fold>
struct FoldColumns {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  Term term;
  Rows rows;
  index m, panels;  // of `threads` columns; teams are (chunk, panel)
  double* parts;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    const index chunk = team.id / panels, panel = team.id % panels;
    team.each([&](int t) {
      const index j = panel * team.threads + team.lane(t).thread;
      if (j >= m) return;
      double s = Fold::start;
      for (index i = rows.begin(chunk); i < rows.end(chunk); ++i) {
        if constexpr (requires { term.skip(i); })
          if (term.skip(i)) continue;
        s = Fold::fold(s, term.at(i, j));
      }
      parts[chunk * m + j] = s;
    });
  }
};

// out_j = fold_c parts_cj, in order.
template <class Fold>
struct AddParts {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  const double* parts;
  index count, m;
  double* out;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    team.each([&](int t) {
      const index j = team.id * team.threads + team.lane(t).thread;
      if (j >= m) return;
      double s = Fold::start;
      for (index c = 0; c < count; ++c) s = Fold::fold(s, parts[c * m + j]);
      out[j] = s;
    });
  }
};

// out_ij = term(i, j), and 0 beyond m, up to `width`.
template <class Term, class T>
struct Fill {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  Term term;
  index first, last, m, width, ld;
  T* out;  // row `first`

  template <class Team>
  OT_HD void operator()(Team& team) const {
    for (index i = first + team.id; i < last; i += team.count)
      team.each([&](int t) {
        for (index j = team.lane(t).thread; j < width; j += team.threads)
          out[(i - first) * ld + j] = j < m ? static_cast<T>(term.at(i, j)) : T(0);
      });
  }
};
template <class Costs>
struct CostAlone {
  Costs costs;
  OT_HD auto at(index i, index j) const { return costs.at(i, j); }
};

// Entries above the cut, rows of a team into its region: what `Sweep::keep` does, for any m and
// after the update of phi.
template <class Costs>
struct Append {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1, K = 8;
  Exponent<Costs> exponent;
  Rows rows;
  index m;
  const double *phi, *a;
  bool update;
  double damp;
  KeptOut kept;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    typename Team::template Local<unsigned> bits(team);
    typename Team::template Local<Reg<double, K>> e(team);
    typename Team::template Local<Reg<int, K>> place(team);
    const index base = kept.base + team.id * kept.capacity, full = base + kept.capacity;
    index at = base;
    for (index i = rows.begin(team.id); i < rows.end(team.id); ++i) {
      const double sum = damp == 1 ? 1.0 : exp(phi[i] - phi[i] / damp);
      const double cut = update ? kept.threshold * sum : a[i] > 0 ? kept.threshold / a[i] : kInf;
      if (team.leader) kept.begin[i] = at;
      for (index j0 = 0; j0 < m; j0 += K * team.threads) {
        const auto column = [&](int t) {
          const int thread = team.lane(t).thread;
          return j0 + thread / kWarp * (K * kWarp) + thread % kWarp;
        };
        team.each([&](int t) {
          bits[t] = 0;
          for (int k = 0; k < K; ++k) {
            const index j = column(t) + k * kWarp;
            e[t][k] = j < m ? exponent.entry(phi[i], i, j) : 0.0;
            bits[t] |= j < m && e[t][k] > cut ? 1u << k : 0u;
          }
        });
        const int count = team.template compact<K>(bits, place);
        team.each([&](int t) {
          for (int k = 0; k < K; ++k) {
            const index to = at + place[t][k];
            if (!(bits[t] >> k & 1) || to >= full) continue;
            kept.idx[to] = static_cast<std::int32_t>(column(t) + k * kWarp);
            kept.val[to] = a[i] * e[t][k];
          }
        });
        at += count;
      }
      if (team.leader) kept.end[i] = at;
    }
    if (team.leader) kept.used[team.id] = at - base;
  }
};

}  // namespace ot::cuda
