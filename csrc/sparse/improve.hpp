// Better plans on supports of at most k entries a line.
#pragma once
#include "sparse/support.hpp"

namespace ot {

// A plan with at most k entries a line, by candidates of its own.
struct SupportedPlan {
  LineDual dual;
  double value;  // <C,T> + reg/2 |T|^2
};

// The problem on the entries kept; entry e of it is candidate from[e].
struct Restriction {
  LineDual dual;
  Array<index> from;

  explicit Restriction(const LineProblem& of) : dual(of) { dual.problem.k = LineProblem::kUnbounded; }

  void restrict_to(const EntryList& candidates, const Array<char>& kept) {
    EntryList& entries = dual.entries;
    const index count = std::count(kept.begin(), kept.end(), char{1});
    from.reserve(count);
    entries.idx.reserve(count);
    entries.cost.reserve(count);
    from.clear();
    entries.idx.clear();
    entries.cost.clear();
    for (index j = 0; j < dual.problem.lines; ++j) {
      entries.begin[j] = from.size();
      for (const index e : candidates.of_line(j))
        if (kept[e]) {
          entries.idx.push_back(candidates.idx[e]);
          entries.cost.push_back(candidates.cost[e]);
          from.push_back(e);
        }
    }
    entries.begin[dual.problem.lines] = from.size();
    dual.at.t.assign(from.size(), 0);
  }
};

// The plan of a support as it was found.
template <SparseBackend B>
SupportedPlan plan_on(const DualSolver<B>& solver, const Support& support) {
  Restriction on(solver.dual.problem);
  on.restrict_to(solver.dual.entries, support.kept);
  for (index e = 0; e < on.from.size(); ++e) on.dual.at.t[e] = support.flow[on.from[e]];
  measure_plan(on.dual);
  const double value = solver.host.primal(on.dual);
  return {std::move(on.dual), value};
}

// Adds candidates of the largest positive slack at (alpha, beta) to lines with fewer than k entries; false where there
// are none to add.
inline bool fill_free_places(const LineDual& candidates, const LineIterate& at, index k, Array<char>& kept) {
  const EntryList& entries = candidates.entries;
  bool added = false;
  Array<index> order;
  order.reserve(candidates.problem.others);
  for (index j = 0; j < candidates.problem.lines; ++j) {
    const auto slack = [&](index e) { return at.alpha[entries.idx[e]] + at.beta[j] - entries.cost[e]; };
    index places = k;
    order.clear();
    for (const index e : entries.of_line(j)) {
      places -= kept[e];
      if (!kept[e] && slack(e) > 0) order.push_back(e);
    }
    if (places <= 0) continue;
    const auto most = std::min(places, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(most), order.end(),
                      [&](index e, index d) { return slack(e) > slack(d); });
    for (index r = 0; r < most; ++r) kept[order[r]] = 1;
    added |= most > 0;
  }
  return added;
}

// Rounds of quadratic transport on the support. Entries that become 0 leave room for others of positive slack. Every
// round has a plan with the marginals and a lower value; they end where a round gains little of the gap to `bound`.
template <SparseBackend B>
SupportedPlan improve(DualSolver<B>& solver, Support support, index k, double bound) {
  SupportedPlan best = plan_on(solver, support);
  if (!support.carries_plan) return best;
  const HostProblem<B>& host = solver.host;
  const double tol = solver.budget.limits.tol;
  Restriction on(solver.dual.problem);
  NewtonAscent<B> newton(solver.evaluator);
  const AscentLimits limits{
      .tol = sparse::kImproveTol * tol,
      .steps = sparse::kImproveSteps,
      .clip = std::min(host.p.range, sparse::kSupportClip * host.p.reg / static_cast<double>(on.dual.problem.lines))};
  on.dual.at.alpha = solver.dual.at.alpha;
  on.dual.at.beta = solver.dual.at.beta;
  for (int round = 0; round < sparse::kImprovements && !solver.budget.stopped(); ++round) {
    const bool more = fill_free_places(solver.dual, on.dual.at, k, support.kept);
    if (!more && round > 0) break;
    on.restrict_to(solver.dual.entries, support.kept);
    newton.damping = sparse::kSupportDamping;
    newton.maximise(on.dual, limits, [&] { return solver.budget.stopped(); });
    const double value = host.primal(on.dual);
    if (on.dual.residual.error > tol || !(value <= best.value)) break;
    const double gain = best.value - value;
    best.dual = on.dual;
    best.value = value;
    for (index e = 0; e < on.from.size(); ++e) support.kept[on.from[e]] = on.dual.at.t[e] > 0;
    const double gap = value - bound;
    if (gain <= sparse::kSmallGain * gap || gap <= sparse::kNarrowGap * std::fabs(value)) break;
  }
  return best;
}

}  // namespace ot
