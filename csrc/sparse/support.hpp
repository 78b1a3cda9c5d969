// A support with at most k entries a line that carries a plan.
#pragma once
#include "sparse/dual_solver.hpp"
#include "sparse/simplex.hpp"
#include "sparse/vertex_search.hpp"

namespace ot {

struct Support {
  Array<double> flow;         // by candidate: the plan
  Array<char> kept;           // by candidate: in the support
  bool carries_plan = false;  // false: the flow had more than k entries in a line, or lacked mass

  // The positive entries of a flow.
  static Support of(Array<double> flow) {
    Support s;
    s.flow = std::move(flow);
    s.kept.resize(s.flow.size());
    for (index e = 0; e < s.flow.size(); ++e) s.kept[e] = s.flow[e] > 0;
    return s;
  }
};

// The positive entries of lines that have more than k of them, the k largest first.
template <class F>
void for_each_long_line(const EntryList& entries, const Array<double>& flow, index k, F f) {
  Array<index> positive;
  positive.reserve(4 * k);
  for (index j = 0; j + 1 < entries.begin.size(); ++j) {
    positive.clear();
    for (const index e : entries.of_line(j))
      if (flow[e] > 0) positive.push_back(e);
    if (positive.size() <= k) continue;
    std::nth_element(positive.begin(), positive.begin() + k, positive.end(),
                     [&](index e, index d) { return flow[e] > flow[d]; });
    f(positive);
  }
}

// Lines of the flow are cut to their k largest entries.
inline void trim(const EntryList& entries, index k, Array<double>& flow) {
  for_each_long_line(entries, flow, k, [&](const Array<index>& positive) {
    for (index r = k; r < positive.size(); ++r) flow[positive[r]] = 0;
  });
}

// The k largest entries of the plan in every line, by slack where t ties.
inline Array<char> largest_entries(const LineDual& dual, index k) {
  Array<char> kept(dual.entries.size(), 0);
  Array<index> order;
  order.reserve(dual.problem.others);
  for (index j = 0; j < dual.problem.lines; ++j) {
    order.clear();
    for (const index e : dual.entries.of_line(j)) order.push_back(e);
    const auto most = std::min(k, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end(),
                      [&](index e, index d) {
                        const double x = dual.at.t[e], y = dual.at.t[d];
                        return x != y ? x > y : dual.slack(j, e) > dual.slack(j, d);
                      });
    for (index r = 0; r < most; ++r) kept[order[r]] = 1;
  }
  return kept;
}

// By pricing: the k largest entries of the dual's plan cost 0, others cost [-s]+ plus the mean slack of the plan. The
// network simplex finds a vertex. In lines with more than k entries the costs of all but the k largest rise, and the
// simplex goes on, for `rounds` vertices at most; the vertex with the fewest entries beyond k is returned. `previous`
// is the result of an earlier search, returned where the candidates carry no plan.
template <SparseBackend B>
Support find_support(DualSolver<B>& solver, index k, int rounds, Support previous = {}) {
  const LineDual& dual = solver.dual;
  const EntryList& entries = dual.entries;
  NetworkSimplex simplex = simplex_on(dual);
  const Array<char> free = largest_entries(dual, k);
  const double mean = solver.host.p.reg / static_cast<double>(std::max<index>(1, dual.active()));
  for (index j = 0; j < dual.problem.lines; ++j)
    for (const index e : entries.of_line(j))
      simplex.arcs[e].cost = free[e] ? 0.0 : std::max(0.0, -dual.slack(j, e)) + mean;
  simplex.start(dual.at.t);
  Array<double> best = std::move(previous.flow);
  bool found = false;
  index least = std::numeric_limits<index>::max();
  double price = mean;
  for (int round = 0; round < rounds && !found; ++round, price *= sparse::kPriceRise) {
    FlowPlan plan = simplex.solve([&] { return solver.budget.stopped(); });
    if (plan.lack > sparse::kMostLack) {
      if (best.size() != entries.size()) best = std::move(plan.flow);
      break;
    }
    index excess = 0;
    for_each_long_line(entries, plan.flow, k, [&](const Array<index>& positive) {
      excess += positive.size() - k;
      for (index r = k; r < positive.size(); ++r) simplex.arcs[positive[r]].cost += price;
    });
    found = excess == 0;
    if (excess < least) {
      least = excess;
      best = std::move(plan.flow);
    }
  }
  trim(entries, k, best);
  Support support = Support::of(std::move(best));
  support.carries_plan = found;
  return support;
}

// By annealing over the vertices of the polytope, on all entries.
template <SparseBackend B>
std::optional<Support> search_vertices(DualSolver<B>& solver, index k) {
  const LineDual& dual = solver.dual;
  const auto poll = [&] { return solver.budget.stopped(); };
  NetworkSimplex simplex = simplex_on(dual);
  simplex.start(dual.at.t);
  if (simplex.solve(poll).lack > sparse::kMostLack) return std::nullopt;
  VertexSearch search(std::move(simplex), {dual.entries.begin}, k, solver.host.p.reg);
  std::optional<Array<double>> flow = search.search(poll);
  if (!flow) return std::nullopt;
  Support support = Support::of(std::move(*flow));
  support.carries_plan = true;
  return support;
}

}  // namespace ot
