// Shortest augmenting paths after Jonker and Volgenant (1987), which an auction (Bertsekas 1988) gives potentials where
// the reductions leave too many rows free.
//
// Throughout, u_i = min_j (C_ij - v_j) is not stored, and an assigned pair attains it: the potentials are feasible and
// tight. Columns that no row is assigned to have never had one since v_j = 0, unless the matrix is square.
#pragma once
#include <algorithm>
#include <cmath>

#include "assignment/backend.hpp"
#include "assignment/constants.hpp"
#include "assignment/options.hpp"

namespace ot {

template <class B>
class JonkerVolgenant {
 public:
  JonkerVolgenant(B& be, const Geometry& geo)
      : be_(be),
        geo_(geo),
        n_(geo.n),
        m_(geo.m),
        v_(m_, 0.0),
        w_(m_),
        distance_(m_),
        column_(n_, kNone),
        row_(m_, kNone),
        parent_(m_) {
    static_assert(RowScans<B>);
  }

  AssignmentResult solve() {
    if (n_ == m_) reduce_columns();
    const double ties = reduce_rows();
    tied_ = ties > 0;
    const bool auction = n_ == m_ && n_ >= assignment::kLeastAuction && ties < assignment::kManyTies;
    if (auction && static_cast<double>(free_rows()) > assignment::kManyFree * static_cast<double>(n_))
      start_by_auction();
    bool done = augment(auction && !result_.auctioned ? assignment::kPathSteps * n_ : kNoLimit);
    if (!done && result_.stuck.empty()) {
      start_by_auction();
      done = augment(kNoLimit);
    }
    for (int k = 0; done; ++k) {
      if (n_ == m_) center();
      if (prove() || k == assignment::kRepairs) break;
      closed_ = free_columns();  // rounding of long paths: loose rows are assigned anew, among the columns taken
      for (const index i : loose_) release(i);
      done = augment(kNoLimit);
    }
    result_.column = column_;
    result_.g = v_;
    return std::move(result_);
  }

 private:
  static constexpr index kNone = -1, kNoLimit = INT64_MAX;

  TwoLeast scan(index i) {
    if (++result_.scans % 64 == 0) be_.poll();
    return be_.row_minima(geo_, i, v_.data());
  }
  double cost(index i, index j) const {
    const index at = i * geo_.ld + j;
    return geo_.dtype == DType::f32 ? static_cast<double>(static_cast<const float*>(geo_.C)[at])
                                    : static_cast<const double*>(geo_.C)[at];
  }
  // Assigns i to j; the row that j had is free, and returned.
  index assign(index i, index j) {
    const index old = row_[j];
    if (old != kNone) column_[old] = kNone;
    column_[i] = j;
    row_[j] = i;
    return old;
  }
  void release(index i) {
    row_[column_[i]] = kNone;
    column_[i] = kNone;
  }
  index free_rows() const { return std::count(column_.begin(), column_.end(), kNone); }
  Array<index> free_columns() const {
    Array<index> free;
    for (index j = 0; j < m_; ++j)
      if (row_[j] == kNone) free.push_back(j);
    return free;
  }

  // v_j = min_i C_ij, and j to the row of the minimum if that is free.
  void reduce_columns() {
    be_.column_minima(geo_, v_.data(), parent_.data());
    for (index j = m_ - 1; j >= 0; --j) {
      if (std::isinf(v_[j])) v_[j] = 0;  // no pair is allowed: paths will find out
      else if (column_[parent_[j]] == kNone) assign(parent_[j], j);
    }
  }

  // Augmenting row reduction: a free row takes its best column, whose v falls by as much as keeps it the best. Returns
  // the share of scans that found a tie.
  double reduce_rows() {
    Array<index> free;
    for (index i = n_ - 1; i >= 0; --i)
      if (column_[i] == kNone) free.push_back(i);
    index scans = 0, ties = 0;
    for (index left = assignment::kReductionSteps * free.size() + n_; left > 0 && !free.empty(); --left) {
      const index i = free.back();
      free.pop_back();
      const TwoLeast t = scan(i);
      ++scans;
      ties += t.second == t.least;
      if (std::isinf(t.second)) continue;
      if (t.second == t.least && row_[t.at] != kNone) continue;
      v_[t.at] -= t.second - t.least;
      if (const index old = assign(i, t.at); old != kNone) free.push_back(old);
    }
    return static_cast<double>(ties) / static_cast<double>(std::max<index>(scans, 1));
  }

  // Phases of decreasing eps: free rows bid for their best column until nearly all have one. Then pairs that are not
  // tight are released.
  void start_by_auction() {
    result_.auctioned = true;
    const double scale = typical_cost();
    for (double eps = assignment::kFirstEps; eps >= assignment::kLastEps; eps /= assignment::kEpsFactor)
      bid(eps * scale, scale);
    center();
    for (index i = 0; i < n_; ++i) {
      if (column_[i] == kNone) continue;
      const TwoLeast t = scan(i);
      if (cost(i, column_[i]) - v_[column_[i]] <= t.least) continue;
      release(i);
      if (row_[t.at] == kNone) assign(i, t.at);
    }
    reduce_rows();
  }

  // Potentials of columns fall together: without their median, the digits that small costs need are left.
  void center() {
    Array<double> sorted = v_;
    std::nth_element(sorted.begin(), sorted.begin() + m_ / 2, sorted.end());
    for (double& v : v_) v -= sorted[m_ / 2];
  }

