// Network simplex for transport on a list of arcs: min sum cost x, rows sum to a, columns to b.
// Vertices of the transport polytope are forests, so that the plan has fewer than n + m entries.
//
// A spanning tree of strongly feasible bases (Cunningham 1976), first kept as children and siblings;
// artificial arcs to a root carry what the arcs given cannot.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>

#include "core/array.hpp"
#include "core/types.hpp"

namespace ot {

class Flow {
 public:
  struct Arc {
    std::int32_t row, col;
    double cost;
  };
  Array<Arc> arcs;
  Array<double> x;  // flow by arc
  double lack = 0;  // mass that the arcs cannot carry
  index pivots = 0;

  Flow(index n, index m, const double* a, const double* b) : n_(n), nodes_(n + m + 1), root_(n + m), a_(a), b_(b) {}

  // The first tree, from a plan by arcs that is nearly one: its largest entries first, each fills its
  // row or its column, which then hangs below the other. What is left hangs on the root.
  void start(const Array<double>& guess) {
    tree_.assign(nodes_, {});
    for (index v = 0; v < root_; ++v) tree_[v].flow = v < n_ ? a_[v] : b_[v - n_];
    // As integers, a float32 and the arc. What fills a column alone needs no order.
    Array<std::uint64_t> order;
    index whole = 0;
    for (index e = 0; e < guess.size(); ++e) {
      if (!(guess[e] > 0)) continue;
      const auto flow = std::bit_cast<std::uint32_t>(static_cast<float>(guess[e]));
      order.push_back((std::uint64_t{flow} << 32) | ~static_cast<std::uint32_t>(e));
      if (guess[e] > (1 - 1e-9) * b_[arcs[e].col]) std::swap(order.back(), order[whole++]);
    }
    std::sort(order.begin() + static_cast<std::ptrdiff_t>(whole), order.end(), std::greater<>());
    for (const std::uint64_t key : order) {
      const index e = ~static_cast<std::uint32_t>(key);
      index up = arcs[e].row,
            down = n_ + arcs[e].col;  // a tie leaves the row: zero flow must point to the root
      if (tree_[up].parent >= 0 || tree_[down].parent >= 0 || !(tree_[up].flow > 0 && tree_[down].flow > 0)) continue;
      if (tree_[up].flow < tree_[down].flow) std::swap(up, down);
      tree_[up].flow -= tree_[down].flow;
      tree_[down].arc = e;
      hang(down, up);
    }
    for (index v = 0; v < root_; ++v)
      if (tree_[v].parent < 0 && (v < n_ ? a_[v] : b_[v - n_]) > 0) hang(v, root_);
  }

  // From the tree of the last call, whatever the costs are now; arcs of infinite cost stay out. Where `poll`,
  // asked now and then, says to stop, the plan is not the cheapest yet.
  template <class F>
  void solve(F poll) {
    price();
    const index count = arcs.size();
    const index block = std::max<index>(32, static_cast<index>(std::sqrt(static_cast<double>(count))));
    const index most = 50 * nodes_ * (1 + count / nodes_);
    index next = 0;
    for (pivots = 0; pivots < most; ++pivots) {
      index best = -1, seen = 0;
      double least = -tolerance_;
      while (seen < count) {  // the most negative reduced cost of the first block that has one
        const index end = std::min(seen + block, count);
        for (; seen < end; ++seen) {
          if (next == count) next = 0;
          const Arc& arc = arcs[next];
          const double reduced = arc.cost - tree_[arc.row].potential - tree_[n_ + arc.col].potential;
          if (reduced < least) {
            least = reduced;
            best = next;
          }
          ++next;
        }
        if (best >= 0) break;
      }
      if (best < 0) break;
      if (!pivot(best, least) || (pivots % 4096 == 4095 && poll())) break;
    }
    collect();
  }

  // Dual solution of the last solve(); left alone where the plan falls apart into several trees.
  void potentials(double* rows, double* columns) const {
    const index top = tree_[root_].child;
    if (top < 0 || tree_[top].after >= 0) return;
    const double big = top < n_ ? tree_[top].potential : -tree_[top].potential;
    for (index v = 0; v < root_; ++v)
      if (tree_[v].parent >= 0) (v < n_ ? rows[v] : columns[v - n_]) = tree_[v].potential - (v < n_ ? big : -big);
  }

 protected:
  // flow and arc: to the parent. One line of the cache.
  struct Node {
    double flow = 0, potential = 0;
    index parent = -1, arc = -1, child = -1, after = -1, before = -1, depth = -1;
  };
  void collect() {
    x.assign(arcs.size(), 0);
    lack = 0;
    for (index v = 0; v < root_; ++v) {
      if (tree_[v].arc >= 0) x[tree_[v].arc] = tree_[v].flow;
      else if (v < n_) lack += tree_[v].flow;
    }
  }

