// Candidates: pairs of small reduced cost, for the host.
#pragma once
#include "cuda/costs-inl.hpp"
#include "cuda/kernels/candidates.hpp"
#include "cuda/vectors-inl.hpp"

namespace ot::cuda {

// Counted first, so that storage is as large as they need: two reads of C, one where there are none or too many.
template <class Device>
void BackendOn<Device>::candidates(const Geometry& geo, const double* f, const double* g, double margin, index limit,
                                   Candidates& to) {
  const index n = geo.n, m = geo.m;
  ++kept_.version;
  double *fs = grown(scratch_.row, n), *gs = grown(scratch_.h, m);
  index *length = grown(list_.length, n + 1), *begin = grown(list_.offset, n + 1);
  write(n, f, fs);
  write(m, g, gs);
  with_costs(geo, [&](auto costs) {
    using Costs = decltype(costs(0));
    const Slack<Costs> slack{.costs = costs(0), .shift = geo.shift, .margin = margin, .f = fs, .g = gs};
    by_pieces(n, m, [&](index first, index last) {
      device_.launch(
          team_each(last - first),
          CountCandidates<Costs>{.slack = slack, .first = first, .last = last, .n = n, .m = m, .length = length});
    });
    device_.scan(n + 1, length, begin);
    to.begin.reserve(n + 1);
    device_.download(to.begin.data(), begin, (n + 1) * static_cast<index>(sizeof(index)));
    to.nnz = to.begin[n];
    to.overflow = to.nnz > limit;
    if (to.overflow || to.nnz == 0) return;
    std::int32_t* idx = grown(kept_.idx, to.nnz);
    double* cost = grown(kept_.val, to.nnz);
    by_pieces(n, m, [&](index first, index last) {
      device_.launch(
          team_each(last - first),
          FillCandidates<Costs>{
              .slack = slack, .first = first, .last = last, .m = m, .begin = begin, .idx = idx, .cost = cost});
    });
    to.idx.reserve(to.nnz);
    to.cost.reserve(to.nnz);
    device_.download(to.idx.data(), idx, to.nnz * static_cast<index>(sizeof(std::int32_t)));
    device_.download(to.cost.data(), cost, to.nnz * static_cast<index>(sizeof(double)));
  });
}

}  // namespace ot::cuda
