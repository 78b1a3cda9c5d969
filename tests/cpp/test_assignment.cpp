// Assignments against all permutations, and by the potentials that prove them.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "assignment/constants.hpp"
#include "assignment/solvers.hpp"
#include "cpu/backend.hpp"

namespace ot {
namespace {

template <class T>
Geometry geometry_of(const Array<T>& C, index n, index m) {
  return {.dtype = sizeof(T) == 8 ? DType::f64 : DType::f32, .n = n, .m = m, .C = C.data(), .ld = m};
}

template <class T>
AssignmentResult proved(const Array<T>& C, index n, index m) {
  cpu::Backend be(1);
  AssignmentResult r = AssignmentSolvers<cpu::Backend>::assign(be, geometry_of(C, n, m));
  REQUIRE(r.stuck.empty());
  Array<index> row(m, -1);
  const auto rounding = [&](double c, index i, index j) {
    return assignment::kTight * (std::abs(c) + std::abs(r.f[i]) + std::abs(r.g[j]));
  };
  for (index i = 0; i < n; ++i) {
    const index j = r.column[i];
    REQUIRE(row[j] == -1);
    row[j] = i;
    const double c = C[i * m + j];
    CHECK(c - r.f[i] - r.g[j] <= rounding(c, i, j));
    for (index k = 0; k < m; ++k) {
      const double other = C[i * m + k];
      if (!std::isinf(other)) CHECK(other - r.f[i] - r.g[k] >= -rounding(other, i, k));
    }
  }
  for (index j = 0; j < m; ++j)
    if (n < m) CHECK((row[j] == -1 ? r.g[j] == 0 : r.g[j] <= 0));
  return r;
}

template <class T>
double sum_of(const Array<T>& C, index m, const Array<index>& column) {
  double sum = 0;
  for (index i = 0; i < column.size(); ++i) sum += C[i * m + column[i]];
  return sum;
}

}  // namespace

TEST_CASE_TEMPLATE("an assignment is the best of all permutations", T, float, double) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    const index m = 1 + trial % 6, n = 1 + static_cast<index>(random()) % m;
    Array<T> C(n * m);
    for (T& c : C) c = static_cast<T>(random() % 7) - (trial % 3 ? 0 : 3);
    Array<index> order(m);
    std::iota(order.begin(), order.end(), index{0});
    double least = INFINITY;
    do {
      Array<index> first;
      first.assign(order.begin(), order.begin() + n);
      least = std::min(least, sum_of(C, m, first));
    } while (std::next_permutation(order.begin(), order.end()));
    CHECK(sum_of(C, m, proved(C, n, m).column) == least);
  }
}

TEST_CASE("potentials prove assignments of clouds, by an auction, and of random costs, without one") {
  std::mt19937 random(2);
  std::normal_distribution<double> normal;
  const index n = 200;
  Array<double> x(2 * n), y(2 * n), cloud(n * n), noise(n * n), wide(n * (n + 50));
  for (index k = 0; k < 2 * n; ++k) x[k] = normal(random), y[k] = normal(random) + 1;
  for (index i = 0; i < n; ++i)
    for (index j = 0; j < n; ++j)
      cloud[i * n + j] = std::pow(x[2 * i] - y[2 * j], 2) + std::pow(x[2 * i + 1] - y[2 * j + 1], 2);
  for (double& c : noise) c = std::abs(normal(random));
  for (double& c : wide) c = normal(random);
  CHECK(proved(cloud, n, n).auctioned);
  CHECK(!proved(noise, n, n).auctioned);
  CHECK(!proved(wide, n, n + 50).auctioned);
}

TEST_CASE("rows that share too few columns are named") {
  const double inf = INFINITY;
  Array<double> C(9, 1.0);
  for (const index k : {0, 2, 3, 5}) C[k] = inf;  // rows 0 and 1 have column 1 only
  cpu::Backend be(1);
  AssignmentResult r = AssignmentSolvers<cpu::Backend>::assign(be, geometry_of(C, 3, 3));
  std::sort(r.stuck.begin(), r.stuck.end());
  REQUIRE(r.stuck.size() == 2);
  CHECK(r.stuck[0] == 0);
  CHECK(r.stuck[1] == 1);
}

}  // namespace ot
