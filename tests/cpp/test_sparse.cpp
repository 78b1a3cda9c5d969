// The pieces of the sparse family on their own.
#include <doctest/doctest.h>

#include <limits>
#include <random>

#include "cpu/backend.hpp"
#include "sparse/ascent.hpp"
#include "sparse/candidate_list.hpp"
#include "sparse/dual_value.hpp"
#include "sparse/problem.hpp"
#include "sparse/simplex.hpp"
#include "sparse/vertex_search.hpp"

namespace ot {
namespace {

// Every pair of `others` x `lines` is a candidate, with costs in [0, 1) or in {0, 1, 2}.
struct Dense {
  Array<double> a, b;
  LineDual dual;

  Dense(index others, index lines, unsigned seed, bool ties = false)
      : a(others, 1.0 / static_cast<double>(others)), b(lines, 1.0 / static_cast<double>(lines)), dual({}) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> uniform;
    dual = LineDual({.lines = lines, .others = others, .a = a.data(), .b = b.data(), .reg = 0.1});
    for (index j = 0; j < lines; ++j) {
      for (index i = 0; i < others; ++i) {
        dual.entries.idx.push_back(static_cast<std::int32_t>(i));
        dual.entries.cost.push_back(ties ? std::floor(3 * uniform(random)) : uniform(random));
      }
      dual.entries.begin[j + 1] = dual.entries.size();
    }
    dual.at.t.assign(dual.entries.size(), 0.0);
  }

  void take(const Array<double>& flow) {
    dual.at.t = flow;
    measure_plan(dual);
  }
};

bool never() { return false; }

double cost_of(const LineDual& dual, const Array<double>& flow) {
  double sum = 0;
  for (index e = 0; e < flow.size(); ++e) sum += dual.entries.cost[e] * flow[e];
  return sum;
}

}  // namespace

TEST_CASE("the network simplex ends where its potentials prove the plan") {
  for (const bool ties : {false, true})
    for (const auto& shape : {std::pair<index, index>{1, 1}, {7, 5}, {30, 41}}) {
      const index others = shape.first, lines = shape.second;
      CAPTURE(ties);
      CAPTURE(lines);
      Dense p(others, lines, 3, ties);
      NetworkSimplex simplex = simplex_on(p.dual);
      simplex.start(p.dual.at.t);  // from nothing
      const FlowPlan plan = simplex.solve(never);
      CHECK(plan.lack == 0);
      p.take(plan.flow);
      CHECK(p.dual.residual.error < 1e-14);
      index positive = 0;
      for (const double v : plan.flow) positive += v > 0;
      CHECK(positive < others + lines);
      Array<double> f(others), g(lines);
      simplex.potentials(f.data(), g.data());
      double dual = 0;
      for (index i = 0; i < others; ++i) dual += p.a[i] * f[i];
      for (index j = 0; j < lines; ++j) dual += p.b[j] * g[j];
      for (index j = 0; j < lines; ++j)
        for (const index e : p.dual.entries.of_line(j))
          CHECK(f[p.dual.entries.idx[e]] + g[j] <= p.dual.entries.cost[e] + 1e-9);
      const double cost = cost_of(p.dual, plan.flow);
      CHECK(dual == doctest::Approx(cost));

      // From the forest of another plan, and from the last tree at other costs.
      Forest forest;
      for (index e = 0; e < plan.flow.size(); ++e)
        if (plan.flow[e] > 0) forest.push_back({e, plan.flow[e]});
      NetworkSimplex again = simplex_on(p.dual);
      again.start_from(forest);
      CHECK(cost_of(p.dual, again.plan().flow) == doctest::Approx(cost));
      for (auto& arc : again.arcs) arc.cost = -arc.cost;
      CHECK(cost_of(p.dual, again.solve(never).flow) >= cost - 1e-12);
    }
}

TEST_CASE("the network simplex says what its arcs cannot carry") {
  Dense p(2, 2, 1);
  NetworkSimplex simplex = simplex_on(p.dual);
  for (auto& arc : simplex.arcs)
    if (arc.row == 0) arc.cost = INFINITY;
  simplex.start(p.dual.at.t);
  CHECK(simplex.solve(never).lack == doctest::Approx(0.5));
}

