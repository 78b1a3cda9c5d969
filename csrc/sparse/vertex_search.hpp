// Plans of the transport polytope with at most k entries a column: annealing over its vertices.
//
// A pivot of the network simplex brings one entry in and drives another out. Here it is judged by the change of
// <C,T> + reg/2 |T|^2, plus a price for each entry that a column then has beyond k, and one of a column's pivots is
// drawn by the Gibbs distribution of that (Kirkpatrick, Gelatt, Vecchi 1983). All pivots into column j share the tree
// seen from j: one pass over it, parents first, finds for every row the smallest entry that shrinks on the path from j,
// which is the most that the new entry can carry. O(rows + columns) a column. Numbers are drawn from a fixed sequence.
#pragma once
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>

#include "sparse/vertex_packing.hpp"

namespace ot {

// Gumbel noise from a table, by a linear congruential sequence. The x of the largest -x/heat + noise is a draw from the
// Gibbs distribution exp(-x/heat).
class GumbelNoise {
 public:
  GumbelNoise() : table_(kSize) {
    for (double& v : table_) v = -std::log(-std::log((draw() + 0.5) / 0x1p32));
  }
  double operator()() { return table_[draw() >> (32 - kBits)]; }

 private:
  static constexpr int kBits = 10, kSize = 1 << kBits;
  std::uint32_t draw() { return state_ = state_ * 1664525u + 1013904223u; }
  std::uint32_t state_ = 1;
  Array<double> table_;
};

class VertexSearch {
 public:
  // From a solved simplex whose costs are those of the objective.
  VertexSearch(NetworkSimplex simplex, ColumnArcs columns, index k, double reg)
      : simplex_(std::move(simplex)), columns_(std::move(columns)), k_(k), reg_(reg) {
    scratch_.seen.resize(tree().nodes());
    scratch_.cost.assign(simplex_.sides().rows, INFINITY);
    state_.degree.resize(simplex_.sides().columns);
    state_.potential.assign(tree().nodes(), 0.0);
    state_.order.reserve(tree().nodes());
    scratch_.path.reserve(tree().nodes());
  }

  // The best plan found with at most k entries a column, by arcs, if any was. `poll` is asked whether to stop.
  template <class F>
  std::optional<Array<double>> search(F poll) {
    const double unit = mean_entry_cost();
    const index columns = simplex_.sides().columns, work = columns * tree().nodes();
    const int sweeps =
        static_cast<int>(std::min(sparse::kSweeps, std::max(sparse::kLeastSweeps, sparse::kSearchWork / work)));
    const int tries =
        static_cast<int>(std::min(sparse::kTries, std::max<index>(1, sparse::kSearchWork / 4 / (work * sweeps))));
    const Schedule mild{sweeps, sparse::kMildHeat * unit, sparse::kMildPrice * unit};
    const Schedule strong{sweeps, sparse::kStrongHeat * unit, sparse::kStrongPrice * unit};
    const Schedule repair{sweeps / 2, sparse::kRepairHeat * unit, INFINITY};
    const Schedule descent{0, sparse::kPackedHeat * unit, INFINITY};
    for (int round = 0; round < tries; ++round) {
      const bool found =
          (round == 0 && anneal(mild, poll)) || anneal(strong, poll) || (repack_long() && anneal(repair, poll));
      if (!found) break;
      keep_best();
    }
    if (tries > 1 && repack(Array<char>(columns, 1)) && anneal(descent, poll)) keep_best();
    if (best_.flow.empty()) return std::nullopt;
    return std::move(best_.flow);
  }

 private:
  const SpanningTree& tree() const { return simplex_.tree(); }

  struct Schedule {
    int sweeps;
    double heat;   // of the first sweep
    double price;  // of an entry beyond k
  };
  struct Visit {
    std::int32_t node, above;
    double flow;  // of the arc between them
  };
  struct Seen {
    double room;          // the smallest entry that shrinks on the path from column j
    std::int32_t column;  // the node of the column that has it
    std::int32_t steps;   // arcs of the path
  };
  struct Choice {
    index row = -1;
    double change;  // of the objective, prices and noise
  };

  void keep_best() {
    if (!best_.flow.empty() && !(state_.objective < best_.objective)) return;
    best_ = {simplex_.plan().flow, state_.objective};
  }

