// Flows of least cost on some pairs of a transport problem, by name: see entropic/solvers.hpp.
#pragma once
#include "algorithms/network_simplex.hpp"
#include "core/monitor.hpp"

namespace ot {

using FlowArc = NetworkSimplex::Arc;

struct Completion {
  Array<double> flow;           // by arc: what is added, negative where mass is taken out
  Array<double> rows, columns;  // the mass of every row and column that the arcs cannot carry
};

// Completes a plan: min sum c_e F_e where F has the row sums a and the column sums b, and F_e >= -held_e on the arcs of
// the plan. What is held, at most the total of a on an arc, is taken out and transported again with what is missing, by
// a transport simplex. `poll` is asked whether to stop (Ctrl-C).
inline Completion complete(const FlowSides& missing, const Array<FlowArc>& arcs, const double* held,
                           const std::function<bool()>& poll) {
  const index n = missing.rows, m = missing.columns, count = arcs.size();
  Completion done{.flow = Array<double>(count, 0), .rows = Array<double>(n, 0), .columns = Array<double>(m, 0)};
  double total = 0;
  for (index i = 0; i < n; ++i) total += missing.a[i];
  if (!(total > 0)) return done;

  // Masses of the rows and columns, and what is taken out of every arc, in units of the mass that is missing.
  Array<double> a(n), b(m), taken(count);
  for (index i = 0; i < n; ++i) a[i] = missing.a[i] / total;
  for (index j = 0; j < m; ++j) b[j] = missing.b[j] / total;
  double all = 1;
  for (index e = 0; e < count; ++e) {
    taken[e] = std::min(held[e] / total, 1.0);
    a[arcs[e].row] += taken[e];
    b[arcs[e].col] += taken[e];
    all += taken[e];
  }
  for (double& v : a) v /= all;
  for (double& v : b) v /= all;

  // The simplex leaves nodes without mass out of its tree: so are their arcs.
  Array<FlowArc> used;
  Array<index> position;
  Array<double> guess;
  for (index e = 0; e < count; ++e) {
    if (!(a[arcs[e].row] > 0 && b[arcs[e].col] > 0)) continue;
    used.push_back(arcs[e]);
    position.push_back(e);
    guess.push_back(taken[e] / all);
  }
  NetworkSimplex simplex({.rows = n, .columns = m, .a = a.data(), .b = b.data()}, std::move(used));
  simplex.start(guess);
  const FlowPlan plan = simplex.solve([&] {
    if (poll && poll()) throw Interrupted();
    return false;
  });
  for (index e = 0; e < count; ++e) done.flow[e] = -taken[e] * total;
  for (index k = 0; k < position.size(); ++k) done.flow[position[k]] += plan.flow[k] * all * total;
  const SpanningTree& tree = simplex.tree();
  for (index v = 0; v < tree.root(); ++v)
    if (tree[v].parent == tree.root())
      (tree.is_row(v) ? done.rows[v] : done.columns[v - n]) = tree[v].flow * all * total;
  return done;
}

}  // namespace ot
