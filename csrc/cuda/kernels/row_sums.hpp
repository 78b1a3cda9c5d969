// Sums of the rows of a pass, one row at a time: any m.
#pragma once
#include "cuda/kernels/sources.hpp"

namespace ot::cuda {

// s_i, the update of phi and sum_j e_ij (C_ij - shift), one team a row: each thread keeps the largest exponent so far
// and rescales its sums when that grows (online log-sum-exp). For rows too long for a sweep, and for costs.
// Memory traffic: one read of C.
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
          const double z = exponent.of_cost(cost_ij, j);
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
      // The scale may overflow: the sum itself does then.
      const double scale = exp2_of(fma(before, kLog2e, best), double{});
      if (row) row[i] = total[0] > 0 ? scale * total[0] : 0.0;
      if (cost) cost[i] = total[0] > 0 ? scale * total[1] : 0.0;
      if (update) phi[i] = total[0] > 0 ? damp * (-best * kLn2 - log(total[0])) : 0.0;
    }
  }
};

}  // namespace ot::cuda
