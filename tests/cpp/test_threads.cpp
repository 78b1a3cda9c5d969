// The thread pool: results that do not depend on the number of threads, many callers at once, use after fork.
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "entropic/sinkhorn.hpp"
#include "instances.hpp"

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadSanitizer = true;  // it cannot start threads after a fork
#else
inline constexpr bool kThreadSanitizer = false;
#endif

namespace ot {
namespace {

// The results of every operation that a backend divides among threads, in one vector.
template <class T>
Vector everything(const Instance<T>& p, int threads) {
  cpu::Backend be(threads);
  const Geometry& geo = p.template on<cpu::Backend>();
  Vector all;
  const auto add = [&](const Vector& v) { all.insert(all.end(), v.begin(), v.end()); };
  for (const Precision precision : {Precision::f32, Precision::f64}) {
    Vector phi = p.phi, row(size(p.n)), col(size(p.m));
    Pass pass = p.pass(phi.data(), true, precision);
    pass.row = row.data();
    pass.col = col.data();
    Kept kept{.threshold = 1e-3};
    be.pass(geo, pass, kept);
    add(phi);
    add(row);
    add(col);
    for (index i = 0; i < p.n; ++i) add(Vector(kept.val + kept.begin[i], kept.val + kept.end[i]));
    cpu::Backend::Kernel K;
    be.build_kernel(geo, p.reg, phi.data(), p.psi.data(), precision, K);
    KernelPass step;
    step.q = p.b.data();
    step.target = p.a.data();
    step.a = p.a.data();
    step.u = phi.data();
    step.row = row.data();
    step.col = col.data();
    be.kernel_pass(K, step);
    add(phi);
    add(row);
    add(col);
  }
  Vector phi = p.phi, row(size(p.n)), col(size(p.m));
  be.c_transform(geo, p.psi.data(), row.data(), p.a.data(), col.data());
  add(row);
  add(col);
  be.cost_apply(geo, p.psi.data(), row.data());
  add(row);
  for (const bool columns : {false, true}) {
    Vector out(size(columns ? p.m : p.n));
    be.apply_plan(geo, p.pass(phi.data(), false), columns ? p.a.data() : p.b.data(), 1, columns, out.data());
    add(out);
  }
  const index n = 50000;
  Vector x(size(n), 0.0), y(size(n), 0.0), dots(4);
  be.for_each(n, [&](index i) { x[size(i)] = std::sin(static_cast<double>(i)); });
  be.exp(n, x.data(), y.data());
  be.dots(n, x.data(), y.data(), std::array<const double*, 4>{x.data(), y.data()}, 2, dots.data());
  add(dots);
  const auto sums = be.sums<2>(n, [&](index i, double* s) {
    s[0] += x[size(i)];
    s[1] += y[size(i)];
  });
  add(Vector{sums[0], sums[1]});
  return all;
}

bool same_bits(const Vector& x, const Vector& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(double)) == 0;
}

}  // namespace

TEST_CASE_TEMPLATE("results are the same to the last bit for any number of threads", T, float, double) {
  for (const Spec& spec :
       {Spec{.n = 1025, .m = 481, .pad = 1}, cloud(300, 65, Cost::sqeuclidean, 8), cloud(65, 97, Cost::euclidean, 3)}) {
    CAPTURE(spec);
    const Instance<T> p(spec);
    const Vector want = everything(p, 1);
    for (const int threads : {2, 3, 5}) {
      CAPTURE(threads);
      CHECK(same_bits(everything(p, threads), want));
    }
  }
}

TEST_CASE("many callers share the pool") {
  const Instance<double> p({.n = 300, .m = 130});
  const Vector want = everything(p, 1);
  std::array<std::atomic<bool>, 8> same{};
  std::vector<std::thread> callers;
  for (auto& ok : same)
    callers.emplace_back([&] {
      bool all = true;
      for (int k = 0; k < 5; ++k) all = all && same_bits(everything(p, 3), want);
      ok = all;
    });
  for (auto& caller : callers) caller.join();
  for (const auto& ok : same) CHECK(ok.load());
}

TEST_CASE("every index is visited once, whatever the number of threads asked for") {
  for (const int threads : {0, 1, 2, 3, 500})
    for (const index count : {0, 1, 2, 3, 64, 1000}) {
      std::vector<std::atomic<int>> visits(size(count));
      cpu::ThreadPool::instance().run(count, threads, [&](index k) { ++visits[size(k)]; });
      for (const auto& v : visits) REQUIRE(v.load() == 1);
    }
}

TEST_CASE("a pool called from inside the pool runs on the caller") {
  std::vector<std::atomic<int>> visits(64);
  auto& pool = cpu::ThreadPool::instance();
  pool.run(8, 3, [&](index i) { pool.run(8, 3, [&](index j) { ++visits[size(8 * i + j)]; }); });
  for (const auto& v : visits) CHECK(v.load() == 1);
}

TEST_CASE("a forked child computes the same" * doctest::skip(kThreadSanitizer)) {
  const Instance<double> p({.n = 300, .m = 130});
  const Vector want = everything(p, 3);
  for (int k = 0; k < 5; ++k) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      alarm(60);
      _exit(same_bits(everything(p, 3), want) ? 0 : 1);
    }
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK(same_bits(everything(p, 3), want));
  }
}

TEST_CASE("a child forked while the pool is busy computes the same" * doctest::skip(kThreadSanitizer)) {
  const Instance<double> p({.n = 300, .m = 130});
  const Vector want = everything(p, 1);
  std::atomic<bool> done{false};
  std::thread busy([&] {
    while (!done) cpu::ThreadPool::instance().run(64, 3, [&](index) { std::this_thread::yield(); });
  });
  for (int k = 0; k < 5; ++k) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      _exit(same_bits(everything(p, 3), want) ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  done = true;
  busy.join();
}

}  // namespace ot
