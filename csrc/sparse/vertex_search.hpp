// Plans of the transport polytope with few entries a column: annealing over its vertices.
//
// A pivot of the network simplex brings one entry in and drives another out. Here it is judged by the
// change of <C,T> + reg/2 |T|^2, plus a price for each entry that a column then has beyond k, and one
// of a column's pivots is drawn by the Gibbs distribution of that (Kirkpatrick, Gelatt, Vecchi 1983).
// All pivots into column j share the tree seen from j: one pass over it, parents first, finds for every
// row the smallest entry that shrinks on the way, which is what the new entry can carry. O(n + m) a
// column. Numbers are drawn from a fixed sequence.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "algorithms/network_simplex.hpp"

namespace ot {

class Exchange : public Flow {
 public:
  // Arcs lie by columns, column j from begin[j]; their costs are those of the objective.
  Exchange(index n, index m, const double* a, const double* b, index k, double reg, const Array<index>& begin)
      : Flow(n, m, a, b), k_(k), reg_(reg), begin_(begin), noise_(kNoise) {
    seen_.resize(nodes_);
    degree_.resize(m);
    cost_.assign(n, INFINITY);
    for (double& v : noise_) v = -std::log(-std::log((draw() + 0.5) / 4294967296.0));  // Gumbel
  }

  // From the tree of solve(), where it has a plan: x becomes the best plan found with at most k entries a
  // column; false where none was. `poll` is asked whether to stop.
  template <class F>
  bool search(F poll) {
    x.clear();
    const double unit = scale();
    const index work = (root_ - n_) * nodes_;
    const int sweeps = static_cast<int>(std::min(kSweeps, std::max(kLeast, kWork / work)));
    const int tries = static_cast<int>(std::min(kTries, std::max<index>(1, kWork / 4 / (work * sweeps))));
    for (int round = 0; round < tries; ++round) {
      bool found = round == 0 && anneal(sweeps, 2 * unit, 20 * unit, poll);
      found = found || anneal(sweeps, 10 * unit, 100 * unit, poll) ||
              (mend() && anneal(sweeps / 2, 0.5 * unit, INFINITY, poll));
      if (!found) break;
      hold();
    }
    if (tries > 1 && pack(Array<char>(root_ - n_, 1)) && anneal(0, unit, INFINITY, poll)) hold();
    return !x.empty();
  }

 private:
  void hold() {
    if (!x.empty() && !(objective_ < held_objective_)) return;
    held_objective_ = objective_;
    collect();
  }

  // Sweeps from heat `hot` to a hundredth of it, then down to the next minimum; false where a column has
  // more than k entries there.
  template <class F>
  bool anneal(int sweeps, double hot, double price, F poll) {
    look();
    const index columns = root_ - n_;
    const double cool = std::pow(0.01, 1.0 / std::max(1, sweeps - 1));
    heat_ = hot;
    for (int sweep = 0; sweep < sweeps; ++sweep, heat_ *= cool)
      for (index j = 0; j < columns; ++j) {
        if (j % 256 == 0 && poll()) return false;
        step(j, price);
      }
    heat_ = 0;
    // What a pivot promises rounding may not keep: it counts where the plan is better for it.
    const auto merit = [&] { return excess_ > 0 ? objective_ + std::min(price, 1e30) * excess_ : objective_; };
    double least = merit();
    for (index idle = 0, j = 0; idle < columns; j = j + 1 < columns ? j + 1 : 0) {
      if (j % 256 == 0 && poll()) break;
      ++idle;
      if (!step(j, price) || !(merit() < least)) continue;
      least = merit();
      idle = 0;
    }
    return excess_ == 0;
  }

  // Columns with too many entries: the plan of such a column and those around it in the tree is made
  // anew by pack(), of as few columns as do.
  bool mend() {
    const index columns = root_ - n_;
    Array<index> ball;
    Array<char> in;
    while (excess_ > 0) {
      index worst = 0;
      for (index j = 0; j < columns; ++j)
        if (degree_[j] > degree_[worst]) worst = j;
      around(worst, ball);
      const index before = excess_;
      for (index size = 2;; size *= 2) {
        const index count = std::min(size, ball.size());
        in.assign(columns, 0);
        for (index r = 0; r < count; ++r) in[ball[r]] = 1;
        if (pack(in)) break;
        if (size < ball.size()) continue;
        in.assign(columns, 1);
        if (!pack(in)) return false;
        break;
      }
      look();
      if (excess_ >= before) return false;
    }
    return true;
  }

