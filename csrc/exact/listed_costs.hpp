// Costs of a list of pairs; all other pairs are forbidden. They answer as those of a backend do, on one thread.
#pragma once
#include <algorithm>
#include <cmath>

#include "exact/basis.hpp"

namespace ot {

class ListedCosts {
 public:
  ListedCosts(const PairList& pairs, const double* a, const double* b) : pairs_(pairs), a_(a), b_(b) {}

  index n() const { return pairs_.n; }
  index m() const { return pairs_.m; }

  void read_masses(double* a, double* b) {
    std::copy_n(a_, n(), a);
    std::copy_n(b_, m(), b);
  }
  void read(Potentials from, Duals& to) {
    std::copy_n(from.rows, n(), to.rows.begin());
    std::copy_n(from.columns, m(), to.columns.begin());
  }
  void write(const Duals& from, Potentials to) {
    std::copy(from.rows.begin(), from.rows.end(), to.rows);
    std::copy(from.columns.begin(), from.columns.end(), to.columns);
  }

  void first_rows(const Limits&, const Monitor&, const Array<double>&, double* f) { std::fill_n(f, n(), 0.0); }
  index candidates_a_row() const { return 1; }
  void add_candidates(const Duals& at, const NearestPairs&, Basis& basis) {
    basis.reserve(pairs_.begin[n()]);
    for (index i = 0; i < n(); ++i)
      for (index e = pairs_.begin[i]; e < pairs_.begin[i + 1]; ++e) {
        const index j = pairs_.column[e];
        if (at.rows[i] > -INFINITY && at.columns[j] > -INFINITY && pairs_.cost[e] < INFINITY)
          basis.add(i, j, pairs_.cost[e]);
      }
  }

  void transform_columns(const double* f, double* g) {
    std::fill_n(g, m(), INFINITY);
    for (index i = 0; i < n(); ++i)
      for (index e = pairs_.begin[i]; e < pairs_.begin[i + 1]; ++e) {
        double& low = g[pairs_.column[e]];
        low = std::min(low, pairs_.cost[e] - f[i]);
      }
  }

  void nearest_in_rows(const NearestQuery& query, NearestPairs& to) {
    to.reserve(n(), query.k);
    for (index i = 0; i < n(); ++i) {
      const double f = query.f[i];
      std::int32_t* idx = to.idx.data() + i * query.k;
      double* cost = to.cost.data() + i * query.k;
      std::fill_n(idx, query.k, -1);
      to.least[i] = INFINITY;
      const auto reduced = [&](double c, index j) { return (c - query.g[j]) - f; };
      for (index e = pairs_.begin[i]; e < pairs_.begin[i + 1] && f > -INFINITY; ++e) {
        const std::int32_t j = pairs_.column[e];
        const double c = pairs_.cost[e], r = reduced(c, j);
        to.least[i] = std::min(to.least[i], r);
        const double terms = std::fabs(c) + std::fabs(f) + std::fabs(query.g[j]);
        if (!(r < query.below && (query.rounding == 0 || r < query.below - query.rounding * terms))) continue;
        index q = query.k;
        while (q > 0 && (idx[q - 1] < 0 || reduced(cost[q - 1], idx[q - 1]) > r)) --q;
        if (q == query.k) continue;
        std::copy_backward(idx + q, idx + query.k - 1, idx + query.k);
        std::copy_backward(cost + q, cost + query.k - 1, cost + query.k);
        idx[q] = j;
        cost[q] = c;
      }
    }
  }

  // Infinite for a pair that is not in the list.
  void pairs(const Array<std::int32_t>& rows, const Array<std::int32_t>& columns, double* cost) {
    for (index k = 0; k < rows.size(); ++k) {
      const auto* first = pairs_.column + pairs_.begin[rows[k]];
      const auto* end = pairs_.column + pairs_.begin[rows[k] + 1];
      const auto* at = std::lower_bound(first, end, columns[k]);
      cost[k] = at != end && *at == columns[k] ? pairs_.cost[at - pairs_.column] : INFINITY;
    }
  }

 private:
  const PairList pairs_;
  const double *a_, *b_;
};

}  // namespace ot
