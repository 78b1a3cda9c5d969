// Exact transport: min <C,P> over plans from a to b, with a proof.
//
// 1. Feasible potentials: given, from loosely solved entropic transport, or row minima; made feasible by c-transforms.
// 2. Candidates: the pairs of least reduced cost of every row and of every column; all pairs of a small problem.
// 3. The network simplex on the candidates (basis.hpp).
// 4. One pass over C finds the pairs that violate its potentials. They join the arcs, and the simplex goes on from its
//    tree. No violation and no mass left on artificial arcs: the plan is optimal, and this pass proves it.
#pragma once
#include <algorithm>
#include <cmath>
#include <utility>

#include "exact/basis.hpp"

namespace ot {

// Costs answer by passes over them (backend_costs.hpp), or are a list of pairs (listed_costs.hpp).
template <class Costs>
class ExactTransport {
 public:
  ExactTransport(Costs& costs, const ExactOptions& options, const Monitor& monitor)
      : costs_(costs),
        options_(options),
        monitor_(monitor),
        clock_(options_.limits, monitor_),
        a_(costs.n()),
        b_(costs.m()),
        at_(costs.n(), costs.m()) {}

  // `at` is the start, where the options say so, and becomes the potentials of the solution.
  ExactSolution solve(Potentials at) {
    costs_.read_masses(a_.data(), b_.data());
    const MassUnits units(a_.data(), a_.size(), b_.data(), b_.size());
    Basis basis = start(units, at);
    ExactSolution out;
    while (!out.proved && out.cut.rows.empty() && clock_.n_iter < options_.limits.max_iter &&
           out.rounds < exact::kMostRounds && round(basis, out)) {
    }
    conclude(basis, out);
    costs_.write(at_, at);
    return out;
  }

 private:
  // ---------------------------------------------------------------- start

  // Potentials that are the c-transforms of each other, and the tree of the candidates around them.
  Basis start(const MassUnits& units, Potentials at) {
    const index n = costs_.n();
    if (options_.warm) costs_.read(at, at_);
    else costs_.first_rows(options_.limits, monitor_, a_, at_.rows.data());
    NearestPairs of_rows;
    leave_out(a_, at_.rows);
    costs_.transform_columns(at_.rows.data(), at_.columns.data());
    leave_out(b_, at_.columns);
    at_.rows.assign(n, 0.0);
    leave_out(a_, at_.rows);
    costs_.nearest_in_rows(query(at_, costs_.candidates_a_row()), of_rows);
    std::copy_n(of_rows.least.data(), n, at_.rows.begin());
    leave_out(a_, at_.rows);
    Basis basis(units, at_);
    costs_.add_candidates(at_, of_rows, basis);
    const index given = basis.arcs();
    add_given(basis);
    basis.start(given);
    return basis;
  }

  // -inf without mass; 0 where no allowed pair gives a value.
  static void leave_out(const Array<double>& mass, Array<double>& potential) {
    for (index i = 0; i < mass.size(); ++i) {
      if (!(mass[i] > 0)) potential[i] = -INFINITY;
      else if (!std::isfinite(potential[i])) potential[i] = 0;
    }
  }

  static NearestQuery query(const Duals& at, index k) {
    return {.f = at.rows.data(), .g = at.columns.data(), .k = k, .below = INFINITY};
  }

  // The arcs of a basis that the caller has.
  void add_given(Basis& basis) {
    const BasisPlan& given = options_.basis;
    Array<double> cost(given.row.size());
    costs_.pairs(given.row, given.column, cost.data());
    for (index e = 0; e < cost.size(); ++e)
      if (std::isfinite(cost[e]) && a_[given.row[e]] > 0 && b_[given.column[e]] > 0)
        basis.add(given.row[e], given.column[e], cost[e]);
  }

  // ---------------------------------------------------------------- rounds

  // Pivots, then a pass over all pairs. False where a limit is reached.
  bool round(Basis& basis, ExactSolution& out) {
    const Pivoting end = basis.run(options_.limits.max_iter, at_, [this] { return stopped(); });
    const bool moved = basis.simplex().pivots() > clock_.n_iter;
    clock_.n_iter = basis.simplex().pivots();
    if (end != Pivoting::optimal) return false;
    at_.centre();
    const index before = basis.arcs();
    out.least = add_violators(basis, out.rounds);
    ++out.rounds;
    clock_.report(clock_.n_iter, 0, std::max(0.0, -out.least), at_.value(a_, b_));
    // While artificial arcs carry mass the base stays, and rounding may show violations that the simplex does not see.
    const bool violated = basis.arcs() > before && (moved || !basis.lacks());
    if (!violated && basis.lacks()) bridge(basis, out);
    else if (!violated) return conclusive(basis, out) || refresh(basis);
    else if (!basis.lacks()) {
      basis.rebase(at_);
      out.proved = within_tolerance(basis);
    }
    return !stopped();
  }

  // Adds the pairs of least reduced cost of every row, where it is below rounding. Returns the least of all.
  double add_violators(Basis& basis, index rounds) {
    const index k = std::min(costs_.m(), exact::kViolators << std::min<index>(rounds / exact::kPatience, 20));
    NearestQuery violators = query(at_, k);
    violators.below = 0;
    violators.rounding = exact::kRounding;
    costs_.nearest_in_rows(violators, found_);
    return add_found(basis);
  }

