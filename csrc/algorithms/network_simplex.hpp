// Network simplex for transport on a list of arcs: min sum of cost x flow, where rows sum to a and columns to b.
//
// A basis is a spanning tree of the rows, the columns and a root; artificial arcs to the root carry the mass that the
// arcs given cannot. Bases are kept strongly feasible (Cunningham 1976), which excludes cycling: every tree arc without
// flow points to the root. Tree arcs carry mass from a row to a column. A vertex of the transport polytope is a forest,
// with fewer than rows + columns positive entries. Pricing is by blocks of arcs: the entering arc has the most negative
// reduced cost of the first block that has one.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>

#include "algorithms/spanning_tree.hpp"

namespace ot {

// The two sides of a transport problem, of equal sums; the masses outlive the simplex.
template <class Mass>
struct FlowSidesOf {
  index rows = 0, columns = 0;
  const Mass *a = nullptr, *b = nullptr;
};

template <class Mass>
struct FlowPlanOf {
  Array<Mass> flow;  // by arc
  Mass lack = 0;     // mass on artificial arcs, which the arcs given cannot carry
};

// How a run of pivots ended: no arc has a negative reduced cost; the limit on pivots; the caller's poll.
enum class Pivoting { optimal, exhausted, stopped };

// Mass is double, or std::int64_t: all flows are then exact, however long the solve.
template <class Mass>
class NetworkSimplexOf {
 public:
  struct Arc {
    std::int32_t row, col;
    double cost;
  };
  using Tree = SpanningTreeOf<Mass>;
  using Sides = FlowSidesOf<Mass>;
  using Plan = FlowPlanOf<Mass>;
  using Link = typename Tree::Link;
  using Node = typename Tree::Node;

  Array<Arc> arcs;  // costs may change, and arcs be added, between runs

  NetworkSimplexOf(const Sides& sides, Array<Arc> of)
      : arcs(std::move(of)), sides_(sides), tree_(sides.rows, sides.columns), potential_(tree_.nodes(), 0.0) {}

  const Tree& tree() const { return tree_; }
  const Sides& sides() const { return sides_; }
  index pivots() const { return pivots_; }

  // ---------------------------------------------------------------- the first tree

  // From `guess`, a plan by arcs that nearly has the marginals. Its entries are taken from the largest on: each carries
  // the smaller of the masses left in its row and its column. The node whose mass is then used up becomes a child of
  // the other. Nodes without a parent in the end become children of the root.
  void start(const Array<double>& guess) {
    start_empty();
    // Entry and arc in one integer: the bits of a positive float32 sort as the float does.
    Array<std::uint64_t> keys;
    keys.reserve(tree_.nodes());
    index whole = 0;  // entries that fill their column alone: they come first, unsorted
    for (index e = 0; e < guess.size(); ++e) {
      if (!(guess[e] > 0)) continue;
      const auto flow = std::bit_cast<std::uint32_t>(static_cast<float>(guess[e]));
      keys.push_back((std::uint64_t{flow} << 32) | ~static_cast<std::uint32_t>(e));
      if (guess[e] > (1 - kWhole) * static_cast<double>(sides_.b[arcs[e].col])) std::swap(keys.back(), keys[whole++]);
    }
    std::sort(keys.begin() + static_cast<std::ptrdiff_t>(whole), keys.end(), std::greater<>());
    for (const std::uint64_t key : keys) carry(~static_cast<std::uint32_t>(key));
    hang_the_rest();
  }

  // From a forest of arcs that may carry a plan, from its leaves on: an arc carries what its leaf has left, or what the
  // node next to it can take. The rest goes row by row to the cheapest arcs to columns that have mass left; arcs are
  // sorted by rows up to `sorted`.
  void start_on(const Array<index>& forest, index sorted) {
    start_empty();
    eliminate(forest);
    for (index e = 0; e < sorted;) {
      const index i = arcs[e].row, first = e;
      while (e < sorted && arcs[e].row == i) ++e;
      while (tree_[i].parent < 0 && tree_[i].flow > 0) {
        index best = -1;
        for (index k = first; k < e; ++k) {
          const Node& column = tree_[tree_.column(arcs[k].col)];
          if (column.parent < 0 && column.flow > 0 && (best < 0 || arcs[k].cost < arcs[best].cost)) best = k;
        }
        if (best < 0) break;
        carry(best);
      }
    }
    hang_the_rest();
  }

