// The range of stored costs, and what in them is not a number.
#pragma once
#include "cuda/math.hpp"

namespace ot::cuda {

// Of one team: max and -min of the finite entries; counts of NaN, -inf and +inf; minus the flat index of the first NaN
// or -inf. All are float64, so that one reduction takes the largest of three.
struct StatsPart {
  double max, negative_min, nan, neg_inf, pos_inf, negative_first;
};
// Memory traffic: one read of C.
template <class T>
struct Stats {
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

}  // namespace ot::cuda
