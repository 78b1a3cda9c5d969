// Passes over C that find the candidates of a dual: the entries that can be in its plan.
//
// An entry of slack f_i + g_j - C_ij > level_j - margin is a candidate. No other can enter the plan before
// max d(f_i) + max d(g_j - level_j) exceeds the margin; until then the dual on the candidates is the dual.
#pragma once
#include "sparse/budget.hpp"
#include "sparse/candidate_list.hpp"
#include "sparse/constants.hpp"
#include "sparse/problem.hpp"

namespace ot {

template <SparseBackend B>
class CandidateFinder {
 public:
  static constexpr index kNoLimit = std::numeric_limits<index>::max();

  CandidateFinder(HostProblem<B>& host, Budget& budget)
      : host_(host), budget_(budget), lowered_(host.n, host.m), uncovered_(host.m) {}

  // Entries of slack > -margin at (f, g), on the host; none are stored where they are more than the limit.
  const Candidates& price(const Sides& at, double margin, index limit = kNoLimit) {
    host_.be.candidates(host_.p.geo, at.rows.data(), at.columns.data(), margin, limit, found_);
    budget_.clock.count();
    return found_;
  }

  // The candidates at the potentials reached, which become the base.
  void find(LineDual& dual) {
    host_.add_to_base(dual.at.alpha, dual.at.beta);
    for (index j = 0; j < dual.problem.lines; ++j) dual.window.level[j] = dual.level(j);
    collect(dual);
  }

  // All entries of positive slack: those that the value of the dual depends on.
  void find_positive(LineDual& dual) {
    host_.add_to_base(dual.at.alpha, dual.at.beta);
    dual.window.margin = 0;
    dual.window.level.assign(dual.problem.lines, 0.0);
    collect(dual);
  }

 private:
  // Rows and columns without candidates are raised to their c-transforms, where their first entry reaches its level.
  void collect(LineDual& dual) {
    for (int round = 0; round < sparse::kRaises; ++round) {
      lower(dual.window.level);
      price(lowered_, dual.window.margin);
      if (!any_uncovered()) break;
      raise(dual.window.level);
    }
    loader_.load(found_, host_.base.rows.data(), host_.base.columns.data(), host_.by_rows, dual);
  }

  // Potentials at which an entry of slack 0 is at the level of its line.
  void lower(const Array<double>& level) {
    for (index i = 0; i < host_.n; ++i) lowered_.rows[i] = host_.base.rows[i] - row_level(level, i);
    for (index j = 0; j < host_.m; ++j) lowered_.columns[j] = host_.base.columns[j] - column_level(level, j);
  }
  double row_level(const Array<double>& level, index i) const { return host_.by_rows ? level[i] : 0; }
  double column_level(const Array<double>& level, index j) const { return host_.by_rows ? 0 : level[j]; }

  bool row_uncovered(index i) const { return host_.masses.rows[i] > 0 && found_.begin[i] == found_.begin[i + 1]; }

  // Whether a row or a column of positive mass has no candidate; uncovered_ says which columns.
  bool any_uncovered() {
    bool rows = false;
    for (index i = 0; i < host_.n; ++i) rows |= row_uncovered(i);
    double left = 0;
    for (index j = 0; j < host_.m; ++j) left += uncovered_[j] = host_.masses.columns[j] > 0;
    for (index e = 0; e < found_.nnz && left > 0; ++e) left -= std::exchange(uncovered_[found_.idx[e]], 0.0);
    return rows || left > 0;
  }

  void raise(const Array<double>& level) {
    B& be = host_.be;
    auto rows = be.template buffer<double>(host_.n), columns = be.template buffer<double>(host_.m);
    Sides transform(host_.n, host_.m);
    be.write(host_.m, lowered_.columns.data(), columns.data());
    be.c_transform(host_.p.geo, columns.data(), rows.data(), host_.p.a, nullptr);
    be.read(host_.n, rows.data(), transform.rows.data());
    for (index i = 0; i < host_.n; ++i)
      if (row_uncovered(i)) host_.base.rows[i] = transform.rows[i] + row_level(level, i);
    lower(level);
    be.write(host_.n, lowered_.rows.data(), rows.data());
    be.c_transform(host_.p.geo, nullptr, rows.data(), host_.p.a, columns.data());
    be.read(host_.m, columns.data(), transform.columns.data());
    for (index j = 0; j < host_.m; ++j)
      if (uncovered_[j] > 0) host_.base.columns[j] = transform.columns[j] + column_level(level, j);
  }

  HostProblem<B>& host_;
  Budget& budget_;
  Candidates found_;
  CandidateLoader loader_;
  Sides lowered_;
  Buffer<double> uncovered_;  // (m) 1 where a column has no candidate
};

}  // namespace ot