TEST_CASE("vertices found have at most k entries a column, and none is found where there is none") {
  for (const index k : {1, 2, 3}) {
    CAPTURE(k);
    Dense p(9, 6, 11);
    NetworkSimplex simplex = simplex_on(p.dual);
    simplex.start(p.dual.at.t);
    simplex.solve(never);
    VertexSearch search(std::move(simplex), {p.dual.entries.begin}, k, p.dual.problem.reg);
    const std::optional<Array<double>> flow = search.search(never);
    CHECK(flow.has_value() == (k > 1));  // 6 entries cannot fill 9 rows
    if (!flow) continue;
    p.take(*flow);
    CHECK(p.dual.residual.error < 1e-12);
    for (index j = 0; j < 6; ++j) {
      index count = 0;
      for (const index e : p.dual.entries.of_line(j)) count += (*flow)[e] > 0;
      CHECK(count <= k);
    }
  }
}

TEST_CASE("the dual is below the semi-dual, and both meet the plan where Newton's method ends") {
  cpu::Backend be(1);
  LineEvaluator<cpu::Backend> evaluator(be);
  NewtonAscent<cpu::Backend> newton(evaluator);
  Dense p(20, 15, 5);
  LineDual& dual = p.dual;
  evaluator.evaluate(dual);
  const double first = dual_value(dual, Beta::maximising).value;
  for (double& beta : dual.at.beta) beta -= 0.01;
  CHECK(dual_value(dual, Beta::given).value < first);
  const AscentResult result = newton.maximise(dual, {.tol = 1e-13, .steps = 200, .clip = 1}, never);
  CHECK(result.within_reach);
  CHECK(result.first_error > 0.1);
  CHECK(dual.residual.error <= 1e-13);
  double square = 0;
  for (const double t : dual.at.t) square += t * t;
  const double primal = cost_of(dual, dual.at.t) + 0.5 * dual.problem.reg * square;
  CHECK(dual_value(dual, Beta::given).value == doctest::Approx(primal).epsilon(1e-10));
  CHECK(dual_value(dual, Beta::maximising).value == doctest::Approx(primal).epsilon(1e-10));

  // Thinned to what is in the plan or near it, it is the same problem at the potentials reached.
  const double value = dual_value(dual, Beta::given).value;
  double base = 0;
  for (index i = 0; i < 20; ++i) base += p.a[i] * dual.at.alpha[i];
  for (index j = 0; j < 15; ++j) base += p.b[j] * dual.at.beta[j];
  const index all = dual.entries.size(), within = count_within(dual, 0.05, 1);
  keep_within(dual, 0.05);
  CHECK(dual.entries.size() == within);
  CHECK(within < all);
  CHECK(dual.prox.centre.size() == within);
  CHECK(LineDual::largest(dual.at.alpha) == 0);
  CHECK(base + dual_value(dual, Beta::given).value == doctest::Approx(value).epsilon(1e-12));
  CHECK(evaluator.evaluate(dual).error < 1e-12);
}

TEST_CASE("a step that leaves its reach is drawn back") {
  cpu::Backend be(1);
  LineEvaluator<cpu::Backend> evaluator(be);
  NewtonAscent<cpu::Backend> newton(evaluator);
  Dense p(20, 15, 5);
  newton.maximise(p.dual, {.tol = 1e-13, .steps = 200, .clip = 1}, never);
  keep_within(p.dual, INFINITY);
  evaluator.evaluate(p.dual);
  for (index j = 0; j < 15; ++j) p.dual.window.level[j] = p.dual.level(j);
  CHECK(std::fabs(p.dual.rise()) < 1e-12);
  p.a[0] += 0.04;  // other masses: the potentials must move
  p.a[1] -= 0.04;
  const double reach = 1e-3;
  const AscentResult result =
      newton.maximise(p.dual, {.tol = 0, .steps = 200, .clip = 1, .reach = reach, .overshoot = 2}, never);
  CHECK_FALSE(result.within_reach);
  CHECK(p.dual.rise() > 0);
  CHECK(p.dual.rise() <= 2 * reach);
}

}  // namespace ot