  // From a forest of arcs whose flows have the marginals.
  void start_from(const Array<Link>& forest) {
    const Neighbours around(*this, forest.size(), [&](index r) { return forest[r].arc; });
    tree_.clear();
    tree_[tree_.root()].depth = 0;
    for (index top = 0; top < tree_.root(); ++top) {
      if (tree_[top].parent >= 0 || !(mass(top) > 0)) continue;
      tree_.attach(top, tree_.root());
      tree_[top].depth = 1;
      stack_.assign(1, static_cast<std::int32_t>(top));
      while (!stack_.empty()) {
        const index v = stack_.back();
        stack_.pop_back();
        for (const index r : around.of(v)) {
          const auto& [e, flow] = forest[r];
          const index w = across(e, v);
          if (tree_[w].parent >= 0) continue;
          tree_.attach(w, v);
          tree_[w].depth = tree_[v].depth + 1;
          tree_[w].arc = static_cast<std::int32_t>(e);
          tree_[w].flow = flow;
          stack_.push_back(static_cast<std::int32_t>(w));
        }
      }
    }
  }

  // ---------------------------------------------------------------- pivots

  // Pivots from the present tree until no reduced cost is negative at the present costs; arcs of infinite cost do not
  // enter. Returns the plan, which may not be the cheapest where `poll`, asked every kPollPivots, says to stop.
  template <class F>
  Plan solve(F poll) {
    double largest = 0;
    for (const Arc& arc : arcs)
      if (std::isfinite(arc.cost)) largest = std::max(largest, std::fabs(arc.cost));
    tolerance_ = kTolerance * std::max(largest, kTiny);
    block_part_ = 1;
    const index most = kMostPivots * tree_.nodes() * (1 + arcs.size() / tree_.nodes());
    run((largest + kTiny) * static_cast<double>(tree_.nodes()), pivots_ + most, poll);
    return plan();
  }

  // The same with artificial arcs of the cost given. An arc enters where its reduced cost is below the rounding of its
  // terms; in the end this has been checked with potentials computed anew from the tree. `most` bounds pivots().
  template <class F>
  Pivoting run(double artificial, index most, F poll) {
    price_tree(artificial);
    for (bool priced = true;;) {  // since the last pivot
      const index entering = choose();
      if (entering < 0 && priced) return Pivoting::optimal;
      priced = entering < 0;
      if (priced) {
        price_tree(artificial);
        continue;
      }
      if (pivots_ >= most || !pivot(entering, reduced(arcs[entering]))) return Pivoting::exhausted;
      if (++pivots_ % kPollPivots == 0 && poll()) return Pivoting::stopped;
    }
  }

  // Potentials from the tree: cost = potential of row + potential of column on its arcs; the root's is 0.
  void price_tree(double artificial) {
    tree_[tree_.root()].depth = 0;
    potential_[tree_.root()] = 0;
    stack_.assign(1, static_cast<std::int32_t>(tree_.root()));
    while (!stack_.empty()) {
      const index v = stack_.back();
      stack_.pop_back();
      for (index w = tree_[v].child; w >= 0; w = tree_[w].next) {
        Node& node = tree_[w];
        node.depth = tree_[v].depth + 1;
        potential_[w] = v == tree_.root() ? artificial : arcs[node.arc].cost - potential_[v];
        if (node.child >= 0) stack_.push_back(static_cast<std::int32_t>(w));
      }
    }
  }

  // An arc of the given reduced cost enters the tree, and the last blocking arc of its cycle, from the apex along the
  // entering arc, leaves it. More on the entering arc means less on the arcs above rows on its row's side, and less on
  // those above columns on its column's side. False where rounding leaves no arc that blocks.
  bool pivot(index entering, double reduced) {
    const index i = arcs[entering].row, j = tree_.column(arcs[entering].col);
    const Blocking blocking = find_blocking(i, j);
    if (blocking.leaving < 0) return false;
    const Mass delta = blocking.delta;
    if (delta > 0) {
      for (index u = i; u != blocking.apex; u = tree_[u].parent) change_flow(u, tree_.is_row(u) ? -delta : delta);
      for (index v = j; v != blocking.apex; v = tree_[v].parent) change_flow(v, tree_.is_row(v) ? delta : -delta);
    }
    const index top = blocking.on_row_side ? i : j, under = blocking.on_row_side ? j : i;
    tree_.reroot(top, under, blocking.leaving, {.arc = entering, .flow = delta});
    move_subtree(top, top == i ? reduced : -reduced);
    return true;
  }

  // ---------------------------------------------------------------- what was found

  // The plan of the tree.
  Plan plan() const {
    Plan plan{.flow = Array<Mass>(arcs.size(), 0)};
    for (index v = 0; v < tree_.root(); ++v)
      if (tree_[v].arc >= 0) plan.flow[tree_[v].arc] = tree_[v].flow;
    plan.lack = lack();
    return plan;
  }

  // Mass on artificial arcs.
  Mass lack() const {
    Mass sum = 0;
    for (index w = tree_[tree_.root()].child; w >= 0; w = tree_[w].next)
      if (tree_.is_row(w)) sum += tree_[w].flow;
    return sum;
  }

