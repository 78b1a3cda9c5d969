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
#include <utility>

#include "algorithms/spanning_tree.hpp"

namespace ot {

// The two sides of a transport problem; the masses outlive the simplex.
struct FlowSides {
  index rows = 0, columns = 0;
  const double *a = nullptr, *b = nullptr;
};

struct FlowPlan {
  Array<double> flow;  // by arc
  double lack = 0;     // mass on artificial arcs, which the arcs given cannot carry
};

class NetworkSimplex {
 public:
  struct Arc {
    std::int32_t row, col;
    double cost;
  };
  using Link = SpanningTree::Link;
  using Node = SpanningTree::Node;

  Array<Arc> arcs;  // costs may change between calls of solve()

  NetworkSimplex(const FlowSides& sides, Array<Arc> of)
      : arcs(std::move(of)), sides_(sides), tree_(sides.rows, sides.columns) {}

  const SpanningTree& tree() const { return tree_; }
  const FlowSides& sides() const { return sides_; }

  // The first tree, from `guess`, a plan by arcs that nearly has the marginals. Its entries are taken from the largest
  // on: each carries the smaller of the masses left in its row and its column. The node whose mass is then used up
  // becomes a child of the other. Nodes without a parent in the end become children of the root.
  void start(const Array<double>& guess) {
    tree_.clear();
    for (index v = 0; v < tree_.root(); ++v) tree_[v].flow = mass(v);
    // Entry and arc in one integer: the bits of a positive float32 sort as the float does.
    Array<std::uint64_t> keys;
    keys.reserve(tree_.nodes());
    index whole = 0;  // entries that fill their column alone: they come first, unsorted
    for (index e = 0; e < guess.size(); ++e) {
      if (!(guess[e] > 0)) continue;
      const auto flow = std::bit_cast<std::uint32_t>(static_cast<float>(guess[e]));
      keys.push_back((std::uint64_t{flow} << 32) | ~static_cast<std::uint32_t>(e));
      if (guess[e] > (1 - kWhole) * sides_.b[arcs[e].col]) std::swap(keys.back(), keys[whole++]);
    }
    std::sort(keys.begin() + static_cast<std::ptrdiff_t>(whole), keys.end(), std::greater<>());
    for (const std::uint64_t key : keys) {
      const index e = ~static_cast<std::uint32_t>(key);
      index up = arcs[e].row,
            down = tree_.column(arcs[e].col);  // a tie leaves the row: an arc without flow points to the root
      if (tree_[up].parent >= 0 || tree_[down].parent >= 0 || !(tree_[up].flow > 0 && tree_[down].flow > 0)) continue;
      if (tree_[up].flow < tree_[down].flow) std::swap(up, down);
      tree_[up].flow -= tree_[down].flow;
      tree_[down].arc = e;
      tree_.attach(down, up);
    }
    for (index v = 0; v < tree_.root(); ++v)
      if (tree_[v].parent < 0 && mass(v) > 0) tree_.attach(v, tree_.root());
  }

  // The first tree, from a forest of arcs whose flows have the marginals.
  void start_from(const Array<Link>& forest) {
    Array<index> first(tree_.nodes() + 1, 0), arcs_of(2 * forest.size());  // of the forest's arcs, node by node
    for (const auto& [e, flow] : forest) {
      ++first[arcs[e].row + 1];
      ++first[tree_.column(arcs[e].col) + 1];
    }
    for (index v = 0; v < tree_.nodes(); ++v) first[v + 1] += first[v];
    auto place = first;
    for (index r = 0; r < forest.size(); ++r) {
      arcs_of[place[arcs[forest[r].arc].row]++] = r;
      arcs_of[place[tree_.column(arcs[forest[r].arc].col)]++] = r;
    }
    tree_.clear();
    tree_[tree_.root()].depth = 0;
    for (index top = 0; top < tree_.root(); ++top) {
      if (tree_[top].parent >= 0 || !(mass(top) > 0)) continue;
      tree_.attach(top, tree_.root());
      tree_[top].depth = 1;
      stack_.assign(1, top);
      while (!stack_.empty()) {
        const index v = stack_.back();
        stack_.pop_back();
        for (index q = first[v]; q < first[v + 1]; ++q) {
          const auto& [e, flow] = forest[arcs_of[q]];
          const index w = tree_.is_row(v) ? tree_.column(arcs[e].col) : static_cast<index>(arcs[e].row);
          if (tree_[w].parent >= 0) continue;
          tree_.attach(w, v);
          tree_[w].depth = tree_[v].depth + 1;
          tree_[w].arc = e;
          tree_[w].flow = flow;
          stack_.push_back(w);
        }
      }
    }
  }

  // Pivots from the present tree until no reduced cost is negative at the present costs; arcs of infinite cost do not
  // enter. Returns the plan, which may not be the cheapest where `poll`, asked every kPollPivots, says to stop.
  template <class F>
  FlowPlan solve(F poll) {
    price_tree();
    const index count = arcs.size();
    const index block = std::max<index>(kLeastBlock, static_cast<index>(std::sqrt(static_cast<double>(count))));
    const index most = kMostPivots * tree_.nodes() * (1 + count / tree_.nodes());
    index next = 0;
    for (index pivots = 0; pivots < most; ++pivots) {
      index best = -1, seen = 0;
      double least = -tolerance_;
      while (seen < count) {
        const index end = std::min(seen + block, count);
        for (; seen < end; ++seen) {
          if (next == count) next = 0;
          const Arc& arc = arcs[next];
          const double reduced = arc.cost - tree_[arc.row].potential - tree_[tree_.column(arc.col)].potential;
          if (reduced < least) {
            least = reduced;
            best = next;
          }
          ++next;
        }
        if (best >= 0) break;
      }
      if (best < 0) break;
      if (!pivot(best, least) || (pivots % kPollPivots == kPollPivots - 1 && poll())) break;
    }
    return plan();
  }

