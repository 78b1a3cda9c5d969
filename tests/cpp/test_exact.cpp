// The pieces of exact transport on their own.
#include <algorithm>
#include <random>

#include "entropic/solvers-inl.hpp"
#include "exact/solvers-inl.hpp"
#include "instances.hpp"

namespace ot {
namespace {

using Simplex = NetworkSimplexOf<std::int64_t>;

bool never() { return false; }

template <class T>
void check_nearest(const Spec& spec) {
  const Instance<T> p(spec);
  const Geometry& geo = p.template on<cpu::Backend>();
  cpu::Backend be(2);
  const index n = p.n, m = p.m;
  std::vector<T> cost(size(n * m));
  be.cost_rows(geo, cost.data(), m);
  Vector f(size(n)), g(size(m));
  for (index i = 0; i < n; ++i) f[size(i)] = p.a[size(i)] > 0 ? p.reg * p.phi[size(i)] : -kInf;
  for (index j = 0; j < m; ++j) g[size(j)] = p.b[size(j)] > 0 ? p.reg * p.psi[size(j)] : -kInf;
  for (const bool rows : {true, false})
    for (const index k : {index{1}, std::min<index>(4, rows ? m : n)})
      for (const double below : {kInf, 0.1 * p.reg}) {
        CAPTURE(rows);
        CAPTURE(k);
        CAPTURE(below);
        NearestPairs got;
        const NearestQuery query{.f = f.data(), .g = g.data(), .k = k, .below = below};
        if (rows) be.nearest_in_rows(geo, query, got);
        else be.nearest_in_columns(geo, query, got);
        index wrong = 0;
        for (index l = 0; l < (rows ? n : m); ++l) {
          Vector all;
          const auto reduced = [&](index other) {
            const index i = rows ? l : other, j = rows ? other : l;
            return (static_cast<double>(cost[size(i * m + j)]) - geo.shift - g[size(j)]) - f[size(i)];
          };
          double least = kInf;
          for (index o = 0; o < (rows ? m : n); ++o) {
            const double r = reduced(o);
            least = std::min(least, r);
            if (r < below) all.push_back(r);
          }
          std::sort(all.begin(), all.end());
          wrong += !(got.least[l] == least);
          for (index q = 0; q < k; ++q) {
            const index o = got.idx[l * k + q];
            if (q >= static_cast<index>(all.size())) wrong += o >= 0;
            else wrong += o < 0 || reduced(o) != all[size(q)];
          }
        }
        CHECK(wrong == 0);
      }
}

}  // namespace

TEST_CASE("the pairs of least reduced cost of every row and column") {
  for (const Spec& spec : all_specs()) {
    CAPTURE(spec);
    check_nearest<double>(spec);
    check_nearest<float>(spec);
  }
}

TEST_CASE("costs of single pairs are those of the passes") {
  for (const Spec& spec : all_specs()) {
    CAPTURE(spec);
    const Instance<double> p(spec);
    const Geometry& geo = p.on<cpu::Backend>();
    cpu::Backend be(1);
    std::vector<double> cost(size(p.n * p.m)), got(size(p.n * p.m));
    be.cost_rows(geo, cost.data(), p.m);
    std::vector<std::int32_t> rows, columns;
    for (index e = 0; e < p.n * p.m; ++e) {
      rows.push_back(static_cast<std::int32_t>(e / p.m));
      columns.push_back(static_cast<std::int32_t>(e % p.m));
    }
    be.pair_costs(geo, rows.data(), columns.data(), p.n * p.m, got.data());
    for (double& c : cost) c -= geo.shift;
    CHECK(got == cost);
  }
}

TEST_CASE("masses as integers have equal sums and keep integers") {
  const std::vector<double> a{3, 0, 5e-20, 4}, b{6, 1, 1e-30};
  const MassUnits units(a.data(), 4, b.data(), 3);
  std::int64_t left = 0;
  for (const auto u : units.rows) left += u;
  for (const auto u : units.columns) left -= u;
  CHECK(left == 0);
  CHECK(units.mass(units.rows[0]) == 3);
  CHECK(units.rows[1] == 0);
  CHECK(units.rows[2] == 1);
  CHECK(units.columns[2] == 1);
}

TEST_CASE("a simplex on integers goes on from its own tree, and from it at other masses") {
  std::mt19937 random(5);
  std::uniform_int_distribution<std::int64_t> mass(0, 5), cost(0, 9);
  for (index trial = 0; trial < 200; ++trial) {
    const index n = 1 + trial % 9, m = 1 + trial % 7;
    Array<std::int64_t> a(n), b(m, 0);
    std::int64_t total = 0;
    for (auto& v : a) total += v = mass(random) + 1;
    for (std::int64_t k = 0; k < total; ++k) ++b[static_cast<index>(random() % static_cast<unsigned>(m))];
    Array<Simplex::Arc> arcs;
    for (index i = 0; i < n; ++i)
      for (index j = 0; j < m; ++j)
        if (b[j] > 0)
          arcs.push_back(
              {static_cast<std::int32_t>(i), static_cast<std::int32_t>(j), static_cast<double>(cost(random))});
    const auto value = [](const Simplex& s) {
      double sum = 0;
      const auto plan = s.plan();
      CHECK(plan.lack == 0);
      for (index e = 0; e < plan.flow.size(); ++e) sum += static_cast<double>(plan.flow[e]) * s.arcs[e].cost;
      return sum;
    };
    const auto tree_of = [](const Simplex& s) {
      Array<index> forest;
      for (index v = 0; v < s.tree().root(); ++v)
        if (s.tree()[v].arc >= 0) forest.push_back(s.tree()[v].arc);
      return forest;
    };
    Simplex simplex({.rows = n, .columns = m, .a = a.data(), .b = b.data()}, arcs);
    simplex.start_on({}, arcs.size());
    REQUIRE(simplex.run(1000, 100000, never) == Pivoting::optimal);
    const double best = value(simplex);
    double dual = 0;
    for (index i = 0; i < n; ++i) dual += static_cast<double>(a[i]) * simplex.potential()[i];
    for (index j = 0; j < m; ++j)
      if (b[j] > 0) dual += static_cast<double>(b[j]) * simplex.potential()[n + j];
    CHECK(dual == best);
    for (const auto& arc : simplex.arcs)
      CHECK(arc.cost >= simplex.potential()[arc.row] + simplex.potential()[n + arc.col]);

    Simplex again({.rows = n, .columns = m, .a = a.data(), .b = b.data()}, arcs);
    again.start_on(tree_of(simplex), 0);
    CHECK(value(again) == best);

    Array<std::int64_t> other = a;  // one unit moves
    ++other[0];
    --other[n - 1];
    Simplex moved({.rows = n, .columns = m, .a = other.data(), .b = b.data()}, arcs);
    moved.start_on(tree_of(simplex), arcs.size());
    REQUIRE(moved.run(1000, 100000, never) == Pivoting::optimal);
    Simplex fresh({.rows = n, .columns = m, .a = other.data(), .b = b.data()}, arcs);
    fresh.start_on({}, arcs.size());
    REQUIRE(fresh.run(1000, 100000, never) == Pivoting::optimal);
    CHECK(value(moved) == value(fresh));
  }
}

TEST_CASE("entropic potentials are approached loosely, and exact transport is proved from them") {
  const Instance<double> p(cloud(200, 150, Cost::sqeuclidean, 2));
  const Problem problem{
      .geo = p.on<cpu::Backend>(), .a = p.a.data(), .b = p.b.data(), .reg = 0.01 * p.range, .range = p.range};
  cpu::Backend be(2);
  Vector phi(size(p.n), kNaN), psi(size(p.m), 0.0), f(size(p.n)), g(size(p.m));
  const SinkhornOptions options{.limits = {.tol = 0.1, .max_iter = 200}};
  const EntropicOutcome near =
      EntropicSolvers<cpu::Backend>::approach(be, problem, options, {}, {.rows = phi.data(), .columns = psi.data()});
  CHECK(near.error <= 0.1);
  CHECK(near.n_iter < 60);
  const ExactSolution found = ExactSolvers<cpu::Backend>::transport(
      be, problem, {.limits = {.tol = 0, .max_iter = 1 << 20}}, {}, {.rows = f.data(), .columns = g.data()});
  CHECK(found.proved);
  CHECK(found.value == doctest::Approx(found.dual).epsilon(1e-13));
  // The same pairs as a list.
  std::vector<double> cost(size(p.n * p.m));
  be.cost_rows(problem.geo, cost.data(), p.m);
  std::vector<index> begin;
  std::vector<std::int32_t> column;
  for (index i = 0; i <= p.n; ++i) begin.push_back(i * p.m);
  for (index e = 0; e < p.n * p.m; ++e) column.push_back(static_cast<std::int32_t>(e % p.m));
  const PairList pairs{.n = p.n, .m = p.m, .begin = begin.data(), .column = column.data(), .cost = cost.data()};
  const ExactSolution listed =
      ExactSolvers<cpu::Backend>::listed(pairs, p.a.data(), p.b.data(), {.limits = {.tol = 0, .max_iter = 1 << 20}}, {},
                                         {.rows = f.data(), .columns = g.data()});
  CHECK(listed.proved);
  CHECK(listed.value == doctest::Approx(found.value).epsilon(1e-13));
  CHECK(near.dual <= found.value * (1 + 1e-6) + problem.reg * std::log(200.0));
}

}  // namespace ot