  // By node: cost = potential of row + potential of column on tree arcs.
  const Array<double>& potential() const { return potential_; }

  // The dual solution of the last solve(). Unchanged where the root has several children: the potentials of the parts
  // of the plan are then not determined against each other.
  void potentials(double* rows, double* columns) const {
    const index top = tree_[tree_.root()].child;
    if (top < 0 || tree_[top].next >= 0) return;
    const double shift = tree_.is_row(top) ? potential_[top] : -potential_[top];
    for (index v = 0; v < tree_.root(); ++v)
      if (tree_[v].parent >= 0)
        (tree_.is_row(v) ? rows[v] : columns[v - sides_.rows]) = potential_[v] - (tree_.is_row(v) ? shift : -shift);
  }

 private:
  static constexpr double kTolerance = 1e-10;     // of a reduced cost, over the largest cost
  static constexpr double kFlowRounding = 1e-14;  // flow that rounding leaves on an empty arc; masses sum to 1
  static constexpr double kWhole = 1e-9;          // relative difference of an entry that fills its column
  static constexpr double kTiny = 1e-300;         // where all costs are 0
  // Arcs of a block: a fourth of the square root of their number, this at least (n = 8000: .43 s with the root, .22
  // so).
  static constexpr index kLeastBlock = 32, kBlockPart = 4;
  static constexpr index kMostPivots = 50;    // times the number of nodes and arcs
  static constexpr index kPollPivots = 4096;  // between two polls
  // Of the terms of a reduced cost: what their rounding can make of 0.
  static constexpr double kCostRounding = 4 * std::numeric_limits<double>::epsilon();

  struct Blocking {
    Mass delta = std::numeric_limits<Mass>::max();  // the flow that can enter
    index leaving = -1;                             // the arc above this node leaves
    index apex = -1;                                // where the paths of row and column to the root meet
    bool on_row_side = true;
  };

  // The arcs of a forest by node.
  class Neighbours {
   public:
    template <class F>
    Neighbours(const NetworkSimplexOf& s, index count, F arc_of) : first_(s.tree_.nodes() + 1, 0), arcs_(2 * count) {
      for (index r = 0; r < count; ++r) {
        ++first_[s.arcs[arc_of(r)].row + 1];
        ++first_[s.tree_.column(s.arcs[arc_of(r)].col) + 1];
      }
      for (index v = 0; v < s.tree_.nodes(); ++v) first_[v + 1] += first_[v];
      auto place = first_;
      for (index r = 0; r < count; ++r) {
        arcs_[place[s.arcs[arc_of(r)].row]++] = r;
        arcs_[place[s.tree_.column(s.arcs[arc_of(r)].col)]++] = r;
      }
    }
    std::span<const index> of(index v) const {
      return {arcs_.data() + first_[v], static_cast<std::size_t>(first_[v + 1] - first_[v])};
    }

   private:
    Array<index> first_, arcs_;
  };

  // The other end of arc e.
  index across(index e, index v) const {
    return tree_.is_row(v) ? tree_.column(arcs[e].col) : static_cast<index>(arcs[e].row);
  }

  // Flows on a forest from its leaves on.
  void eliminate(const Array<index>& forest) {
    struct Step {
      index node, above, arc;  // above: -1 for the first node of a part
    };
    const Neighbours around(*this, forest.size(), [&](index r) { return forest[r]; });
    Array<Step> order;
    Array<char> met(tree_.nodes(), 0);
    order.reserve(tree_.nodes());
    for (index top = 0; top < tree_.root(); ++top) {
      if (met[top] || !(mass(top) > 0)) continue;
      met[top] = 1;
      order.push_back({top, -1, -1});
      for (index r = order.size() - 1; r < order.size(); ++r) {
        const index v = order[r].node;
        for (const index q : around.of(v)) {
          const index w = across(forest[q], v);
          if (std::exchange(met[w], 1)) continue;
          order.push_back({w, v, forest[q]});
        }
      }
    }
    for (index r = order.size() - 1; r >= 0; --r) settle(order[r].node, order[r].above, order[r].arc);
  }

  // Node v has the flows of all its arcs but the one to the node above it in the forest. An arc without flow must point
  // to the root: a column that is full hangs below a row that fills it.
  void settle(index v, index above, index arc) {
    Node& node = tree_[v];
    if (node.parent >= 0) return;
    const bool open = above >= 0 && tree_[above].parent < 0;
    if (open && node.flow <= tree_[above].flow && (node.flow > 0 || tree_.is_row(v))) {
      tree_[above].flow -= node.flow;
      node.arc = static_cast<std::int32_t>(arc);
      tree_.attach(v, above);
    } else if (open && tree_[above].flow > 0 && node.flow > 0) carry(arc);
    else if (!tree_.is_row(v) && node.flow == 0) {
      index w = node.child;
      while (w >= 0 && !(tree_[w].flow > 0)) w = tree_[w].next;
      if (w >= 0) tree_.lift(w);
    }
  }