  // A few times the median of the costs above the least, of a sample: a few huge ones do not count.
  double typical_cost() const {
    Array<double> sample;
    for (index k = 0; k < assignment::kSample; ++k)
      if (const double c = cost(k * 7919 % n_, (k * 104729 + k / 7) % m_); c < INFINITY) sample.push_back(c);
    if (sample.empty()) return 0;
    std::sort(sample.begin(), sample.end());
    const double least = sample.front();
    return std::min(sample.back() - least, assignment::kMedians * (sample[sample.size() / 2] - least));
  }

  void bid(double eps, double most) {
    std::fill(column_.begin(), column_.end(), kNone);
    std::fill(row_.begin(), row_.end(), kNone);
    Array<index> free, outbid;  // rows bid in rounds: those that lose their column wait for the next
    for (index i = n_ - 1; i >= 0; --i) free.push_back(i);
    const auto leave = static_cast<index>(assignment::kLeftFree * static_cast<double>(n_));
    for (index left = assignment::kMostBids * n_; left > 0 && free.size() + outbid.size() > leave; --left) {
      if (free.empty()) {
        free.swap(outbid);
        std::reverse(free.begin(), free.end());
      }
      const index i = free.back();
      free.pop_back();
      const TwoLeast t = scan(i);
      if (std::isinf(t.least)) continue;
      v_[t.at] -= std::min(t.second - t.least, most) + eps;
      if (const index old = assign(i, t.at); old != kNone) outbid.push_back(old);
    }
  }

  // Shortest paths from all free rows. False where there is none (`stuck`), or after so many steps.
  bool augment(index most) {
    open_ = free_columns();
    w_ = v_;
    for (const index j : closed_) w_[j] = -INFINITY;
    for (index i = 0; i < n_ && most > 0; ++i) {
      if (column_[i] != kNone) continue;
      const index sink = find_path(i, most);
      if (sink == kNone) return false;
      const auto taken = std::find(open_.begin(), open_.end(), sink);
      open_.erase(taken, taken + 1);
      for (index j = sink, r = kNone; r != i;) {
        r = row_[j] = parent_[j];
        std::swap(j, column_[r]);
      }
    }
    return free_rows() == 0;
  }

  // Dijkstra's method over reduced costs, from the least of row i: distances keep the digits of C_ij - v_j - u_i.
  // Columns whose distance is final have v = -inf, so that no row improves them. Ends at the first free column.
  index find_path(index first, index& most) {
    std::fill(distance_.begin(), distance_.end(), INFINITY);
    done_.clear();
    done_distance_.clear();
    double offset = scan(first).least, reached = 0;
    index sink = kNone;
    if (std::isinf(offset)) {
      result_.stuck.assign(1, first);
      return kNone;
    }
    for (index i = first;;) {
      if (++result_.scans % 64 == 0) be_.poll();
      --most;
      const Nearest next = be_.relax_row(
          geo_, i,
          {.v = w_.data(), .offset = offset, .from = i, .distance = distance_.data(), .parent = parent_.data()});
      if (std::isinf(next.distance)) {
        result_.stuck.assign(1, first);
        for (const index j : done_) result_.stuck.push_back(row_[j]);
        return kNone;
      }
      reached = std::max(reached, next.distance);
      sink = open_column(reached, next.column);
      if (row_[sink] == kNone) break;
      done_.push_back(sink);
      done_distance_.push_back(reached);
      distance_[sink] = INFINITY;
      w_[sink] = -INFINITY;
      i = row_[sink];
      offset = cost(i, sink) - v_[sink] - reached;
    }
    for (index k = 0; k < done_.size(); ++k) {
      v_[done_[k]] += done_distance_[k] - reached;
      w_[done_[k]] = v_[done_[k]];
    }
    return sink;
  }

  // A free column at this distance, where there is one: it ends the path.
  index open_column(double reached, index nearest) const {
    if (!tied_ || row_[nearest] == kNone) return nearest;
    for (const index j : open_)
      if (distance_[j] <= reached) return j;
    return nearest;
  }

  // u_i, and the rows whose pairs are not tight; true where there is none.
  bool prove() {
    result_.f.resize(n_);
    result_.slack = 0;
    loose_.clear();
    for (index i = 0; i < n_; ++i) {
      const double v = v_[column_[i]], c = cost(i, column_[i]);
      const auto slack = [&](double u) {
        return c - v - u > assignment::kTight * (std::abs(c) + std::abs(u) + std::abs(v)) ? c - v - u : 0;
      };
      double& u = result_.f[i] = scan(i).least;
      if (slack(u) > 0) u = std::min(c - v, largest_feasible(i));
      if (slack(u) == 0) continue;
      result_.slack = std::max(result_.slack, slack(u));
      loose_.push_back(i);
    }
    return loose_.empty();
  }

  // The largest u_i that violates no pair by more than the rounding of that pair: huge v_j in some columns have rounded
  // what the others resolve.
  double largest_feasible(index i) const {
    double least = INFINITY;
    for (index j = 0; j < m_; ++j) {
      const double c = cost(i, j);
      if (c < INFINITY) least = std::min(least, c - v_[j] + 0.5 * assignment::kTight * (std::abs(c) + std::abs(v_[j])));
    }
    return least;
  }

  B& be_;
  const Geometry& geo_;
  index n_, m_;
  bool tied_ = false;  // some costs less potentials are equal
  Array<double> v_, w_, distance_;
  Array<index> column_, row_;  // of rows, of columns; kNone: free
  Array<index> parent_;        // the row by which a column was reached
  Array<index> open_, done_;   // columns that are free, and those whose distance is final
  Array<double> done_distance_;
  Array<index> loose_, closed_;  // rows whose pair is not tight; columns that no path may end in
  AssignmentResult result_;
};

}  // namespace ot