  // Sweeps over the columns at a falling heat, then down to the next minimum; false where a column has more than k
  // entries there.
  template <class F>
  bool anneal(const Schedule& schedule, F poll) {
    read_tree();
    const index columns = simplex_.sides().columns;
    const double cool = std::pow(sparse::kCooling, 1.0 / std::max(1, schedule.sweeps - 1));
    heat_ = schedule.heat;
    for (int sweep = 0; sweep < schedule.sweeps; ++sweep, heat_ *= cool)
      for (index j = 0; j < columns; ++j) {
        if (j % sparse::kPollColumns == 0 && poll()) return false;
        pivot_into(j, schedule.price);
      }
    heat_ = 0;
    // Rounding can make a pivot worse than predicted: only a pivot that lowers the merit counts.
    const auto merit = [&] {
      const auto excess = static_cast<double>(state_.excess);
      return state_.excess > 0 ? state_.objective + std::min(schedule.price, 1e30) * excess : state_.objective;
    };
    double least = merit();
    for (index idle = 0, j = 0; idle < columns; j = j + 1 < columns ? j + 1 : 0) {
      if (j % sparse::kPollColumns == 0 && poll()) break;
      ++idle;
      if (!pivot_into(j, schedule.price) || !(merit() < least)) continue;
      least = merit();
      idle = 0;
    }
    return state_.excess == 0;
  }

  bool repack(const Array<char>& chosen) {
    const std::optional<Forest> forest = pack_columns(simplex_, columns_, k_, chosen);
    if (forest) simplex_.start_from(*forest);
    return forest.has_value();
  }

  // Packs columns with more than k entries again, each with the fewest of the columns around it for which this works.
  bool repack_long() {
    const index columns = simplex_.sides().columns;
    Array<char> chosen;
    while (state_.excess > 0) {
      const index before = state_.excess;
      const auto longest = std::max_element(state_.degree.begin(), state_.degree.end());
      const Array<index> around = columns_around(simplex_, longest - state_.degree.begin());
      bool packed = false;
      for (index size = 2, count = 0; !packed && count < around.size(); size *= 2) {
        count = std::min(size, around.size());
        chosen.assign(columns, 0);
        for (index r = 0; r < count; ++r) chosen[around[r]] = 1;
        packed = repack(chosen);
      }
      if (!packed && !repack(Array<char>(columns, 1))) return false;
      read_tree();
      if (state_.excess >= before) return false;
    }
    return true;
  }

  // The unit of heats and prices: the mean cost of one more entry in a column, its mass times a small reduced cost.
  double mean_entry_cost() {
    read_tree();
    const FlowSides& sides = simplex_.sides();
    Array<double> reduced;
    reduced.reserve(sides.rows);
    double sum = 0;
    for (index j = 0; j < sides.columns; ++j) {
      const index from = tree().column(j);
      if (tree()[from].parent < 0) continue;
      reduced.clear();
      for (index e = columns_.begin[j]; e < columns_.begin[j + 1]; ++e) {
        const auto& arc = simplex_.arcs[e];
        reduced.push_back(arc.cost - state_.potential[arc.row] - state_.potential[from]);
      }
      if (reduced.empty()) continue;
      const auto rank = std::min<index>(sparse::kRank, reduced.size() - 1);
      std::nth_element(reduced.begin(), reduced.begin() + static_cast<std::ptrdiff_t>(rank), reduced.end());
      sum += sides.b[j] * std::max(0.0, reduced[rank]);
    }
    return std::max(sum / static_cast<double>(sides.columns), 1e-300);
  }

  // The tree with parents first, marginal costs C + reg T as potentials, entries by column, the objective.
  void read_tree() {
    std::fill(state_.degree.begin(), state_.degree.end(), 0);
    state_.order.clear();
    state_.objective = 0;
    scratch_.path.assign(1, tree().root());
    while (!scratch_.path.empty()) {
      const index v = scratch_.path.back();
      scratch_.path.pop_back();
      for (index w = tree()[v].child; w >= 0; w = tree()[w].next) {
        scratch_.path.push_back(w);
        const SpanningTree::Node& node = tree()[w];
        const double flow = node.flow;
        state_.order.push_back({static_cast<std::int32_t>(w), static_cast<std::int32_t>(v), flow});
        if (v == tree().root()) {
          state_.potential[w] = 0;
          continue;
        }
        const auto& arc = simplex_.arcs[node.arc];
        state_.potential[w] = arc.cost + reg_ * flow - state_.potential[v];
        state_.objective += flow * (arc.cost + 0.5 * reg_ * flow);
        state_.degree[arc.col] += flow > 0;
      }
    }
    state_.excess = 0;
    for (const index d : state_.degree) state_.excess += std::max<index>(0, d - k_);
  }

