// The network simplex on the candidates of a dual.
#pragma once
#include "algorithms/network_simplex.hpp"
#include "sparse/line_dual.hpp"

namespace ot {

// Rows of the simplex are the others, its columns are the lines; costs are those of the candidates.
inline NetworkSimplex simplex_on(const LineDual& dual) {
  const LineProblem& p = dual.problem;
  Array<NetworkSimplex::Arc> arcs(dual.entries.size());
  for (index j = 0; j < p.lines; ++j)
    for (const index e : dual.entries.of_line(j))
      arcs[e] = {.row = dual.entries.idx[e], .col = static_cast<std::int32_t>(j), .cost = dual.entries.cost[e]};
  return NetworkSimplex({.rows = p.others, .columns = p.lines, .a = p.a, .b = p.b}, std::move(arcs));
}

}  // namespace ot
