// Pairs of small reduced cost: counted, then written where the counts say.
#pragma once
#include "cuda/costs.hpp"

namespace ot::cuda {

// The condition f_i + g_j - (C_ij - shift) > -margin as g_j - cost > bound_i: rounded as on the CPU. False where one of
// them is infinite.
template <class Costs>
struct Slack {
  Costs costs;
  double shift, margin;
  const double *f, *g;  // (n), (m)

  OT_HD double cost(index i, index j) const { return static_cast<double>(costs.at(i, j)) - shift; }
  OT_HD double bound(index i) const { return -margin - f[i]; }
};

// length_i = number of candidates of row i, length_n = 0. One team a row. Memory traffic: one read of C.
template <class Costs>
struct CountCandidates {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  Slack<Costs> slack;
  index first, last, n, m;
  index* length;  // (n + 1)

  template <class Team>
  OT_HD void operator()(Team& team) const {
    typename Team::template Local<Reg<double, 1>> count(team);
    for (index i = first + team.id; i < last; i += team.count) {
      const double bound = slack.bound(i);
      team.each([&](int t) {
        index found = 0;
        if (bound < kInf)
          for (index j = team.lane(t).thread; j < m; j += team.threads) found += slack.g[j] - slack.cost(i, j) > bound;
        count[t][0] = static_cast<double>(found);
      });
      const double total = team.sum(count)[0];
      if (!team.leader) continue;
      length[i] = static_cast<index>(total);
      if (i + 1 == n) length[n] = 0;
    }
  }
};

// Candidates of row i to [begin_i, begin_(i+1)), in the order (warp, k, lane) of columns. One team a row, which stops
// after its last candidate. Memory traffic: at most one read of C; 12 bytes written a candidate.
template <class Costs>
struct FillCandidates {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1, K = 8;
  Slack<Costs> slack;
  index first, last, m;
  const index* begin;  // (n + 1)
  std::int32_t* idx;
  double* cost;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    typename Team::template Local<unsigned> bits(team);
    typename Team::template Local<Reg<double, K>> c(team);
    typename Team::template Local<Reg<int, K>> place(team);
    for (index i = first + team.id; i < last; i += team.count) {
      const double bound = slack.bound(i);
      const index end = begin[i + 1];
      index at = begin[i];
      for (index j0 = 0; at < end && j0 < m; j0 += K * team.threads) {
        const auto column = [&](int t) {
          const int thread = team.lane(t).thread;
          return j0 + thread / kWarp * (K * kWarp) + thread % kWarp;
        };
        team.each([&](int t) {
          bits[t] = 0;
          OT_UNROLL for (int k = 0; k < K; ++k) {
            const index j = column(t) + k * kWarp;
            c[t][k] = j < m ? slack.cost(i, j) : kInf;
            bits[t] |= j < m && slack.g[j] - c[t][k] > bound ? 1u << k : 0u;
          }
        });
        const int count = team.template compact<K>(bits, place);
        team.each([&](int t) {
          OT_UNROLL for (int k = 0; k < K; ++k) if (bits[t] >> k & 1) {
            idx[at + place[t][k]] = static_cast<std::int32_t>(column(t) + k * kWarp);
            cost[at + place[t][k]] = c[t][k];
          }
        });
        at += count;
      }
    }
  }
};

}  // namespace ot::cuda
