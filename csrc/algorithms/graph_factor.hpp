// Approximate Cholesky factors of graph Laplacians with excess,
//   x'Mx = sum_edges w (x_i - x_j)^2 + sum_i excess_i x_i^2,
// by random elimination (Kyng and Sachdeva 2016; Gao, Kyng and Spielman 2023). A vertex of about least degree is
// eliminated; in place of the clique that this makes of its neighbours, a random tree with the same mean is kept.
// Trees are factored exactly. Weights are only ever added, never subtracted, so that small ones keep all their
// digits. The random numbers are a fixed sequence. Each elimination depends on the one before: the host makes the
// factor.
#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>

#include "core/array.hpp"
#include "core/backend.hpp"

namespace ot {

// Vertices by degree, in doubly linked lists; those of high degree share the last one.
class DegreeLists {
 public:
  using Vertex = std::int32_t;
  static constexpr Vertex kNone = -1;

  void reset(index n) {
    degree.assign(n, 0);
    before_.assign(n, kNone);
    after_.assign(n, kNone);
    first_.assign(kLists, kNone);
    lowest_ = 0;
  }
  void insert(Vertex v) {
    const index k = list_of(v);
    before_[v] = kNone;
    after_[v] = first_[k];
    if (first_[k] != kNone) before_[first_[k]] = v;
    first_[k] = v;
    lowest_ = std::min(lowest_, k);
  }
  void remove(Vertex v) {
    if (before_[v] == kNone) first_[list_of(v)] = after_[v];
    else after_[before_[v]] = after_[v];
    if (after_[v] != kNone) before_[after_[v]] = before_[v];
  }
  Vertex remove_lowest() {
    while (first_[lowest_] == kNone) ++lowest_;
    const Vertex v = first_[lowest_];
    remove(v);
    return v;
  }

  Array<Vertex> degree;  // changed only while a vertex is in no list

 private:
  static constexpr index kLists = 1024;
  index list_of(Vertex v) const { return std::min<index>(degree[v], kLists - 1); }
  Array<Vertex> before_, after_, first_;
  index lowest_ = 0;
};

class GraphFactor {
 public:
  // Factors M = [[diag rows, -T], [-T', diag columns]], T (n, m) the kept entries. False where they are more than
  // kMost. `poll` is called every kPoll vertices.
  template <class F>
  bool factor(const Kept& T, index n, index m, const double* rows, const double* columns, F poll) {
    const index size = n + m;
    if (T.nnz > kMost || size > kMost) return false;
    reset(size, T.nnz);
    std::copy_n(rows, n, excess_.data());
    std::copy_n(columns, m, excess_.data() + n);
    for (index i = 0; i < n; ++i) {
      if (i % kPoll == 0) poll();
      for (index k = T.begin[i]; k < T.end[i]; ++k)
        if (const double w = T.val[k]; w > 0) {
          connect(static_cast<Vertex>(i), static_cast<Vertex>(n + T.idx[k]), w);
          excess_[i] -= w;
          excess_[n + T.idx[k]] -= w;
        }
    }
    for (index i = 0; i < size; ++i) {
      excess_[i] = std::max(excess_[i], kRounding * (i < n ? rows[i] : columns[i - n]));
      lists_.insert(static_cast<Vertex>(i));
    }
    for (index k = 0; k < size; ++k) {
      if (k % kPoll == 0) poll();
      eliminate(lists_.remove_lowest());
    }
    return true;
  }

  // x = (L D L')^-1 x
  void solve(double* x) const {
    const auto& [order, begin, row, value, inverse] = lower_;
    const index size = order.size();
    for (index k = 0; k < size; ++k) {
      const double v = x[order[k]];
      for (index l = begin[k]; l < begin[k + 1]; ++l) x[row[l]] += value[l] * v;
    }
    for (index k = size; k-- > 0;) {
      double v = x[order[k]] * inverse[k];
      for (index l = begin[k]; l < begin[k + 1]; ++l) v += value[l] * x[row[l]];
      x[order[k]] = v;
    }
  }

