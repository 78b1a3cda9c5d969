// The solvers, written once: the same potentials on every backend, and no allocation in the loop.
#include <atomic>
#include <cstdlib>

#include "instances.hpp"
#include "solvers/sinkhorn.hpp"

namespace {
std::atomic<long> allocations{0};
}

extern "C" {
void* __real_aligned_alloc(std::size_t, std::size_t);
void* __real_malloc(std::size_t);
void* __real__Znwm(std::size_t);

void* __wrap_aligned_alloc(std::size_t align, std::size_t bytes) {
  ++allocations;
  return __real_aligned_alloc(align, bytes);
}
void* __wrap_malloc(std::size_t bytes) {
  ++allocations;
  return __real_malloc(bytes);
}
void* __wrap__Znwm(std::size_t bytes) {
  ++allocations;
  return __real__Znwm(bytes);
}
}

namespace ot {
namespace {

struct Solution {
  Outcome outcome;
  Vector f, g;  // in cost units, g of mean 0 under b
};

template <class B, class T>
Solution solve(const Instance<T>& p, const SinkhornOptions& options, const Monitor& monitor = {}) {
  B be(2);
  const Problem problem{p.template on<B>(), p.a.data(), p.b.data(), p.reg, p.range};
  Solution s{{}, Vector(size(p.n), kNaN), Vector(size(p.m), 0.0)};
  s.outcome = Sinkhorn<B>(be, problem, options, monitor).solve(s.f.data(), s.g.data());
  double mean = 0;
  for (index j = 0; j < p.m; ++j) mean += p.b[size(j)] * s.g[size(j)];
  for (double& f : s.f) f = p.reg * (f + mean);
  for (double& g : s.g) g = p.reg * (g - mean);
  return s;
}

const std::vector<Spec> kProblems{
    {.n = 17, .m = 9, .pad = 2},
    {.n = 63, .m = 65},
    {.n = 30, .m = 20, .reg = 0.02},
    {1, 1},
    {1, 8},
    {7, 1},
    {40, 49, Kind::points, Cost::sqeuclidean, 2},
    {20, 25, Kind::points, Cost::sqeuclidean, 17},
    {25, 24, Kind::points, Cost::euclidean, 3},
    {25, 24, Kind::points, Cost::cosine, 5},
};

}  // namespace

TEST_CASE("Sinkhorn finds the same potentials on both backends") {
  for (const Spec& spec : kProblems)
    for (const SinkhornMethod method : {SinkhornMethod::log, SinkhornMethod::scaling})
      for (const Precision kernel : {Precision::f32, Precision::f64}) {
        CAPTURE(spec);
        CAPTURE(static_cast<int>(method));
        CAPTURE(static_cast<int>(kernel));
        const Instance<double> p(spec);
        SinkhornOptions options;
        options.tol = 1e-10;
        options.method = method;
        options.kernel = kernel;
        const Solution s = solve<cpu::Backend>(p, options), want = solve<ReferenceBackend>(p, options);
        CHECK(s.outcome.status == Status::converged);
        CHECK(want.outcome.status == Status::converged);
        CHECK(s.outcome.error <= 1e-10);
        check_close(s.f, want.f, 0, 1e-6 * p.reg);
        check_close(s.g, want.g, 0, 1e-6 * p.reg);
      }
}

TEST_CASE("Sinkhorn stops where it is told to") {
  const Instance<double> p({.n = 30, .m = 20, .reg = 0.02});
  for (const SinkhornMethod method : {SinkhornMethod::log, SinkhornMethod::scaling})
    for (const index most : {0, 1, 2, 3, 10}) {
      CAPTURE(most);
      SinkhornOptions options;
      options.tol = 0;
      options.max_iter = most;
      options.method = method;
      index last = 0;
      const Solution s = solve<cpu::Backend>(p, options, {{}, [&](const Progress& line) { last = line.n_iter; }});
      CHECK(s.outcome.status == Status::max_iter);
      CHECK(s.outcome.n_iter <= most);
      CHECK(last == s.outcome.n_iter);
    }
}

TEST_CASE("Sinkhorn's loop does not allocate") {
  const auto count = [](SinkhornMethod method, index most) {
    const Instance<double> p({.n = 130, .m = 65, .reg = 0.05});
    SinkhornOptions options;
    options.tol = 0;
    options.max_iter = most;
    options.method = method;
    cpu::Backend be(2);
    const Problem problem{p.on<cpu::Backend>(), p.a.data(), p.b.data(), p.reg, p.range};
    Vector phi(size(p.n), kNaN), psi(size(p.m), 0.0);
    const long before = allocations;
    const Outcome out = Sinkhorn<cpu::Backend>(be, problem, options, {}).solve(phi.data(), psi.data());
    CHECK(out.n_iter >= most - 2);
    return allocations - before;
  };
  for (const SinkhornMethod method : {SinkhornMethod::log, SinkhornMethod::scaling}) {
    CAPTURE(static_cast<int>(method));
    const long few = count(method, 60), many = count(method, 600);
    CHECK(few > 0);
    CHECK(few == many);
  }
}

TEST_CASE("an interrupt leaves the backend fit for use") {
  const Instance<double> p({.n = 130, .m = 65});
  bool stop = true;
  cpu::Backend be(2, [&] { return stop; });
  Vector phi = p.phi, want = p.phi;
  CHECK_THROWS_AS(be.pass(p.on<cpu::Backend>(), p.pass(phi.data(), true)), Interrupted);
  stop = false;
  phi = p.phi;
  be.pass(p.on<cpu::Backend>(), p.pass(phi.data(), true));
  ReferenceBackend().pass(p.on<ReferenceBackend>(), p.pass(want.data(), true));
  check_close(phi, want, 1e-12, 1e-12);
}

}  // namespace ot
