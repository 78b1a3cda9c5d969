// Kept entries of rows that are too long for a sweep.
#pragma once
#include "cuda/kernels/kept_entries.hpp"
#include "cuda/kernels/row_sums.hpp"

namespace ot::cuda {

// What Sweep::keep does, for rows too long for a sweep and after the update of phi: entries above the cut, the rows of
// a team into its region. Memory traffic: one read of C.
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
