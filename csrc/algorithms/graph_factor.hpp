// Approximate Cholesky factors of graph Laplacians with excess,
//   x'Mx = sum_edges w (x_i - x_j)^2 + sum_i excess_i x_i^2,
// by random elimination (Kyng and Sachdeva 2016; Gao, Kyng and Spielman 2023). The vertex of about
// least degree leaves; of the clique that it would leave behind, a random tree with the same mean
// stays. Trees are factored exactly. Weights are only ever added, never subtracted: the weakest
// links keep all their digits. The random numbers are always the same. Eliminations follow one another: it is
// the host's, whatever the backend.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/backend.hpp"

namespace ot {

class Laplacian {
 public:
  // M = [[diag rows, -T], [-T', diag columns]], T (n, m) the kept entries. False: too many of them. `look` is
  // called now and then.
  template <class F>
  bool factor(const Kept& T, index n, index m, const double* rows, const double* columns, F look) {
    const index size = n + m;
    if (T.nnz > kMostLinks || size > kMostLinks) return false;
    reset(size);
    links_.reserve(static_cast<std::size_t>(4 * T.nnz));
    std::copy_n(rows, n, excess_.data());
    std::copy_n(columns, m, excess_.data() + n);
    for (index i = 0; i < n; ++i) {
      if (i % 64 == 0) look();
      for (index k = T.begin[i]; k < T.end[i]; ++k)
        if (const double w = T.val[k]; w > 0) {
          connect(static_cast<Vertex>(i), static_cast<Vertex>(n + T.idx[k]), w);
          excess_[i] -= w;
          excess_[n + T.idx[k]] -= w;
        }
    }
    for (index i = 0; i < size; ++i) {
      excess_[i] = std::max(excess_[i], kRounding * (i < n ? rows[i] : columns[i - n]));
      file(static_cast<Vertex>(i));
    }
    for (index k = 0; k < size; ++k) {
      if (k % 64 == 0) look();
      eliminate(least());
    }
    return true;
  }

  // x = M~^-1 x
  void solve(double* x) const {
    const std::size_t size = order_.size();
    for (std::size_t k = 0; k < size; ++k) {
      const double v = x[order_[k]];
      for (std::size_t l = begin_[k]; l < begin_[k + 1]; ++l) x[row_[l]] += share_[l] * v;
    }
    for (std::size_t k = size; k-- > 0;) {
      double v = x[order_[k]] * inverse_[k];
      for (std::size_t l = begin_[k]; l < begin_[k + 1]; ++l) v += share_[l] * x[row_[l]];
      x[order_[k]] = v;
    }
  }

 private:
  using Vertex = std::int32_t;
  struct Link {
    Vertex to, next;
    double weight;
  };
  struct Neighbour {
    Vertex vertex, links;
    double weight;
  };
  static constexpr Vertex kNone = -1;
  static constexpr index kMostLinks = 1 << 26;
  static constexpr std::size_t kBuckets = 1024;
  static constexpr double kRounding = 4e-15;

  void reset(index size) {
    const auto n = static_cast<std::size_t>(size);
    links_.clear(), order_.clear(), row_.clear(), share_.clear(), inverse_.clear();
    begin_.assign(1, 0);
    head_.assign(n, kNone), before_.assign(n, kNone), after_.assign(n, kNone), place_.assign(n, 0);
    degree_.assign(n, 0);
    gone_.assign(n, false);
    excess_.resize(n);
    bucket_.assign(kBuckets, kNone);
    low_ = 0;
    random_ = 0;
  }

  void connect(Vertex i, Vertex j, double weight) {
    links_.push_back({j, head_[i], weight});
    head_[i] = static_cast<Vertex>(links_.size() - 1);
    links_.push_back({i, head_[j], weight});
    head_[j] = static_cast<Vertex>(links_.size() - 1);
    ++degree_[i];
    ++degree_[j];
  }

  // Vertices by degree, in doubly linked lists.
  std::size_t bucket_of(Vertex v) const { return std::min(static_cast<std::size_t>(degree_[v]), kBuckets - 1); }
  void file(Vertex v) {
    const std::size_t k = bucket_of(v);
    before_[v] = kNone;
    after_[v] = bucket_[k];
    if (bucket_[k] != kNone) before_[bucket_[k]] = v;
    bucket_[k] = v;
    low_ = std::min(low_, k);
  }
  void take(Vertex v) {
    if (before_[v] == kNone) bucket_[bucket_of(v)] = after_[v];
    else after_[before_[v]] = after_[v];
    if (after_[v] != kNone) before_[after_[v]] = before_[v];
  }
  Vertex least() {
    while (bucket_[low_] == kNone) ++low_;
    const Vertex v = bucket_[low_];
    take(v);
    return v;
  }

  void eliminate(Vertex v) {
    gone_[v] = true;
    around_.clear();
    for (Vertex l = head_[v]; l != kNone; l = links_[l].next) {
      const auto [to, next, weight] = links_[l];
      if (gone_[to]) continue;
      const auto at = static_cast<std::size_t>(place_[to]);
      if (at < around_.size() && around_[at].vertex == to) {
        around_[at].weight += weight;
        ++around_[at].links;
      } else {
        place_[to] = static_cast<Vertex>(around_.size());
        around_.push_back({to, 1, weight});
      }
    }
    std::sort(around_.begin(), around_.end(), [](const Neighbour& x, const Neighbour& y) {
      return x.weight < y.weight || (x.weight == y.weight && x.vertex < y.vertex);
    });
    sums_.clear();
    double sum = 0;
    for (const Neighbour& x : around_) {
      sums_.push_back(sum += x.weight);
      take(x.vertex);
      degree_[x.vertex] -= x.links;
    }
    const double pivot = sum + excess_[v];
    const std::size_t count = around_.size();
    for (std::size_t k = 0; k < count; ++k) {
      const auto [i, links, weight] = around_[k];
      const double share = weight / pivot;
      row_.push_back(i);
      share_.push_back(share);
      excess_[i] += share * excess_[v];
      const double rest = sum - sums_[k];
      if (k + 1 == count || !(rest > 0)) continue;
      // One of the heavier neighbours, in proportion to its weight.
      const auto from = sums_.begin() + static_cast<std::ptrdiff_t>(k + 1);
      const auto at = std::upper_bound(from, sums_.end() - 1, sums_[k] + uniform() * rest);
      connect(i, around_[static_cast<std::size_t>(at - sums_.begin())].vertex, share * rest);
    }
    for (const Neighbour& x : around_) file(x.vertex);
    order_.push_back(v);
    inverse_.push_back(pivot > 0 ? 1 / pivot : 1.0);
    begin_.push_back(row_.size());
  }

  // Splitmix64 of a count, in [0, 1).
  double uniform() {
    std::uint64_t z = ++random_ * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return static_cast<double>((z ^ z >> 31) >> 11) * 0x1p-53;
  }

  std::vector<Link> links_;
  std::vector<Neighbour> around_;
  std::vector<Vertex> head_, before_, after_, place_, degree_, bucket_, order_, row_;
  std::vector<bool> gone_;
  std::vector<double> excess_, sums_, share_, inverse_;
  std::vector<std::size_t> begin_;
  std::size_t low_ = 0;
  std::uint64_t random_ = 0;
};

}  // namespace ot
