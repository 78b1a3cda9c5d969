// Transport in one dimension against plain loops in long double, and the sorting that it rests on.
#include <doctest/doctest.h>

#include <limits>
#include <numeric>
#include <random>

#include "algorithms/radix_sort.hpp"
#include "core/array.hpp"
#include "cpu/backend.hpp"
#include "one_dimension/solvers.hpp"

namespace ot {
namespace {

constexpr double kPeriod = 1.3;

// Points with ties in rows of a batch, and weights of sum 1 of which some are zero.
struct Rows {
  Array<double> points, weights;
  Measures measures;

  Rows(index batch, index size, std::mt19937& random) : points(batch * size), weights(batch * size) {
    std::uniform_real_distribution<double> uniform;
    for (index row = 0; row < batch; ++row) {
      double* w = weights.data() + row * size;
      for (index k = 0; k < size; ++k) {
        points[row * size + k] = std::floor(20 * uniform(random)) / 16 - 0.5;
        w[k] = k == 0 || uniform(random) < 0.8 ? uniform(random) + 1e-3 : 0;
      }
      const double sum = std::accumulate(w, w + size, 0.0);
      for (index k = 0; k < size; ++k) w[k] /= sum;
    }
    measures = {
        .points = points.data(), .size = size, .stride = size, .weights = weights.data(), .weight_stride = size};
  }
};

// <C,P> of the coupling in order.
long double staircase(Array<std::pair<double, double>> x, Array<std::pair<double, double>> y, double p) {
  long double sum = 0;
  std::sort(x.begin(), x.end());
  std::sort(y.begin(), y.end());
  for (index i = 0, j = 0; i < x.size() && j < y.size();) {
    const double t = std::min(x[i].second, y[j].second);
    sum += t * std::pow(std::abs(static_cast<long double>(x[i].first) - y[j].first), static_cast<long double>(p));
    x[i].second -= t;
    y[j].second -= t;
    if (x[i].second <= 0) ++i;
    else ++j;
  }
  return sum;
}

Array<std::pair<double, double>> row_of(const Rows& rows, index row) {
  Array<std::pair<double, double>> out;
  const index n = rows.measures.size;
  for (index k = 0; k < n; ++k) out.emplace_back(rows.points[row * n + k], rows.weights[row * n + k]);
  return out;
}

}  // namespace

TEST_CASE_TEMPLATE("radix sort", T, float, double) {
  std::mt19937 random(1);
  std::normal_distribution<T> normal;
  for (const index n : {index{1}, kLeastRadix - 1, kLeastRadix, index{1000}, index{5000}}) {
    Array<T> values(n);
    for (index k = 0; k < n; ++k) values[k] = k % 5 ? normal(random) : std::floor(normal(random));
    values[0] = -std::numeric_limits<T>::max();
    Array<PlacedKey<T>> items(n), spare(n);
    for (index k = 0; k < n; ++k) items[k] = {SortKey<T>::of(values[k]), static_cast<std::uint32_t>(k)};
    const PlacedKey<T>* sorted = radix_sort(items.data(), spare.data(), n);
    for (index k = 0; k < n; ++k) {
      CHECK(SortKey<T>::number(sorted[k].key) == values[sorted[k].place]);
      if (k) CHECK(sorted[k - 1] < sorted[k]);  // stable: equal numbers stay in order
    }
  }
}

TEST_CASE("distances on the line, the same bits for any number of threads") {
  std::mt19937 random(2);
  constexpr index batch = 40;
  for (const auto& [n, m] : {std::pair<index, index>{1, 1}, {7, 5}, {300, 200}}) {
    const Rows x(batch, n, random), y(batch, m, random);
    for (const double p : {1.0, 2.0, 2.5}) {
      Array<double> one(batch), three(batch);
      cpu::Backend alone(1), threaded(3);
      OneDimensionSolvers<cpu::Backend>::distances(alone, x.measures, y.measures, batch, {.p = p},
                                                   {.distance = one.data()});
      OneDimensionSolvers<cpu::Backend>::distances(threaded, x.measures, y.measures, batch, {.p = p},
                                                   {.distance = three.data()});
      for (index row = 0; row < batch; ++row) {
        CHECK(one[row] == three[row]);
        const auto want = staircase(row_of(x, row), row_of(y, row), p);
        CHECK(std::pow(one[row], p) == doctest::Approx(static_cast<double>(want)).epsilon(1e-12));
      }
    }
  }
}

TEST_CASE("plans carry the marginals, and on a circle the distance along shorter arcs") {
  std::mt19937 random(3);
  cpu::Backend be(2);
  for (index trial = 0; trial < 50; ++trial) {
    const index n = 1 + trial % 9, m = 1 + trial % 7;
    const Rows x(1, n, random), y(1, m, random);
    for (const double period : {0.0, kPeriod}) {
      const OneDimensionOptions options{.p = 2, .period = period};
      Array<index> begin(n + 1);
      Array<std::int32_t> column(n + m - 1);
      Array<double> mass(n + m - 1), distance(1);
      OneDimensionSolvers<cpu::Backend>::plan(be, x.measures, y.measures, options,
                                              {begin.data(), column.data(), mass.data()});
      OneDimensionSolvers<cpu::Backend>::distances(be, x.measures, y.measures, 1, options,
                                                   {.distance = distance.data()});
      Array<double> a = x.weights, b = y.weights;
      double cost = 0;
      for (index i = 0; i < n; ++i)
        for (index e = begin[i]; e < begin[i + 1]; ++e) {
          a[i] -= mass[e];
          b[column[e]] -= mass[e];
          double d = std::abs(x.points[i] - y.points[column[e]]);
          if (period > 0) d = std::min(d, period - d);
          cost += mass[e] * d * d;
        }
      for (const double rest : a) CHECK(std::abs(rest) < 1e-15);
      for (const double rest : b) CHECK(std::abs(rest) < 1e-15);
      CHECK(distance[0] * distance[0] == doctest::Approx(cost).epsilon(1e-12));
    }
  }
}

}  // namespace ot
