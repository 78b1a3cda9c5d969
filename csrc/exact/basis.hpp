// The network simplex on some pairs of an exact problem, in units of mass, on costs reduced by a base of potentials:
// their differences are of the size that matters, those of costs may not be.
#pragma once
#include <algorithm>
#include <utility>

#include "algorithms/network_simplex.hpp"
#include "exact/constants.hpp"
#include "exact/duals.hpp"
#include "exact/mass_units.hpp"
#include "exact/options.hpp"

namespace ot {

class Basis {
 public:
  using Simplex = NetworkSimplexOf<MassUnits::Mass>;

  Basis(const MassUnits& units, Duals base)
      : units_(units),
        base_(std::move(base)),
        simplex_({.rows = units.rows.size(),
                  .columns = units.columns.size(),
                  .a = units.rows.data(),
                  .b = units.columns.data()},
                 {}) {}

  const Simplex& simplex() const { return simplex_; }
  index arcs() const { return cost_.size(); }
  bool lacks() const { return lacks_; }

  void reserve(index count) {
    simplex_.arcs.reserve(count);
    cost_.reserve(count);
  }
  void add(index i, index j, double cost) {
    simplex_.arcs.push_back(
        {.row = static_cast<std::int32_t>(i), .col = static_cast<std::int32_t>(j), .cost = reduced(i, j, cost)});
    cost_.push_back(cost);
  }

  // The first tree, on the arcs from `given` on where there are any, else on arcs of reduced cost 0. Arcs before
  // `given` are sorted by rows. What they cannot carry lies on artificial arcs.
  void start(index given) {
    simplex_.start_on(given < arcs() ? forest(
                                           given, [](index) { return true; })
                                     : forest(
                                           0, [this](index e) { return !(simplex_.arcs[e].cost > tight(e)); }),
                      given);
    lacks_ = simplex_.lack() > 0;
    if (lacks_) artificial_ = exact::kArtificial * typical_cost();
  }
  // Artificial arcs become dearer, so that a pair of this reduced cost is worth one.
  void raise_artificial(double reduced) {
    artificial_ = std::max(exact::kArtificialRise * artificial_, artificial_ + reduced);
  }

  // Pivots, and the potentials of the tree. Without mass on artificial arcs these are free: all parts of the tree then
  // hang on the root by rows, so that their cost cancels.
  template <class F>
  Pivoting run(index most, Duals& at, F poll) {
    const Pivoting end = simplex_.run(lacks_ ? artificial_ : 0, most, poll);
    lacks_ = lacks_ && simplex_.lack() > 0;
    const auto& p = simplex_.potential();
    const index n = units_.rows.size(), m = units_.columns.size();
    for (index i = 0; i < n; ++i) at.rows[i] = units_.rows[i] > 0 ? base_.rows[i] + p[i] : -INFINITY;
    for (index j = 0; j < m; ++j) at.columns[j] = units_.columns[j] > 0 ? base_.columns[j] + p[n + j] : -INFINITY;
    return end;
  }

  // Other potentials become the base.
  void rebase(const Duals& at) {
    base_ = at;
    for (index e = 0; e < arcs(); ++e)
      simplex_.arcs[e].cost = reduced(simplex_.arcs[e].row, simplex_.arcs[e].col, cost_[e]);
  }

  // The tree without its empty arcs: each part hangs on the root by a row, and its potentials, the new base, are of the
  // size of the costs in it. An empty arc of cost 1e32 would leave no digits of others.
  void refresh() {
    Array<index> carrying;
    for (const auto& [arc, flow] : tree_arcs())
      if (flow > 0) carrying.push_back(arc);
    simplex_.start_on(carrying, 0);
    for (index e = 0; e < arcs(); ++e) simplex_.arcs[e].cost = cost_[e];
    simplex_.price_tree(0);
    const index n = units_.rows.size();
    Duals at = base_;
    for (index i = 0; i < n; ++i)
      if (units_.rows[i] > 0) at.rows[i] = simplex_.potential()[i];
    for (index j = 0; j < units_.columns.size(); ++j)
      if (units_.columns[j] > 0) at.columns[j] = simplex_.potential()[n + j];
    rebase(at);
  }

