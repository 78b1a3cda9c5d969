// The fused sweep over rows and columns: every pass over C and every pass over a stored kernel.
#pragma once
#include "cuda/kernels/kept_entries.hpp"
#include "cuda/kernels/sources.hpp"

namespace ot::cuda {

// Row sums, then, with the row still in registers, what it adds to the column sums. For every R rows of a team:
//   1. c = their costs, fetched while the rows before were summed
//   2. e = exponentials (or entries of K), s = sum of the row over the team
//   3. weight of the row from s; rows whose sum is out of range are redone; entries are kept
//   4. column_sum += weight e
// A thread owns K columns for all rows of its team, so that column sums stay in shared memory:
//   column k of a lane = slab of its block + 32 K warp + lane + 32 k.
// Memory traffic: one read of C (or K); m column sums written a team; 12 bytes an entry kept.
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
  int slab;       // columns of a block: K a thread
  double* parts;  // (teams, stride) column sums of each team; nullable
  index stride;
  bool add;  // to what `parts` holds
  KeptOut kept;

  // The first column of thread t, and the end of the columns of its block.
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
            part[t][r] += source.term(v, column);
          }
        }
        if (i + R < i1) source.costs().template fetch<K, R>(slots, t, i + R, i1, at.j, step, at.end);
      });
      first = sum = team.sum(part);
      bool redo = false;
      OT_UNROLL for (int r = 0; r < R; ++r) redo |= source.redo(sum[r]);
      if (redo) {  // in braces: Clang takes the loop below for a part of it
        restabilise(team, i, i1, head, sum, e);
      }
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

  // Redoes rows whose sum is out of range with phi_i = -max_j z_ij: exponentials lie in [0, 1], one equals 1. A row
  // without an allowed pair has entries 0. Two more reads of their costs.
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
            best[t][r] = fmax(best[t][r], source.exponent_at(row, j));
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
          const TE v = j < at.end && top[r] > -kInf ? exp2_of(source.exponent_at(row, j) - top[r], TE{}) : TE(0);
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

  // Appends the entries above the cut to the region of the team, in the order (warp, k, lane) of columns.
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

}  // namespace ot::cuda