  // The plan of the tree.
  FlowPlan plan() const {
    FlowPlan plan{.flow = Array<double>(arcs.size(), 0)};
    for (index v = 0; v < tree_.root(); ++v) {
      if (tree_[v].arc >= 0) plan.flow[tree_[v].arc] = tree_[v].flow;
      else if (tree_.is_row(v)) plan.lack += tree_[v].flow;
    }
    return plan;
  }

  // The dual solution of the last solve(). Unchanged where the root has several children: the potentials of the parts
  // of the plan are then not determined against each other.
  void potentials(double* rows, double* columns) const {
    const index top = tree_[tree_.root()].child;
    if (top < 0 || tree_[top].next >= 0) return;
    const double shift = tree_.is_row(top) ? tree_[top].potential : -tree_[top].potential;
    for (index v = 0; v < tree_.root(); ++v)
      if (tree_[v].parent >= 0)
        (tree_.is_row(v) ? rows[v] : columns[v - sides_.rows]) =
            tree_[v].potential - (tree_.is_row(v) ? shift : -shift);
  }

  // An arc of the given reduced cost enters the tree, and the last blocking arc of its cycle, from the apex along the
  // entering arc, leaves it. More on the entering arc means less on the arcs above rows on its row's side, and less on
  // those above columns on its column's side. False where rounding leaves no arc that blocks.
  bool pivot(index entering, double reduced) {
    const index i = arcs[entering].row, j = tree_.column(arcs[entering].col);
    const Blocking blocking = find_blocking(i, j);
    if (blocking.leaving < 0) return false;
    const double delta = blocking.delta;
    if (delta > 0) {
      for (index u = i; u != blocking.apex; u = tree_[u].parent) change_flow(u, tree_.is_row(u) ? -delta : delta);
      for (index v = j; v != blocking.apex; v = tree_[v].parent) change_flow(v, tree_.is_row(v) ? delta : -delta);
    }
    const index top = blocking.on_row_side ? i : j, under = blocking.on_row_side ? j : i;
    tree_.reroot(top, under, blocking.leaving, {.arc = entering, .flow = delta});
    move_subtree(top, top == i ? reduced : -reduced);
    return true;
  }

 private:
  static constexpr double kTolerance = 1e-10;     // of a reduced cost, over the largest cost
  static constexpr double kFlowRounding = 1e-14;  // flow that rounding leaves on an empty arc; masses sum to 1
  static constexpr double kWhole = 1e-9;          // relative difference of an entry that fills its column
  static constexpr double kTiny = 1e-300;         // where all costs are 0
  static constexpr index kLeastBlock = 32;        // arcs of a block: the square root of their number, this at least
  static constexpr index kMostPivots = 50;        // times the number of nodes and arcs
  static constexpr index kPollPivots = 4096;      // between two polls

  struct Blocking {
    double delta = INFINITY;  // the flow that can enter
    index leaving = -1;       // the arc above this node leaves
    index apex = -1;          // where the paths of row and column to the root meet
    bool on_row_side = true;
  };

  double mass(index v) const { return tree_.is_row(v) ? sides_.a[v] : sides_.b[v - sides_.rows]; }

  // Potentials: cost = potential of row + potential of column on tree arcs; the root's is 0. Artificial arcs cost more
  // than any path.
  void price_tree() {
    double largest = 0;
    for (const Arc& arc : arcs)
      if (std::isfinite(arc.cost)) largest = std::max(largest, std::fabs(arc.cost));
    tolerance_ = kTolerance * std::max(largest, kTiny);
    const double artificial = (largest + kTiny) * static_cast<double>(tree_.nodes());
    tree_[tree_.root()].depth = 0;
    stack_.assign(1, tree_.root());
    while (!stack_.empty()) {
      const index v = stack_.back();
      stack_.pop_back();
      const Node& above = tree_[v];
      for (index w = above.child; w >= 0; w = tree_[w].next) {
        Node& node = tree_[w];
        node.depth = above.depth + 1;
        node.potential = v == tree_.root() ? artificial : arcs[node.arc].cost - above.potential;
        if (node.child >= 0) stack_.push_back(w);
      }
    }
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
    const auto move = [&](index w, index depth) {
      Node& node = tree_[w];
      node.depth = depth;
      node.potential += tree_.is_row(w) ? shift : -shift;
      if (node.child >= 0) stack_.push_back(w);
    };
    move(top, tree_[tree_[top].parent].depth + 1);
    while (!stack_.empty()) {
      const Node& above = tree_[stack_.back()];
      stack_.pop_back();
      for (index w = above.child; w >= 0; w = tree_[w].next) move(w, above.depth + 1);
    }
  }

  void change_flow(index v, double by) {
    double& flow = tree_[v].flow;
    flow += by;
    if (flow < kFlowRounding) flow = 0;
  }

  const FlowSides sides_;
  double tolerance_ = 0;
  SpanningTree tree_;
  Array<index> stack_;
};

}  // namespace ot
