// The dual of transport with quadratic regularisation and at most k entries a line, on a list of candidate entries,
// all on the host. Lines are the rows or the columns of C, whichever are bounded; `others` are the other side.
//
// With s = alpha_i + beta_j - C_ij, P a proximal centre and w = s + sigma P_ij, the plan is
//   t_ij = min((w - theta_j)+ / sigma, w+ / (reg + sigma)),
// where theta_j >= 0 solves sum_i clip((w/theta_j - 1) reg/sigma, 0, 1) = k, or is 0 where at most k entries are
// positive. t is the gradient of the Moreau envelope of (1/2 reg) sum of the k largest [s]+^2, a function that is not
// differentiable where the k-th and the next largest tie (its conjugate is reg/2 times the squared k-support norm of
// nonnegative vectors; Argyriou, Foygel, Srebro 2012). sigma = 0 with k unbounded is quadratic transport. beta is
// eliminated: every line sums to b_j. The gradient in alpha is a - sum_j t_ij.
//
// Potentials are relative to the base at which the candidates were taken, and costs are the negative slacks there, so
// that a small reg loses no digits to large costs.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "core/array.hpp"
#include "sparse/backend.hpp"

namespace ot {

struct LineProblem {
  static constexpr index kUnbounded = std::numeric_limits<index>::max();

  index lines = 0, others = 0;
  const double* a = nullptr;  // (others) masses
  const double* b = nullptr;  // (lines) masses
  index k = kUnbounded;       // entries a line
  double reg = 1;
};

// Entries line by line; those of a line by their other.
struct EntryList {
  Array<index> begin;       // (lines + 1)
  Array<std::int32_t> idx;  // the other
  Array<double> cost;

  index size() const { return idx.size(); }
  Indices of_line(index j) const { return {begin[j], begin[j + 1]}; }
};

struct LineIterate {
  Array<double> alpha;        // (others)
  Array<double> beta, theta;  // (lines)
  Array<double> t;            // by entry
};

struct Prox {
  double sigma = 0;      // 0: no proximal term
  Array<double> centre;  // by entry; none: zeros
};

// The positive entries of the last evaluation, laid out as LineView says.
struct LineSupport {
  Array<index> tied_begin, above_begin, above_end;  // (lines)
  Array<std::int32_t> idx;
  Array<double> t;

  index size(index j) const { return above_end[j] - tied_begin[j]; }
};

struct LineResidual {
  Array<double> gradient;  // (others) a - row sums of t
  double error = 1;        // its L1 norm
};

// Which entries are candidates: those of slack > level_j - margin, at the base.
struct Window {
  Array<double> level;  // (lines)
  double margin = 0;
};

// Potentials and edges (LineDual::edge) that later ones are compared to, relative to the base.
struct Mark {
  Array<double> alpha, edge;
};

struct LineDual {
  LineProblem problem;
  EntryList entries;
  Window window;
  Prox prox;
  LineIterate at;
  LineSupport support;
  LineResidual residual;
  Mark mark;  // of the last proximal step

  explicit LineDual(const LineProblem& of) : problem(of) {
    entries.begin.assign(of.lines + 1, 0);
    for (Array<double>* v : {&at.alpha, &residual.gradient, &mark.alpha}) v->assign(of.others, 0);
    for (Array<double>* v : {&at.beta, &at.theta, &window.level, &mark.edge}) v->assign(of.lines, 0);
    for (Array<index>* v : {&support.tied_begin, &support.above_begin, &support.above_end}) v->assign(of.lines, 0);
  }

  double slack(index j, index e) const { return at.alpha[entries.idx[e]] + at.beta[j] - entries.cost[e]; }

  // The slack above which an entry enters line j: theta_j, or where nothing ties the largest theta of the same plan,
  // reg/(reg + sigma) times the k-th w; 0 where fewer than k entries are positive. Rounding can leave an entry at a
  // tie that does not exist: k others are above it then.
  double level(index j) const {
    if (support.size(j) < problem.k) return 0;
    const index above = support.above_begin[j], end = support.above_end[j];
    if (end - above < problem.k) return at.theta[j];
    return problem.reg * *std::min_element(support.t.begin() + above, support.t.begin() + end);
  }
  // beta_j - level_j: an entry enters where alpha_i exceeds C_ij - edge_j.
  double edge(index j) const { return at.beta[j] - level(j); }

  // How far potentials have risen, and levels fallen, since the candidates were taken. While this is at most the
  // margin, no other entry can be in the plan.
  double rise() const {
    double most = -INFINITY;
    for (index j = 0; j < problem.lines; ++j) most = std::max(most, edge(j) + window.level[j]);
    return largest(at.alpha) + most;
  }

  index active() const {
    index count = 0;
    for (const double v : at.t) count += v > 0;
    return count;
  }

  static double largest(const Array<double>& v) {
    double most = -INFINITY;
    for (const double d : v) most = std::max(most, d);
    return most;
  }
};

// The plan at alpha and its residual, by the kernels of a backend. Holds their scratch, so that one evaluator serves
// several duals.
template <LineOperations B>
class LineEvaluator {
 public:
  explicit LineEvaluator(B& be) : be_(be) {}
  B& backend() { return be_; }

  // beta, theta, t and the residual at alpha.
  const LineResidual& evaluate(LineDual& dual) {
    set_costs(dual);
    differentiate(dual);
    write_entries(dual);
    return dual.residual;
  }

  // Costs less sigma times the centre. Called before `differentiate` where any of the three has changed.
  void set_costs(const LineDual& dual) {
    shifted_.clear();
    if (!(dual.prox.sigma > 0) || dual.prox.centre.empty()) return;
    shifted_.resize(dual.entries.size());
    for (index e = 0; e < shifted_.size(); ++e)
      shifted_[e] = dual.entries.cost[e] - dual.prox.sigma * dual.prox.centre[e];
  }

  // beta, theta, the support and the residual at alpha: all but t.
  const LineResidual& differentiate(LineDual& dual) {
    const LineProblem& p = dual.problem;
    LineResidual& to = dual.residual;
    sums_.resize(p.others);
    be_.lines(view(dual), sums_.data());
    to.error = 0;
    for (index i = 0; i < p.others; ++i) {
      to.gradient[i] = p.a[i] > 0 ? p.a[i] - sums_[i] : 0.0;
      to.error += std::fabs(to.gradient[i]);
    }
    return to;
  }

  void write_entries(LineDual& dual) { be_.line_entries(view(dual)); }

  LineView view(LineDual& dual) {
    const LineProblem& p = dual.problem;
    const index places = dual.entries.size() + LineView::kPad * p.lines;
    slack_.resize(places);
    dual.support.idx.resize(places);
    dual.support.t.resize(places);
    return {.lines = p.lines,
            .others = p.others,
            .k = p.k,
            .reg = p.reg,
            .sigma = dual.prox.sigma,
            .begin = dual.entries.begin.data(),
            .idx = dual.entries.idx.data(),
            .cost = shifted_.empty() ? dual.entries.cost.data() : shifted_.data(),
            .b = p.b,
            .alpha = dual.at.alpha.data(),
            .beta = dual.at.beta.data(),
            .theta = dual.at.theta.data(),
            .t = dual.at.t.data(),
            .tied_begin = dual.support.tied_begin.data(),
            .above_begin = dual.support.above_begin.data(),
            .above_end = dual.support.above_end.data(),
            .support = dual.support.idx.data(),
            .support_t = dual.support.t.data(),
            .slack = slack_.data()};
  }

 private:
  B& be_;
  Array<double> shifted_, slack_, sums_;
};

}  // namespace ot