  // A pivot into column j, or none.
  bool pivot_into(index j, double price) {
    if (tree()[tree().column(j)].parent < 0) return false;
    const index first = columns_.begin[j], end = columns_.begin[j + 1];
    for (index e = first; e < end; ++e) scratch_.cost[simplex_.arcs[e].row] = simplex_.arcs[e].cost;
    const index row = choose_row(j, price).row;
    index entering = -1;
    for (index e = first; e < end; ++e) {
      scratch_.cost[simplex_.arcs[e].row] = INFINITY;
      if (simplex_.arcs[e].row == row) entering = e;
    }
    // The potentials of the simplex are not used here.
    if (entering < 0 || !simplex_.pivot(entering, 0)) return false;
    read_tree();
    return true;
  }

  // The row whose pivot into column j is drawn. Every other entry on a path from column j shrinks: those that lead from
  // a column to a row.
  Choice choose_row(index j, double price) {
    const index from = tree().column(j), root = tree().root();
    const bool full = state_.degree[j] >= k_;
    const auto columns = static_cast<double>(simplex_.sides().columns);
    Choice choice{.change =
                      -(heat_ > 0 ? heat_ * noise_() : sparse::kLeastGain * std::fabs(state_.objective) / columns)};
    const auto weigh = [&](index i, const Seen& s) {
      if (!(s.room > 0 && s.steps > 1 && scratch_.cost[i] < INFINITY)) return;
      const double reduced = scratch_.cost[i] - state_.potential[i] - state_.potential[from];
      double change = s.room * (reduced + 0.5 * reg_ * s.room * static_cast<double>(s.steps + 1));
      const int more = s.column == from ? 0 : full - (state_.degree[s.column - tree().column(0)] > k_);
      if (more != 0) change += price * more;
      if (heat_ > 0) change -= heat_ * noise_();
      if (change < choice.change) choice = {i, change};
    };
    scratch_.seen[from] = {INFINITY, -1, 0};
    scratch_.path.assign(1, from);
    for (index v = from, u = tree()[v].parent; u != root; v = u, u = tree()[v].parent) {
      Seen s = scratch_.seen[v];
      ++s.steps;
      if (const double flow = tree()[v].flow; tree().is_row(u) && flow < s.room) {
        s.room = flow;
        s.column = static_cast<std::int32_t>(v);
      }
      scratch_.seen[u] = s;
      scratch_.path.push_back(u);
      if (tree().is_row(u)) weigh(u, s);
    }
    for (const Visit& visit : state_.order) {
      const index w = visit.node;
      if (!scratch_.path.empty() && scratch_.path.back() == w) {
        scratch_.path.pop_back();
        continue;
      }
      if (visit.above == root) {
        scratch_.seen[w] = {0, -1, 0};
        continue;
      }
      Seen s = scratch_.seen[visit.above];
      ++s.steps;
      if (tree().is_row(w) && visit.flow < s.room) {
        s.room = visit.flow;
        s.column = visit.above;
      }
      scratch_.seen[w] = s;
      if (tree().is_row(w)) weigh(w, s);
    }
    return choice;
  }

  NetworkSimplex simplex_;
  const ColumnArcs columns_;
  const index k_;
  const double reg_;
  double heat_ = 0;
  GumbelNoise noise_;
  struct {
    Array<Visit> order;
    Array<double> potential;  // by node
    Array<index> degree;      // by column: its entries
    double objective = 0;
    index excess = 0;  // entries beyond k, in all columns
  } state_;
  struct {
    Array<double> flow;
    double objective = 0;
  } best_;
  struct {
    Array<double> cost;  // by row: of its arc to column j, infinite where there is none
    Array<Seen> seen;    // by node
    Array<index> path;
  } scratch_;
};

}  // namespace ot
