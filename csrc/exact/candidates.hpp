// The pairs that the simplex starts with.
#pragma once
#include <algorithm>

#include "exact/basis.hpp"

namespace ot {

// Pairs of every row and of every column, as arcs sorted by rows, each once.
inline void add_nearest(const NearestPairs& of_rows, const NearestPairs& of_columns, index n, index m, Basis& basis) {
  struct Pair {
    std::int32_t column;
    double cost;
  };
  const auto for_each = [](const NearestPairs& pairs, index lines, auto f) {
    for (index l = 0; l < lines; ++l)
      for (index q = l * pairs.k; q < (l + 1) * pairs.k && pairs.idx[q] >= 0; ++q) f(l, pairs.idx[q], pairs.cost[q]);
  };
  Array<index> begin(n + 2, 0);
  for_each(of_rows, n, [&](index i, index, double) { ++begin[i + 2]; });
  for_each(of_columns, m, [&](index, index i, double) { ++begin[i + 2]; });
  for (index i = 0; i < n; ++i) begin[i + 2] += begin[i + 1];
  Array<Pair> pairs(begin[n + 1]);
  for_each(of_rows, n, [&](index i, index j, double c) { pairs[begin[i + 1]++] = {static_cast<std::int32_t>(j), c}; });
  for_each(of_columns, m,
           [&](index j, index i, double c) { pairs[begin[i + 1]++] = {static_cast<std::int32_t>(j), c}; });
  basis.reserve(pairs.size());
  for (index i = 0; i < n; ++i) {
    const auto first = pairs.begin() + begin[i], end = pairs.begin() + begin[i + 1];
    std::sort(first, end, [](const Pair& p, const Pair& q) { return p.column < q.column; });
    std::int32_t last = -1;
    for (auto p = first; p != end; ++p)
      if (p->column != last) basis.add(i, last = p->column, p->cost);
  }
}

}  // namespace ot