  // Whether the values of plan and potentials agree: the plan is optimal, unless the tree may be refreshed for a
  // smaller gap.
  bool conclusive(const Basis& basis, ExactSolution& out) {
    const Basis::Cost cost = basis.cost();
    const double gap = std::fabs(cost.value - at_.value(a_, b_));
    const bool fine = gap <= exact::kFineGap * cost.size || refreshed_ == exact::kRefreshes;
    out.proved = fine && gap <= exact::kMostGap * cost.size + exact::kRounding * at_.size(a_, b_);
    return out.proved;
  }

  // Goes on without empty arcs: those of a huge cost hide the digits of others. False where that has been done.
  bool refresh(Basis& basis) {
    if (refreshed_ == exact::kRefreshes) return false;
    ++refreshed_;
    basis.refresh();
    return true;
  }

  // Whether the plan costs little enough more than the dual of feasible potentials, which then are the solution's.
  bool within_tolerance(const Basis& basis) {
    const double tol = options_.limits.tol;
    if (!(tol > 0)) return false;
    Duals feasible = at_;
    raise_columns(feasible);
    const double value = basis.cost().value;
    if (value - feasible.value(a_, b_) > tol * std::fabs(value)) return false;
    at_ = feasible;
    return true;
  }

  double add_found(Basis& basis) {
    double least = INFINITY;
    for (index i = 0; i < costs_.n(); ++i) {
      least = std::min(least, found_.least[i]);
      for (index q = i * found_.k; q < (i + 1) * found_.k && found_.idx[q] >= 0; ++q)
        basis.add(i, found_.idx[q], found_.cost[q]);
    }
    return least;
  }

  // Mass is left on artificial arcs, and no arc is worth their cost: adds the cheapest pairs from the parts of the tree
  // with mass left over to those where it is missing, and makes artificial arcs dearer than them. Where there is no
  // such pair no plan exists.
  void bridge(Basis& basis, ExactSolution& out) {
    const Array<char> by_row = basis.parts_by_row();
    const index n = costs_.n(), m = costs_.m();
    Duals between = at_;
    for (index i = 0; i < n; ++i)
      if (!by_row[i]) between.rows[i] = -INFINITY;
    for (index j = 0; j < m; ++j)
      if (by_row[n + j]) between.columns[j] = -INFINITY;
    costs_.nearest_in_rows(query(between, std::min(exact::kViolators, m)), found_);
    const double least = add_found(basis);
    if (least < INFINITY) {
      basis.raise_artificial(least);
      return;
    }
    double excess = 0;
    for (index i = 0; i < n; ++i)
      if (by_row[i] && a_[i] > 0) {
        out.cut.rows.push_back(static_cast<std::int32_t>(i));
        excess += a_[i];
      }
    for (index j = 0; j < m; ++j)
      if (by_row[n + j] && b_[j] > 0) {
        out.cut.columns.push_back(static_cast<std::int32_t>(j));
        excess -= b_[j];
      }
    out.cut.excess = excess;
  }

  bool stopped() {
    if (monitor_.poll && monitor_.poll()) throw Interrupted();
    return late();
  }
  bool late() const { return options_.limits.time_limit > 0 && clock_.elapsed() > options_.limits.time_limit; }

  // ---------------------------------------------------------------- end

  void conclude(const Basis& basis, ExactSolution& out) {
    if (!out.proved) raise_columns(at_);
    complete();
    out.dual = at_.value(a_, b_);
    out.plan = basis.plan();
    out.value = basis.cost().value;
    const BasisPlan rest = basis.completion();
    Array<double> cost(rest.row.size());
    costs_.pairs(rest.row, rest.column, cost.data());
    for (index e = 0; e < cost.size(); ++e) {
      out.value += rest.flow[e] * cost[e];
      out.plan.add(rest.row[e], rest.column[e], rest.flow[e]);
    }
    out.arcs = basis.arcs();
    out.n_iter = basis.simplex().pivots();
    out.status = out.proved                               ? Status::converged
                 : !out.cut.rows.empty()                  ? Status::stalled
                 : out.n_iter >= options_.limits.max_iter ? Status::max_iter
                 : late()                                 ? Status::time_limit
                                                          : Status::stalled;
  }

  // The largest potentials of columns that go with those of the rows.
  void raise_columns(Duals& at) {
    costs_.transform_columns(at.rows.data(), at.columns.data());
    leave_out(b_, at.columns);
  }

  // The c-transforms where there is no mass: of rows over columns with mass, then of columns over all rows.
  void complete() {
    const auto none = [](const Array<double>& v) { return std::find(v.begin(), v.end(), -INFINITY) != v.end(); };
    if (none(at_.rows)) {
      Duals zero = at_;
      for (double& f : zero.rows) f = 0;
      costs_.nearest_in_rows(query(zero, 1), found_);
      for (index i = 0; i < costs_.n(); ++i)
        if (at_.rows[i] == -INFINITY) at_.rows[i] = std::isfinite(found_.least[i]) ? found_.least[i] : 0.0;
    }
    if (none(at_.columns)) {
      Array<double> low(costs_.m());
      costs_.transform_columns(at_.rows.data(), low.data());
      for (index j = 0; j < costs_.m(); ++j)
        if (at_.columns[j] == -INFINITY) at_.columns[j] = std::isfinite(low[j]) ? low[j] : 0.0;
    }
  }

  Costs& costs_;
  const ExactOptions options_;
  const Monitor& monitor_;
  Clock clock_;
  Array<double> a_, b_;
  Duals at_;
  NearestPairs found_;
  int refreshed_ = 0;
};

}  // namespace ot
