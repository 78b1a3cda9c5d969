// Network simplex for transport on a list of arcs: min sum cost x, rows sum to a, columns to b.
// Vertices of the transport polytope are forests, so that the plan has fewer than n + m entries.
//
// A spanning tree of strongly feasible bases (Cunningham 1976), first kept as children and siblings;
// artificial arcs to a root carry what the arcs given cannot.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/recycle.hpp"
#include "core/types.hpp"

namespace ot {

class Flow {
 public:
  struct Arc {
    std::int32_t row, col;
    double cost;
  };
  Recycled<Arc> arcs;
  Recycled<double> x;  // flow by arc
  double lack = 0;     // mass that the arcs cannot carry
  index pivots = 0;

  Flow(index n, index m, const double* a, const double* b) : n_(n), nodes_(n + m + 1), root_(n + m), a_(a), b_(b) {}

  // The first tree, from a plan by arcs that is nearly one: its largest entries first, each fills its
  // row or its column, which then hangs below the other. What is left hangs on the root.
  void start(const Recycled<double>& guess) {
    for (auto* v : {&parent_, &arc_, &child_, &after_, &before_, &depth_}) v->assign(at(nodes_), -1);
    potential_.assign(at(nodes_), 0);
    flow_.assign(a_, a_ + n_);
    flow_.insert(flow_.end(), b_, b_ + (root_ - n_));
    flow_.push_back(0);
    // What fills a column alone needs no order.
    Recycled<Guess> order;
    std::size_t whole = 0;
    for (index e = 0; e < static_cast<index>(guess.size()); ++e) {
      if (!(guess[at(e)] > 0)) continue;
      order.push_back({guess[at(e)], e});
      if (guess[at(e)] > (1 - 1e-9) * b_[arcs[at(e)].col]) std::swap(order.back(), order[whole++]);
    }
    std::sort(order.begin() + static_cast<std::ptrdiff_t>(whole), order.end(),
              [](const Guess& x, const Guess& y) { return x.flow != y.flow ? x.flow > y.flow : x.arc < y.arc; });
    for (const auto& [flow, e] : order) {
      index up = arcs[at(e)].row,
            down = n_ + arcs[at(e)].col;  // a tie leaves the row: zero flow must point to the root
      if (parent_[at(up)] >= 0 || parent_[at(down)] >= 0 || !(flow_[at(up)] > 0 && flow_[at(down)] > 0)) continue;
      if (flow_[at(up)] < flow_[at(down)]) std::swap(up, down);
      flow_[at(up)] -= flow_[at(down)];
      arc_[at(down)] = e;
      hang(down, up);
    }
    for (index v = 0; v < root_; ++v)
      if (parent_[at(v)] < 0 && (v < n_ ? a_[v] : b_[v - n_]) > 0) hang(v, root_);
  }

  // From the tree of the last call, whatever the costs are now; arcs of infinite cost stay out. Where `poll`,
  // asked now and then, says to stop, the plan is not the cheapest yet.
  template <class F>
  void solve(F poll) {
    price();
    const index count = static_cast<index>(arcs.size());
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
          const Arc& arc = arcs[at(next)];
          const double reduced = arc.cost - potential_[at(arc.row)] - potential_[at(n_ + arc.col)];
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
    const index top = child_[at(root_)];
    if (top < 0 || after_[at(top)] >= 0) return;
    const double big = top < n_ ? potential_[at(top)] : -potential_[at(top)];
    for (index v = 0; v < root_; ++v)
      if (parent_[at(v)] >= 0) (v < n_ ? rows[v] : columns[v - n_]) = potential_[at(v)] - (v < n_ ? big : -big);
  }

 protected:
  struct Guess {
    double flow;
    index arc;
  };

  void collect() {
    x.assign(arcs.size(), 0);
    lack = 0;
    for (index v = 0; v < root_; ++v) {
      if (arc_[at(v)] >= 0) x[at(arc_[at(v)])] = flow_[at(v)];
      else if (v < n_) lack += flow_[at(v)];
    }
  }

  static std::size_t at(index i) { return static_cast<std::size_t>(i); }