  // Costs aside, for the columns chosen: the heaviest takes the least rows that can fill it, all but the
  // last one whole. This leaves fewer rows for fewer columns, and ends with a plan wherever there are
  // c (k - 1) + 1 rows for c columns at most, and the masses are not too uneven.
  bool pack(const Array<char>& chosen) {
    const double dust = 1e-13;
    held_.assign(a_, a_ + n_);
    kept_.clear();
    for (index v = 0; v < root_; ++v)
      if (tree_[v].parent >= 0 && tree_[v].arc >= 0 && tree_[v].flow > 0 && !chosen[arcs[tree_[v].arc].col]) {
        held_[arcs[tree_[v].arc].row] -= tree_[v].flow;
        kept_.emplace_back(tree_[v].arc, tree_[v].flow);
      }
    Array<std::pair<double, index>> rows, columns;
    for (index i = 0; i < n_; ++i)
      if (held_[i] > dust) rows.emplace_back(held_[i], i);
    for (index j = 0; j < root_ - n_; ++j)
      if (b_[j] > 0 && chosen[j]) columns.emplace_back(b_[j], j);
    std::sort(rows.begin(), rows.end());
    std::sort(columns.rbegin(), columns.rend());
    for (auto [mass, j] : columns) {
      const index count = rows.size();
      index first = 0, last = 0;  // rows [first, last) fill the column
      double sum = 0;
      while (sum < mass - dust && last < count) {
        sum += rows[last++].first;
        if (last - first > k_) sum -= rows[first++].first;
      }
      if (sum < mass - dust) return false;
      double left = mass;
      for (index r = first; r < last; ++r) {
        auto& [held, i] = rows[r];
        const double part = std::min(held, left);
        const index e = entry(i, j);
        if (e < 0) return false;
        if (part > dust) kept_.emplace_back(e, part);
        held -= part;
        left -= part;
      }
      rows.erase(
          std::remove_if(rows.begin() + first, rows.begin() + last, [=](const auto& o) { return o.first <= dust; }),
          rows.begin() + last);
      std::sort(rows.begin(), rows.end());
    }
    plant();
    return true;
  }

  // What one more entry costs a column, on the mean, at the tree reached: its mass times the
  // fourth least reduced cost.
  double scale() {
    look();
    double sum = 0;
    for (index j = 0; j < root_ - n_; ++j) {
      if (tree_[n_ + j].parent < 0) continue;
      held_.clear();
      for (index e = begin_[j]; e < begin_[(j) + 1]; ++e)
        held_.push_back(arcs[e].cost - tree_[arcs[e].row].potential - tree_[n_ + j].potential);
      if (held_.empty()) continue;
      const auto rank = std::min<index>(3, held_.size() - 1);
      std::nth_element(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(rank), held_.end());
      sum += b_[j] * std::max(0.0, held_[rank]);
    }
    return std::max(sum / static_cast<double>(root_ - n_), 1e-300);
  }

  // Marginal costs C + reg T as potentials, the tree with parents first, entries by column, the objective.
  void look() {
    std::fill(degree_.begin(), degree_.end(), 0);
    order_.clear();
    objective_ = 0;
    stack_.assign(1, root_);
    while (!stack_.empty()) {
      const index v = stack_.back();
      stack_.pop_back();
      for (index w = tree_[v].child; w >= 0; w = tree_[w].after) {
        stack_.push_back(w);
        const double flow = tree_[w].flow;
        order_.push_back({static_cast<std::int32_t>(w), static_cast<std::int32_t>(v), flow});
        if (v == root_) {
          tree_[w].potential = 0;
          continue;
        }
        const Arc& arc = arcs[tree_[w].arc];
        tree_[w].potential = arc.cost + reg_ * flow - tree_[v].potential;
        objective_ += flow * (arc.cost + 0.5 * reg_ * flow);
        degree_[arc.col] += flow > 0;
      }
    }
    excess_ = 0;
    for (const index d : degree_) excess_ += std::max<index>(0, d - k_);
  }

  index entry(index i, index j) const {
    const auto before = [](const Arc& arc, index row) { return arc.row < row; };
    const auto end = arcs.begin() + begin_[(j) + 1];
    const auto found = std::lower_bound(arcs.begin() + begin_[j], end, i, before);
    return found != end && found->row == i ? found - arcs.begin() : -1;
  }

  // Columns in the order of their distance from j in the tree.
  void around(index j, Array<index>& ball) {
    ball.clear();
    Array<char> met(nodes_, 0);
    path_.assign(1, n_ + j);
    met[n_ + j] = 1;
    for (index r = 0; r < path_.size(); ++r) {
      const index v = path_[r];
      if (v >= n_) ball.push_back(v - n_);
      const auto meet = [&](index w, index lower) {
        if (w == root_ || met[w] || !(tree_[lower].flow > 0)) return;
        met[w] = 1;
        path_.push_back(w);
      };
      meet(tree_[v].parent, v);
      for (index w = tree_[v].child; w >= 0; w = tree_[w].after) meet(w, w);
    }
  }