  Mass mass(index v) const { return tree_.is_row(v) ? sides_.a[v] : sides_.b[v - sides_.rows]; }

  // No arcs: every node has its mass left.
  void start_empty() {
    tree_.clear();
    for (index v = 0; v < tree_.root(); ++v) tree_[v].flow = mass(v);
  }

  // Arc e carries the smaller of the masses left. A tie leaves the row: an arc without flow points to the root.
  void carry(index e) {
    index up = arcs[e].row, down = tree_.column(arcs[e].col);
    if (tree_[up].parent >= 0 || tree_[down].parent >= 0 || !(tree_[up].flow > 0 && tree_[down].flow > 0)) return;
    if (tree_[up].flow < tree_[down].flow) std::swap(up, down);
    tree_[up].flow -= tree_[down].flow;
    tree_[down].arc = static_cast<std::int32_t>(e);
    tree_.attach(down, up);
  }

  void hang_the_rest() {
    for (index v = 0; v < tree_.root(); ++v)
      if (tree_[v].parent < 0 && mass(v) > 0) tree_.attach(v, tree_.root());
  }

  double reduced(const Arc& arc) const { return arc.cost - potential_[arc.row] - potential_[tree_.column(arc.col)]; }

  // The arc that enters: the most negative of the first block that has one, from where the last search ended; -1 where
  // none has.
  index choose() {
    const index count = arcs.size();
    const auto root = static_cast<index>(std::sqrt(static_cast<double>(count)));
    const index block = std::max(kLeastBlock, root / block_part_);
    const double* rows = potential_.data();
    const double* columns = rows + sides_.rows;
    index best = -1, next = next_ < count ? next_ : 0;
    double least = -tolerance_;
    for (index seen = 0; seen < count && best < 0;) {
      const index end = std::min(next + std::min(block, count - seen), count);
      seen += end - next;
      for (; next < end; ++next) {
        const Arc& arc = arcs[next];
        const double u = rows[arc.row], v = columns[arc.col], r = arc.cost - u - v;
        if (r < least && r < -kCostRounding * (std::fabs(arc.cost) + std::fabs(u) + std::fabs(v))) {
          least = r;
          best = next;
        }
      }
      if (next == count) next = 0;
    }
    next_ = next;
    return best;
  }

  Blocking find_blocking(index i, index j) const {
    Blocking found;
    index u = i, v = j;
    while (u != v) {
      if (tree_[u].depth < tree_[v].depth) {
        v = tree_[v].parent;
        continue;
      }
      if (tree_.is_row(u) && tree_[u].flow < found.delta) {
        found.delta = tree_[u].flow;
        found.leaving = u;
      }
      u = tree_[u].parent;
    }
    found.apex = u;
    for (v = j; v != found.apex; v = tree_[v].parent)
      if (!tree_.is_row(v) && tree_[v].flow <= found.delta) {
        found.delta = tree_[v].flow;
        found.leaving = v;
        found.on_row_side = false;
      }
    return found;
  }

  // The subtree of `top` has a new place: its depths are set, potentials of rows rise by `shift`, those of columns fall
  // by it.
  void move_subtree(index top, double shift) {
    const auto move = [&](index w, std::int32_t depth) {
      Node& node = tree_[w];
      node.depth = depth;
      potential_[w] += tree_.is_row(w) ? shift : -shift;
      if (node.child >= 0) stack_.push_back(static_cast<std::int32_t>(w));
    };
    move(top, tree_[tree_[top].parent].depth + 1);
    while (!stack_.empty()) {
      const Node& above = tree_[stack_.back()];
      stack_.pop_back();
      for (index w = above.child; w >= 0; w = tree_[w].next) move(w, above.depth + 1);
    }
  }

  void change_flow(index v, Mass by) {
    Mass& flow = tree_[v].flow;
    flow += by;
    if constexpr (std::is_floating_point_v<Mass>)
      if (flow < kFlowRounding) flow = 0;
  }

  const Sides sides_;
  double tolerance_ = 0;  // reduced costs below this count as 0
  index pivots_ = 0, next_ = 0;
  index block_part_ = kBlockPart;
  Tree tree_;
  Array<double> potential_;
  Array<std::int32_t> stack_;
};

using FlowSides = FlowSidesOf<double>;
using FlowPlan = FlowPlanOf<double>;
using NetworkSimplex = NetworkSimplexOf<double>;

}  // namespace ot