  // Potentials: cost = potential of row + potential of column on tree arcs; the root's is 0.
  void price() {
    double top = 0;
    for (const Arc& arc : arcs)
      if (std::isfinite(arc.cost)) top = std::max(top, std::fabs(arc.cost));
    tolerance_ = 1e-10 * std::max(top, 1e-300);
    const double big = (top + 1e-300) * static_cast<double>(nodes_);
    depth_[at(root_)] = 0;
    stack_.assign(1, root_);
    while (!stack_.empty()) {
      const index v = stack_.back();
      stack_.pop_back();
      for (index w = child_[at(v)]; w >= 0; w = after_[at(w)]) {
        depth_[at(w)] = depth_[at(v)] + 1;
        potential_[at(w)] = v == root_ ? big : arcs[at(arc_[at(w)])].cost - potential_[at(v)];
        stack_.push_back(w);
      }
    }
  }

  void hang(index v, index under) {
    parent_[at(v)] = under;
    before_[at(v)] = -1;
    after_[at(v)] = child_[at(under)];
    if (after_[at(v)] >= 0) before_[at(after_[at(v)])] = v;
    child_[at(under)] = v;
  }
  void cut(index v) {
    if (before_[at(v)] >= 0) after_[at(before_[at(v)])] = after_[at(v)];
    else child_[at(parent_[at(v)])] = after_[at(v)];
    if (after_[at(v)] >= 0) before_[at(after_[at(v)])] = before_[at(v)];
  }

  // Every tree arc carries mass from a row: up from a row, down to a column. More on the entering
  // arc means less on the arc above every row on its row's side, and more above every column
  // there; on its column's side the arcs above columns lose. (Artificial arcs: the same.)
  // False where rounding leaves nothing that blocks.
  bool pivot(index entering, double reduced) {
    const index i = arcs[at(entering)].row, j = n_ + arcs[at(entering)].col;
    index u = i, v = j;
    double delta = INFINITY;
    index leaving = -1;
    bool on_row_side = true;
    // Last blocking arc of the cycle, followed from the apex along the entering arc.
    const auto rows_lose = [&](index w) {
      if (w < n_ && flow_[at(w)] < delta) {
        delta = flow_[at(w)];
        leaving = w;
        on_row_side = true;
      }
    };
    const auto columns_lose = [&](index w) {
      if (w >= n_ && flow_[at(w)] <= delta) {
        delta = flow_[at(w)];
        leaving = w;
        on_row_side = false;
      }
    };
    while (u != v) {
      if (depth_[at(u)] >= depth_[at(v)]) {
        rows_lose(u);
        u = parent_[at(u)];
      } else {
        v = parent_[at(v)];
      }
    }
    const index apex = u;
    for (v = j; v != apex; v = parent_[at(v)]) columns_lose(v);
    if (leaving < 0) return false;
    if (delta > 0) {
      for (u = i; u != apex; u = parent_[at(u)]) change(u, u < n_ ? -delta : delta);
      for (v = j; v != apex; v = parent_[at(v)]) change(v, v >= n_ ? -delta : delta);
    }
    // The subtree below the leaving arc is hung on the other end of the entering arc.
    index v_in = on_row_side ? i : j, under = on_row_side ? j : i;
    const index top = v_in;
    index carried_arc = entering;
    double carried_flow = delta;
    for (;;) {
      const index up = parent_[at(v_in)], arc = arc_[at(v_in)];
      const double flow = flow_[at(v_in)];
      cut(v_in);
      hang(v_in, under);
      arc_[at(v_in)] = carried_arc;
      flow_[at(v_in)] = carried_flow;
      if (v_in == leaving) break;
      under = v_in;
      v_in = up;
      carried_arc = arc;
      carried_flow = flow;
    }
    // Rows of the moved subtree take +shift, columns -shift, or the reverse.
    const double shift = top == i ? reduced : -reduced;
    stack_.assign(1, top);
    while (!stack_.empty()) {
      const index w = stack_.back();
      stack_.pop_back();
      depth_[at(w)] = depth_[at(parent_[at(w)])] + 1;
      potential_[at(w)] += w < n_ ? shift : -shift;
      for (index c = child_[at(w)]; c >= 0; c = after_[at(c)]) stack_.push_back(c);
    }
    return true;
  }

  void change(index v, double by) {
    double& flow = flow_[at(v)];
    flow += by;
    if (flow < 1e-14) flow = 0;
  }

  const index n_, nodes_, root_;
  const double *a_, *b_;
  double tolerance_ = 0;
  Recycled<index> parent_, arc_, child_, after_, before_, depth_, stack_;
  Recycled<double> flow_, potential_;
};

}  // namespace ot