 private:
  using Vertex = DegreeLists::Vertex;
  static constexpr Vertex kNone = DegreeLists::kNone;
  static constexpr index kMost = 1 << 26;     // entries, and vertices, that 32-bit links can hold
  static constexpr index kPoll = 64;          // vertices between two polls
  static constexpr double kRounding = 4e-15;  // of the diagonal: the least excess of a vertex
  struct Link {
    Vertex to, next;
    double weight;
  };
  struct Neighbour {
    Vertex vertex, links;
    double weight;
  };
  // L by columns in the order of elimination, and D^-1. L is -value below a diagonal of ones.
  struct Lower {
    Array<Vertex> order;
    Array<index> begin;
    Array<Vertex> row;
    Array<double> value, inverse;
  };

  void reset(index size, index edges) {
    lower_.order.clear(), lower_.row.clear(), lower_.value.clear(), lower_.inverse.clear();
    lower_.begin.assign(1, 0);
    links_.clear();
    links_.reserve(4 * edges);
    head_.assign(size, kNone);
    slot_.assign(size, 0);
    eliminated_.assign(size, 0);
    excess_.resize(size);
    lists_.reset(size);
    random_ = 0;
  }

  void connect(Vertex i, Vertex j, double weight) {
    for (const auto& [from, to] : {std::pair{i, j}, std::pair{j, i}}) {
      links_.push_back({to, head_[from], weight});
      head_[from] = static_cast<Vertex>(links_.size() - 1);
      ++lists_.degree[from];
    }
  }

  // The neighbours of v that are not eliminated, in ascending order of weight. Parallel links are added up.
  void find_neighbours(Vertex v) {
    neighbours_.clear();
    for (Vertex l = head_[v]; l != kNone; l = links_[l].next) {
      const auto [to, next, weight] = links_[l];
      if (eliminated_[to]) continue;
      const Vertex at = slot_[to];
      if (at < neighbours_.size() && neighbours_[at].vertex == to) {
        neighbours_[at].weight += weight;
        ++neighbours_[at].links;
      } else {
        slot_[to] = static_cast<Vertex>(neighbours_.size());
        neighbours_.push_back({to, 1, weight});
      }
    }
    std::sort(neighbours_.begin(), neighbours_.end(), [](const Neighbour& x, const Neighbour& y) {
      return x.weight < y.weight || (x.weight == y.weight && x.vertex < y.vertex);
    });
  }

  // Each neighbour i of v but the heaviest is connected to one of the heavier ones, drawn in proportion to its
  // weight.
  void eliminate(Vertex v) {
    eliminated_[v] = 1;
    find_neighbours(v);
    sums_.clear();
    double sum = 0;
    for (const Neighbour& x : neighbours_) {
      sums_.push_back(sum += x.weight);
      lists_.remove(x.vertex);
      lists_.degree[x.vertex] -= x.links;
    }
    const double pivot = sum + excess_[v];
    const index count = neighbours_.size();
    for (index k = 0; k < count; ++k) {
      const auto [i, links, weight] = neighbours_[k];
      const double value = weight / pivot;
      lower_.row.push_back(i);
      lower_.value.push_back(value);
      excess_[i] += value * excess_[v];
      const double heavier = sum - sums_[k];
      if (k + 1 == count || !(heavier > 0)) continue;
      const auto drawn = std::upper_bound(sums_.begin() + (k + 1), sums_.end() - 1, sums_[k] + uniform() * heavier);
      connect(i, neighbours_[drawn - sums_.begin()].vertex, value * heavier);
    }
    for (const Neighbour& x : neighbours_) lists_.insert(x.vertex);
    lower_.order.push_back(v);
    lower_.inverse.push_back(pivot > 0 ? 1 / pivot : 1.0);
    lower_.begin.push_back(lower_.row.size());
  }

  // In [0, 1): splitmix64 of a counter.
  double uniform() {
    std::uint64_t z = ++random_ * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return static_cast<double>((z ^ z >> 31) >> 11) * 0x1p-53;
  }

  Lower lower_;
  DegreeLists lists_;
  Array<Link> links_;   // linked lists
  Array<Vertex> head_;  // of the list of a vertex
  Array<Vertex> slot_;  // of a vertex: its place in neighbours_
  Array<char> eliminated_;
  Array<double> excess_, sums_;
  Array<Neighbour> neighbours_;
  std::uint64_t random_ = 0;
};

}  // namespace ot