  // Potentials: cost = potential of row + potential of column on tree arcs; the root's is 0.
  void price() {
    double top = 0;
    for (const Arc& arc : arcs)
      if (std::isfinite(arc.cost)) top = std::max(top, std::fabs(arc.cost));
    tolerance_ = 1e-10 * std::max(top, 1e-300);
    const double big = (top + 1e-300) * static_cast<double>(nodes_);
    tree_[root_].depth = 0;
    stack_.assign(1, root_);
    while (!stack_.empty()) {
      const index v = stack_.back();
      stack_.pop_back();
      const Node& above = tree_[v];
      for (index w = above.child; w >= 0; w = tree_[w].after) {
        Node& node = tree_[w];
        node.depth = above.depth + 1;
        node.potential = v == root_ ? big : arcs[node.arc].cost - above.potential;
        if (node.child >= 0) stack_.push_back(w);
      }
    }
  }

  void hang(index v, index under) {
    Node &node = tree_[v], &above = tree_[under];
    node.parent = under;
    node.before = -1;
    node.after = above.child;
    if (node.after >= 0) tree_[node.after].before = v;
    above.child = v;
  }
  void cut(index v) {
    const Node& node = tree_[v];
    if (node.before >= 0) tree_[node.before].after = node.after;
    else tree_[node.parent].child = node.after;
    if (node.after >= 0) tree_[node.after].before = node.before;
  }

  // Every tree arc carries mass from a row: up from a row, down to a column. More on the entering
  // arc means less on the arc above every row on its row's side, and more above every column
  // there; on its column's side the arcs above columns lose. (Artificial arcs: the same.)
  // False where rounding leaves nothing that blocks.
  bool pivot(index entering, double reduced) {
    const index i = arcs[entering].row, j = n_ + arcs[entering].col;
    index u = i, v = j;
    double delta = INFINITY;
    index leaving = -1;
    bool on_row_side = true;
    // Last blocking arc of the cycle, followed from the apex along the entering arc.
    const auto rows_lose = [&](index w) {
      if (w < n_ && tree_[w].flow < delta) {
        delta = tree_[w].flow;
        leaving = w;
        on_row_side = true;
      }
    };
    const auto columns_lose = [&](index w) {
      if (w >= n_ && tree_[w].flow <= delta) {
        delta = tree_[w].flow;
        leaving = w;
        on_row_side = false;
      }
    };
    while (u != v) {
      if (tree_[u].depth >= tree_[v].depth) {
        rows_lose(u);
        u = tree_[u].parent;
      } else {
        v = tree_[v].parent;
      }
    }
    const index apex = u;
    for (v = j; v != apex; v = tree_[v].parent) columns_lose(v);
    if (leaving < 0) return false;
    if (delta > 0) {
      for (u = i; u != apex; u = tree_[u].parent) change(u, u < n_ ? -delta : delta);
      for (v = j; v != apex; v = tree_[v].parent) change(v, v >= n_ ? -delta : delta);
    }
    // The subtree below the leaving arc is hung on the other end of the entering arc.
    index v_in = on_row_side ? i : j, under = on_row_side ? j : i;
    const index top = v_in;
    index carried_arc = entering;
    double carried_flow = delta;
    for (;;) {
      Node& node = tree_[v_in];
      const index up = node.parent;
      cut(v_in);
      hang(v_in, under);
      std::swap(node.arc, carried_arc);
      std::swap(node.flow, carried_flow);
      if (v_in == leaving) break;
      under = v_in;
      v_in = up;
    }
    // Rows of the moved subtree take +shift, columns -shift, or the reverse.
    const double shift = top == i ? reduced : -reduced;
    const auto move = [&](index w, index depth) {
      Node& node = tree_[w];
      node.depth = depth;
      node.potential += w < n_ ? shift : -shift;
      if (node.child >= 0) stack_.push_back(w);
    };
    move(top, tree_[tree_[top].parent].depth + 1);
    while (!stack_.empty()) {
      const Node& above = tree_[stack_.back()];
      stack_.pop_back();
      for (index w = above.child; w >= 0; w = tree_[w].after) move(w, above.depth + 1);
    }
    return true;
  }

  void change(index v, double by) {
    double& flow = tree_[v].flow;
    flow += by;
    if (flow < 1e-14) flow = 0;
  }

  const index n_, nodes_, root_;
  const double *a_, *b_;
  double tolerance_ = 0;
  Array<Node> tree_;
  Array<index> stack_;
};

}  // namespace ot