  // Whether each node belongs to a part of the tree that hangs on the root by a row: there mass is left over, in the
  // other parts it is missing.
  Array<char> parts_by_row() const {
    const auto& tree = simplex_.tree();
    Array<char> by_row(tree.nodes(), 0);
    Array<index> path;
    for (index top = tree[tree.root()].child; top >= 0; top = tree[top].next) {
      const char of_row = tree.is_row(top);
      path.assign(1, top);
      while (!path.empty()) {
        const index v = path.back();
        path.pop_back();
        by_row[v] = of_row;
        for (index w = tree[v].child; w >= 0; w = tree[w].next) path.push_back(w);
      }
    }
    return by_row;
  }

  // The arcs of the tree.
  BasisPlan plan() const {
    BasisPlan plan;
    for (const auto& [arc, flow] : tree_arcs())
      plan.add(simplex_.arcs[arc].row, simplex_.arcs[arc].col, units_.mass(flow));
    return plan;
  }

  // <C,P> and <|C|,P> of the arcs of the tree.
  struct Cost {
    double value, size;
  };
  Cost cost() const {
    long double sum = 0, size = 0;
    for (const auto& [arc, flow] : tree_arcs())
      if (flow > 0) {
        sum += static_cast<long double>(cost_[arc]) * units_.mass(flow);
        size += std::fabs(static_cast<long double>(cost_[arc])) * units_.mass(flow);
      }
    return {static_cast<double>(sum), static_cast<double>(size)};
  }

  // Mass that the arcs do not carry, row by row to the columns that miss some. With the tree it is a forest.
  BasisPlan completion() const {
    const auto& tree = simplex_.tree();
    Array<std::pair<index, MassUnits::Mass>> rows, columns;
    for (index w = tree[tree.root()].child; w >= 0; w = tree[w].next)
      if (tree[w].flow > 0) {
        if (tree.is_row(w)) rows.emplace_back(w, tree[w].flow);
        else columns.emplace_back(w - tree.column(0), tree[w].flow);
      }
    BasisPlan pairs;
    for (index r = 0, c = 0; r < rows.size() && c < columns.size();) {
      const MassUnits::Mass some = std::min(rows[r].second, columns[c].second);
      pairs.add(rows[r].first, columns[c].first, units_.mass(some));
      if ((rows[r].second -= some) == 0) ++r;
      if ((columns[c].second -= some) == 0) ++c;
    }
    return pairs;
  }

 private:
  // A forest of arcs from `first` on that are taken.
  template <class F>
  Array<index> forest(index first, F taken) const {
    const index n = units_.rows.size();
    Array<std::int32_t> part(n + units_.columns.size());
    for (index v = 0; v < part.size(); ++v) part[v] = static_cast<std::int32_t>(v);
    const auto find = [&](index v) {
      while (part[v] != v) v = part[v] = part[part[v]];
      return v;
    };
    Array<index> chosen;
    for (index e = first; e < arcs(); ++e) {
      if (!taken(e)) continue;
      const index u = find(simplex_.arcs[e].row), v = find(n + simplex_.arcs[e].col);
      if (u == v) continue;
      part[v] = static_cast<std::int32_t>(u);
      chosen.push_back(e);
    }
    return chosen;
  }

  // A reduced cost that rounding can have made of 0.
  double tight(index e) const {
    const auto& arc = simplex_.arcs[e];
    return exact::kRounding *
           (std::fabs(cost_[e]) + std::fabs(base_.rows[arc.row]) + std::fabs(base_.columns[arc.col]));
  }

  Array<Simplex::Link> tree_arcs() const {
    const auto& tree = simplex_.tree();
    Array<Simplex::Link> links;
    links.reserve(tree.root());
    for (index v = 0; v < tree.root(); ++v)
      if (tree[v].arc >= 0) links.push_back({.arc = tree[v].arc, .flow = tree[v].flow});
    return links;
  }

  // The median of the reduced costs; the largest where that is 0, and 1 where all are.
  double typical_cost() const {
    Array<double> costs;
    costs.reserve(arcs());
    for (const auto& arc : simplex_.arcs) costs.push_back(arc.cost);
    if (costs.empty()) return 1;
    const auto middle = costs.begin() + costs.size() / 2;
    std::nth_element(costs.begin(), middle, costs.end());
    if (*middle > 0) return *middle;
    const double largest = *std::max_element(costs.begin(), costs.end());
    return largest > 0 ? largest : 1;
  }

  double reduced(index i, index j, double cost) const { return (cost - base_.columns[j]) - base_.rows[i]; }

  const MassUnits& units_;
  Duals base_;
  Simplex simplex_;
  Array<double> cost_;  // by arc
  double artificial_ = 0;
  bool lacks_ = false;
};

}  // namespace ot