  // The tree of a forest of entries, kept_.
  void plant() {
    Array<index> first(nodes_ + 1, 0), to(2 * kept_.size());
    for (const auto& [e, flow] : kept_) {
      ++first[arcs[e].row + 1];
      ++first[n_ + arcs[e].col + 1];
    }
    for (index v = 0; v < nodes_; ++v) first[v + 1] += first[v];
    auto next = first;
    for (index r = 0; r < kept_.size(); ++r) {
      to[next[arcs[kept_[r].first].row]++] = r;
      to[next[n_ + arcs[kept_[r].first].col]++] = r;
    }
    tree_.assign(nodes_, {});
    tree_[root_].depth = 0;
    for (index top = 0; top < root_; ++top) {
      if (tree_[top].parent >= 0 || !((top < n_ ? a_[top] : b_[top - n_]) > 0)) continue;
      hang(top, root_);
      tree_[top].depth = 1;
      stack_.assign(1, top);
      while (!stack_.empty()) {
        const index v = stack_.back();
        stack_.pop_back();
        for (index q = first[v]; q < first[v + 1]; ++q) {
          const auto& [e, flow] = kept_[to[q]];
          const index w = v < n_ ? n_ + arcs[e].col : static_cast<index>(arcs[e].row);
          if (tree_[w].parent >= 0) continue;
          hang(w, v);
          tree_[w].depth = tree_[v].depth + 1;
          tree_[w].arc = e;
          tree_[w].flow = flow;
          stack_.push_back(w);
        }
      }
    }
  }

  // A pivot into column j, or none.
  bool step(index j, double price) {
    const index from = n_ + j;
    if (tree_[from].parent < 0) return false;
    for (index e = begin_[j]; e < begin_[(j) + 1]; ++e) cost_[arcs[e].row] = arcs[e].cost;
    double least = heat_ > 0 ? heat_ * gumbel() : 1e-9 * std::fabs(objective_) / static_cast<double>(root_ - n_);
    least = -least;
    index best = -1;
    const bool full = degree_[j] >= k_;
    const auto weigh = [&](index i, const Seen& s) {
      if (!(s.room > 0 && s.steps > 1 && cost_[i] < INFINITY)) return;
      const double reduced = cost_[i] - tree_[i].potential - tree_[from].potential;
      double change = s.room * (reduced + 0.5 * reg_ * s.room * static_cast<double>(s.steps + 1));
      const int more = s.column == from ? 0 : full - (degree_[s.column - n_] > k_);
      if (more != 0) change += price * more;
      if (heat_ > 0) change -= heat_ * gumbel();
      if (change < least) {
        least = change;
        best = i;
      }
    };
    // Every other entry on the way from j shrinks: those that lead from a column to a row.
    seen_[from] = {INFINITY, -1, 0};
    path_.assign(1, from);
    for (index v = from, u = tree_[v].parent; u != root_; v = u, u = tree_[v].parent) {
      Seen s = seen_[v];
      ++s.steps;
      if (u < n_ && tree_[v].flow < s.room) {
        s.room = tree_[v].flow;
        s.column = static_cast<std::int32_t>(v);
      }
      seen_[u] = s;
      path_.push_back(u);
      if (u < n_) weigh(u, s);
    }
    for (const Visit& visit : order_) {
      const index w = visit.node;
      if (!path_.empty() && path_.back() == w) {
        path_.pop_back();
        continue;
      }
      if (visit.above == root_) {
        seen_[w] = {0, -1, 0};
        continue;
      }
      Seen s = seen_[visit.above];
      ++s.steps;
      if (w < n_ && visit.flow < s.room) {
        s.room = visit.flow;
        s.column = visit.above;
      }
      seen_[w] = s;
      if (w < n_) weigh(w, s);
    }
    index entering = -1;
    for (index e = begin_[j]; e < begin_[(j) + 1]; ++e) {
      cost_[arcs[e].row] = INFINITY;
      if (arcs[e].row == best) entering = e;
    }
    if (entering < 0) return false;
    if (!pivot(entering, arcs[entering].cost - tree_[best].potential - tree_[from].potential)) return false;
    look();
    return true;
  }

  std::uint32_t draw() { return state_ = state_ * 1664525u + 1013904223u; }
  double gumbel() { return noise_[draw() >> (32 - kNoiseBits)]; }

  struct Visit {
    std::int32_t node, above;
    double flow;  // of the arc between them
  };
  struct Seen {
    double room;          // the smallest entry that shrinks on the way, in this
    std::int32_t column;  // node
    std::int32_t steps;
  };
  static constexpr index kSweeps = 60, kLeast = 8, kTries = 6, kWork = 4'000'000;  // nodes seen
  static constexpr int kNoiseBits = 10, kNoise = 1 << kNoiseBits;
  const index k_;
  const double reg_;
  const Array<index>& begin_;
  std::uint32_t state_ = 1;
  double heat_ = 0, objective_ = 0, held_objective_ = 0;
  index excess_ = 0;
  Array<double> noise_, cost_;
  Array<Visit> order_;
  Array<Seen> seen_;
  Array<index> degree_, path_;
  Array<double> held_;
  Array<std::pair<index, double>> kept_;  // entries and their flow
};

}  // namespace ot
