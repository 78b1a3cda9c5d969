// The list of candidates of a dual: how it is replaced, and how it is thinned.
#pragma once
#include <cstdint>
#include <limits>
#include <utility>

#include "sparse/line_dual.hpp"

namespace ot {

// Sets alpha and beta to 0, after they have been added to the base (HostProblem::add_to_base).
inline void zero_potentials(LineDual& dual) {
  for (index i = 0; i < dual.problem.others; ++i) dual.mark.alpha[i] -= std::exchange(dual.at.alpha[i], 0.0);
  for (index j = 0; j < dual.problem.lines; ++j) dual.mark.edge[j] -= std::exchange(dual.at.beta[j], 0.0);
}

inline Mark mark_of(const LineDual& dual) {
  Mark mark{dual.at.alpha, Array<double>(dual.problem.lines)};
  for (index j = 0; j < dual.problem.lines; ++j) mark.edge[j] = dual.edge(j);
  return mark;
}

// An upper bound of the rise of alpha_i + edge_j over all pairs, between two marks.
inline double rise_between(const Mark& from, const Mark& to) {
  double alpha = -INFINITY, edge = -INFINITY;
  for (index i = 0; i < to.alpha.size(); ++i) alpha = std::max(alpha, to.alpha[i] - from.alpha[i]);
  for (index j = 0; j < to.edge.size(); ++j) edge = std::max(edge, to.edge[j] - from.edge[j]);
  return std::max(0.0, alpha + edge);
}

// The number of candidates that are in the plan or within the margin of the level of their line, estimated from every
// `stride`-th line.
inline index count_within(const LineDual& dual, double margin, index stride) {
  index count = 0;
  for (index j = 0; j < dual.problem.lines; j += stride) {
    const double least = dual.level(j) - margin;
    for (const index e : dual.entries.of_line(j)) count += dual.at.t[e] > 0 || dual.slack(j, e) > least;
  }
  return stride * count;
}

// Drops the candidates that count_within does not count, without a pass over C. The list is then as if taken at the
// potentials reached, which become zero, and the plan becomes the proximal centre.
inline void keep_within(LineDual& dual, double margin) {
  EntryList& entries = dual.entries;
  Array<double>& t = dual.at.t;
  index to = 0, e = 0;
  for (index j = 0; j < dual.problem.lines; ++j) dual.window.level[j] = dual.level(j);
  for (index j = 0; j < dual.problem.lines; ++j) {
    for (; e < entries.begin[j + 1]; ++e) {
      const double s = dual.slack(j, e);
      if (!(t[e] > 0 || s > dual.window.level[j] - margin)) continue;
      entries.idx[to] = entries.idx[e];
      entries.cost[to] = -s;
      t[to] = t[e];
      ++to;
    }
    entries.begin[j + 1] = to;
  }
  entries.idx.resize(to);
  entries.cost.resize(to);
  t.resize(to);
  dual.window.margin = margin;
  dual.prox.centre = t;
  zero_potentials(dual);
}

// Replaces the list by candidates found at a base (f, g). Entries of the proximal centre stay, whatever their slack.
class CandidateLoader {
 public:
  void load(const Candidates& found, const double* f, const double* g, bool by_rows, LineDual& dual) {
    next_.begin.assign(dual.problem.lines + 1, 0);
    next_.idx.resize(found.nnz);
    next_.cost.resize(found.nnz);
    if (by_rows) copy_rows(found, f, g, dual.problem.lines);
    else transpose(found, f, g, dual.problem);
    if (dual.prox.sigma > 0) keep_centre(dual);
    std::swap(dual.entries, next_);
    zero_potentials(dual);
    dual.at.t.assign(dual.entries.size(), 0);
  }

 private:
  void copy_rows(const Candidates& found, const double* f, const double* g, index rows) {
    std::copy(found.begin.data(), found.begin.data() + rows + 1, next_.begin.begin());
    std::copy(found.idx.data(), found.idx.data() + found.nnz, next_.idx.begin());
    for (index i = 0; i < rows; ++i)
      for (index e = found.begin[i]; e < found.begin[i + 1]; ++e)
        next_.cost[e] = found.cost[e] - f[i] - g[found.idx[e]];
  }

  void transpose(const Candidates& found, const double* f, const double* g, const LineProblem& p) {
    for (index e = 0; e < found.nnz; ++e) ++next_.begin[found.idx[e] + 1];
    for (index j = 0; j < p.lines; ++j) next_.begin[j + 1] += next_.begin[j];
    place_.assign(next_.begin.begin(), next_.begin.end() - 1);
    for (index i = 0; i < p.others; ++i)
      for (index e = found.begin[i]; e < found.begin[i + 1]; ++e) {
        const index j = found.idx[e], to = place_[j]++;
        next_.idx[to] = static_cast<std::int32_t>(i);
        next_.cost[to] = found.cost[e] - f[i] - g[j];
      }
  }

  // The centre by the new entries; those that it lacks join them.
  void keep_centre(LineDual& dual) {
    const EntryList& old = dual.entries;
    bool lacking = false;
    next_centre_.resize(next_.size());
    of_line_.assign(dual.problem.others, 0);
    for (index j = 0; j < dual.problem.lines; ++j) {
      for (const index o : old.of_line(j)) of_line_[old.idx[o]] = dual.prox.centre[o];
      for (const index e : next_.of_line(j)) next_centre_[e] = std::exchange(of_line_[next_.idx[e]], 0.0);
      for (const index o : old.of_line(j)) lacking |= std::exchange(of_line_[old.idx[o]], 0.0) > 0;
    }
    if (lacking) merge(dual);
    dual.prox.centre.swap(next_centre_);
  }

  // Both lists are sorted by the other: a merge of each line.
  void merge(const LineDual& dual) {
    const EntryList& old = dual.entries;
    const Array<double>& centre = dual.prox.centre;
    merged_.begin.resize(dual.problem.lines + 1);
    merged_.idx.clear();
    merged_.cost.clear();
    next_centre_.clear();
    const auto push = [this](std::int32_t i, double cost, double of_centre) {
      merged_.idx.push_back(i);
      merged_.cost.push_back(cost);
      next_centre_.push_back(of_centre);
    };
    for (index j = 0; j < dual.problem.lines; ++j) {
      merged_.begin[j] = merged_.size();
      index o = old.begin[j];
      const auto push_until = [&](std::int32_t end) {
        for (; o < old.begin[j + 1] && old.idx[o] < end; ++o)
          if (centre[o] > 0) push(old.idx[o], old.cost[o] - dual.at.alpha[old.idx[o]] - dual.at.beta[j], centre[o]);
      };
      for (const index e : next_.of_line(j)) {
        const std::int32_t i = next_.idx[e];
        push_until(i);
        const bool same = o < old.begin[j + 1] && old.idx[o] == i;
        push(i, next_.cost[e], same ? centre[o] : 0.0);
        o += same;
      }
      push_until(std::numeric_limits<std::int32_t>::max());
    }
    merged_.begin[dual.problem.lines] = merged_.size();
    std::swap(next_, merged_);
  }

  EntryList next_, merged_;
  Array<double> next_centre_, of_line_;
  Array<index> place_;
};

}  // namespace ot
