// The gradient of a pass with respect to the points x.
#pragma once
#include "cuda/kernels/row_sums.hpp"

namespace ot::cuda {

// out_ik = sum_j P_ij dc(x_i, y_j)/dx_ik, one team a row. A thread keeps the weights of K columns in registers and goes
// through them once for every G coordinates.
// Memory traffic: x and y are read twice, for the exponentials and for the gradient; one exponential an entry.
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
                if (j < m && k + g < d) s += w[t][l] * costs.direction(i, j, k + g);
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

}  // namespace ot::cuda
