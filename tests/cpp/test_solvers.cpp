// The solvers, written once: the same potentials on every backend, and no allocation in the loop.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>

#include "emulator.hpp"
#include "entropic/solvers-inl.hpp"
#include "flow/solvers.hpp"
#include "instances.hpp"
#include "sparse/solvers-inl.hpp"

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

// Every way to call the entropic solvers. tests/test_guards.py holds `run` and `run_sparse` against the functions of
// entropic/solvers.hpp and sparse/solvers.hpp.
enum class Method { log, scaling_f32, scaling_f64, relaxed, newton, sns };
const std::vector<Method> kMethods{Method::log,     Method::scaling_f32, Method::scaling_f64,
                                   Method::relaxed, Method::newton,      Method::sns};

std::string name(Method method) {
  static const char* const names[] = {"log", "scaling, float32", "scaling, float64", "relaxed", "newton", "sns"};
  return names[static_cast<int>(method)];
}

template <class B>
Outcome run(Method method, B& be, const Problem& p, const Limits& limits, const Monitor& monitor, Potentials at) {
  SinkhornOptions options{.limits = limits};
  if (method == Method::sns)
    return EntropicSolvers<B>::sns(be, p, {.limits = limits, .sinkhorn_steps = 20, .density = 0.5}, monitor, at);
  if (method == Method::relaxed) options.marginals.rho = 30 * p.reg;
  else if (method != Method::log) options.domain = Domain::kernel;
  if (method == Method::scaling_f64) options.kernel = Precision::f64;
  if (method == Method::newton) return EntropicSolvers<B>::newton(be, p, options, monitor, at);
  return EntropicSolvers<B>::sinkhorn(be, p, options, monitor, at);
}

// At most k entries a line, or any number (k = 0).
template <class B>
SparseSolution run_sparse(index k, B& be, const Problem& p, const QuadraticOptions& options, const Monitor& monitor,
                          Potentials at) {
  if (k == 0) return SparseSolvers<B>::quadratic(be, p, options, monitor, at);
  return SparseSolvers<B>::constrained(be, p, {options, k, true}, monitor, at);
}

Problem problem_of(const Instance<double>& p) {
  return {.geo = p.on<cpu::Backend>(), .a = p.a.data(), .b = p.b.data(), .reg = p.reg, .range = p.range};
}

// A copy of v in the memory of the backend.
template <class B>
Buffer<double> there(B& be, const Vector& v) {
  auto to = be.template buffer<double>(static_cast<index>(v.size()));
  be.write(to.size(), v.data(), to.data());
  return to;
}

// Counts the factors of the plan's graph and the solves with them.
template <class B>
struct Counting : B {
  using B::B;
  static constexpr index kFactorPays = 150;  // few enough that small problems make a factor
  bool kept_factor(const Kept& T, index n, index m, const double* rows, const double* columns) {
    ++factors;
    return B::kept_factor(T, n, m, rows, columns);
  }
  void kept_solve(index n, index m, const double* y, double* out) {
    ++solves;
    B::kept_solve(n, m, y, out);
  }
  int factors = 0, solves = 0;
};

struct Solution {
  Outcome outcome;
  Vector f, g;  // in cost units, g of mean 0 under b
};

template <class B, class T>
Solution solve(Method method, const Instance<T>& p, const Limits& limits, const Monitor& monitor = {}) {
  B be(2);
  Solution s{{}, Vector(size(p.n), kNaN), Vector(size(p.m), 0.0)};
  const auto a = there(be, p.a), b = there(be, p.b);
  auto f = there(be, s.f), g = there(be, s.g);
  const Problem problem{.geo = p.template on<B>(), .a = a.data(), .b = b.data(), .reg = p.reg, .range = p.range};
  s.outcome = run(method, be, problem, limits, monitor, {f.data(), g.data()});
  be.read(p.n, f.data(), s.f.data());
  be.read(p.m, g.data(), s.g.data());
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
    {.n = 1, .m = 1},
    {.n = 1, .m = 8},
    {.n = 7, .m = 1},
    {.n = 40, .m = 49, .kind = Kind::points, .cost = Cost::sqeuclidean, .d = 2},
    {.n = 20, .m = 25, .kind = Kind::points, .cost = Cost::sqeuclidean, .d = 17},
    {.n = 25, .m = 24, .kind = Kind::points, .cost = Cost::euclidean, .d = 3},
    {.n = 25, .m = 24, .kind = Kind::points, .cost = Cost::cosine, .d = 5},
};

}  // namespace

TEST_CASE("a solver finds the same potentials on every backend") {
  for (const Spec& spec : kProblems)
    for (const Method method : kMethods) {
      CAPTURE(spec);
      INFO(name(method));
      const Instance<double> p(spec);
      const Limits limits{.tol = 1e-10};
      const Solution want = solve<ReferenceBackend>(method, p, limits);
      CHECK(want.outcome.status == Status::converged);
      for (const Solution& s :
           {solve<cpu::Backend>(method, p, limits), solve<GuardedEmulatedBackend>(method, p, limits)}) {
        CHECK(s.outcome.status == Status::converged);
        CHECK(s.outcome.error <= limits.tol);
        check_close(s.f, want.f, 0, 1e-6 * p.reg);
        check_close(s.g, want.g, 0, 1e-6 * p.reg);
      }
    }
}

// The host makes the factor, without access to the memory of the device (GuardedEmulator).
TEST_CASE("at tiny reg Newton factors the plan's graph on every backend") {
  const Instance<double> p({.n = 220, .m = 227, .kind = Kind::points, .d = 2, .reg = 1e-6});
  const auto run_on = [&]<class B>(Counting<B>&& be) {
    Solution s{{}, Vector(size(p.n), kNaN), Vector(size(p.m), 0.0)};
    const auto a = there(be, p.a), b = there(be, p.b);
    auto f = there(be, s.f), g = there(be, s.g);
    const Problem problem{.geo = p.template on<B>(), .a = a.data(), .b = b.data(), .reg = p.reg, .range = p.range};
    s.outcome = run(Method::newton, be, problem, {.tol = 1e-9}, {}, {f.data(), g.data()});
    be.read(p.n, f.data(), s.f.data());
    be.read(p.m, g.data(), s.g.data());
    CHECK(s.outcome.status == Status::converged);
    CHECK(be.factors > 0);
    CHECK(be.solves > be.factors);
    return s;
  };
  const Solution cpu = run_on(Counting<cpu::Backend>(2)), gpu = run_on(Counting<GuardedEmulatedBackend>(2));
  const double shift = gpu.f[0] - cpu.f[0], most = p.range / p.reg;
  for (index i = 0; i < p.n; ++i) CHECK(std::fabs(gpu.f[size(i)] - shift - cpu.f[size(i)]) < 1e-9 * most);
  for (index j = 0; j < p.m; ++j) CHECK(std::fabs(gpu.g[size(j)] + shift - cpu.g[size(j)]) < 1e-9 * most);
}

// On the mean over the mass |phi| and |psi| may be 1e11, each 1e14; reg is raised by factors of 4.
TEST_CASE_TEMPLATE("the least reg that is resolved", B, cpu::Backend, GuardedEmulatedBackend) {
  const Instance<double> p(kProblems[0]);
  B be(2);
  const Problem problem{.geo = p.template on<B>(), .a = p.a.data(), .b = p.b.data(), .reg = p.reg, .range = p.range};
  const auto least = [&](double every, double one) {
    Vector phi(size(p.n), every), psi(size(p.m), -every);
    const auto heaviest = std::max_element(p.b.begin(), p.b.end());
    if (one > 0) psi[static_cast<std::size_t>(heaviest - p.b.begin())] = one;
    return EntropicSolvers<B>::resolved_reg(be, problem, {phi.data(), psi.data()}) / p.reg;
  };
  CHECK(least(0.9e11, 0) == 1);
  CHECK(least(1.1e11, 0) == 4);
  CHECK(least(1e30, 0) == std::pow(4.0, std::ceil(std::log2(1e19) / 2)));
  CHECK(least(0, 1e10) == 1);
  CHECK(least(0, 1e30) >= 1e16);
  CHECK(least(kNaN, 0) == 1);
  CHECK(least(INFINITY, 0) == 1);
}

// With r, c the marginals of the plan: r_i = a_i exp(-f_i/rho), c_j = b_j exp(-g_j/rho).
TEST_CASE_TEMPLATE("relaxed marginals satisfy their optimality conditions", B, cpu::Backend, GuardedEmulatedBackend) {
  for (const Spec& spec : kProblems)
    for (const double relative : {0.3, 3.0, 300.0}) {
      CAPTURE(spec);
      CAPTURE(relative);
      const Instance<double> p(spec);
      Vector a = p.a;
      for (double& v : a) v *= 1.7;  // of another mass than b
      B be(2);
      const double rho = relative * p.reg;
      const Problem problem{.geo = p.template on<B>(), .a = a.data(), .b = p.b.data(), .reg = p.reg, .range = p.range};
      Vector phi(size(p.n), kNaN), psi(size(p.m), 0.0), row(size(p.n)), col(size(p.m)), h(size(p.m));
      const SinkhornOptions options{.limits = {.tol = 1e-11}, .marginals = {.rho = rho}};
      const Outcome out = EntropicSolvers<B>::sinkhorn(be, problem, options, {}, {phi.data(), psi.data()});
      CHECK(out.status == Status::converged);
      for (index j = 0; j < p.m; ++j) h[size(j)] = psi[size(j)] + std::log(p.b[size(j)]);
      Pass pass;
      pass.reg = p.reg;
      pass.h = h.data();
      pass.phi = phi.data();
      pass.a = a.data();
      pass.row = row.data();
      pass.col = col.data();
      ReferenceBackend().pass(p.template on<ReferenceBackend>(), pass);
      Vector row_want(size(p.n)), col_want(size(p.m));
      for (index i = 0; i < p.n; ++i) row_want[size(i)] = std::exp(-phi[size(i)] / relative);
      for (index j = 0; j < p.m; ++j) col_want[size(j)] = p.b[size(j)] * std::exp(-psi[size(j)] / relative);
      check_close(row, row_want, 1e-9);
      check_close(col, col_want, 0, 1e-10);
    }
}

TEST_CASE("methods for fixed marginals refuse relaxed ones") {
  const Instance<double> p({.n = 5, .m = 4});
  cpu::Backend be(1);
  const Problem problem = problem_of(p);
  const Monitor monitor;
  CHECK_THROWS_AS(Newton<cpu::Backend>(be, problem, {.marginals = {.rho = 1.0}}, monitor), std::invalid_argument);
  CHECK_THROWS_AS(Newton<cpu::Backend>(be, problem, {.marginals = {.symmetric = true}}, monitor),
                  std::invalid_argument);
  CHECK_THROWS_AS(Sinkhorn<cpu::Backend>(be, problem, {.domain = Domain::kernel, .marginals = {.rho = 1.0}}, monitor),
                  std::invalid_argument);
}

namespace {

// The plan (n, m) of at most k entries a line, or with any number (k = 0); potentials in cost units.
struct Sparse {
  Outcome outcome;
  double value, dual;
  Vector plan, f, g;
};

template <class B>
Sparse solve_sparse(const Instance<double>& p, bool by_rows, index k, const Sparse* from = nullptr) {
  B be(2);
  const auto a = there(be, p.a), b = there(be, p.b);
  Sparse s{.outcome = {},
           .value = 0,
           .dual = 0,
           .plan = Vector(size(p.n * p.m), 0.0),
           .f = from ? from->f : Vector(size(p.n)),
           .g = from ? from->g : Vector(size(p.m))};
  auto f = there(be, s.f), g = there(be, s.g);
  const Problem problem{.geo = p.template on<B>(), .a = a.data(), .b = b.data(), .reg = 10 * p.reg, .range = p.range};
  const QuadraticOptions options{.limits = {.tol = 1e-10, .max_iter = 1000},
                                 .lines = by_rows ? Lines::rows : Lines::columns,
                                 .warm = from != nullptr};
  const SparseSolution solution = run_sparse(k, be, problem, options, {}, {f.data(), g.data()});
  const SparsePlan& plan = solution.plan;
  s.outcome = solution;
  be.read(p.n, f.data(), s.f.data());
  be.read(p.m, g.data(), s.g.data());
  s.value = plan.value;
  s.dual = solution.dual;
  for (index j = 0; j + 1 < plan.begin.size(); ++j)
    for (index e = plan.begin[j]; e < plan.begin[j + 1]; ++e) {
      const index i = plan.idx[e];
      s.plan[size(by_rows ? j * p.m + i : i * p.m + j)] = plan.val[e];
    }
  return s;
}

}  // namespace

TEST_CASE("a sparse plan is the same on every backend") {
  auto specs = kProblems;
  specs.push_back({.n = 26, .m = 31, .pad = 1, .hostile = true});
  for (const Spec& spec : specs)
    for (const bool by_rows : {false, true}) {
      CAPTURE(spec);
      CAPTURE(by_rows);
      Instance<double> p(spec);
      if (spec.hostile) {  // rows and columns without an allowed pair have no mass
        p.b[0] += std::exchange(p.b[size(p.m - 2)], 0);
        p.a[0] += std::exchange(p.a[1], 0);
      }
      const Sparse want = solve_sparse<ReferenceBackend>(p, by_rows, 0);
      CHECK(want.outcome.status == Status::converged);
      for (const index k : {index{0}, index{4}}) {
        const index lines = by_rows ? p.n : p.m, others = by_rows ? p.m : p.n;
        if (k > 0 && (spec.hostile || k > others || k * lines < others)) continue;  // there may be no plan
        CAPTURE(k);
        const Sparse cpu = solve_sparse<cpu::Backend>(p, by_rows, k);
        const Sparse gpu = solve_sparse<GuardedEmulatedBackend>(p, by_rows, k);
        const Sparse warm = solve_sparse<GuardedEmulatedBackend>(p, by_rows, k, &gpu);
        CHECK(gpu.outcome.status == cpu.outcome.status);
        if (k == 0) {  // of two supports within rounding either may be found
          check_close(gpu.plan, cpu.plan, 0, 1e-9);
          check_close(gpu.plan, want.plan, 0, 1e-9);
          check_close(warm.plan, want.plan, 0, 1e-9);
        }
        CHECK(gpu.value == doctest::Approx(cpu.value).epsilon(1e-8));
        CHECK(gpu.dual == doctest::Approx(cpu.dual).epsilon(1e-8));
        CHECK(gpu.dual <= gpu.value + 1e-9 * p.range);
        Vector row(size(p.n)), col(size(p.m));
        index most = 0;
        for (index i = 0; i < p.n; ++i)
          for (index j = 0; j < p.m; ++j) {
            row[size(i)] += gpu.plan[size(i * p.m + j)];
            col[size(j)] += gpu.plan[size(i * p.m + j)];
          }
        check_close(row, p.a, 0, 1e-9);
        check_close(col, p.b, 0, 1e-9);
        for (index j = 0; j < lines; ++j) {
          index count = 0;
          for (index i = 0; i < others; ++i) count += gpu.plan[size(by_rows ? j * p.m + i : i * p.m + j)] > 0;
          most = std::max(most, count);
        }
        if (k > 0) CHECK(most <= k);
      }
    }
}

TEST_CASE("a solver stops where it is told to") {
  const Instance<double> p({.n = 30, .m = 20, .reg = 0.02});
  for (const index most : {0, 1, 2, 3, 5, 10}) {
    CAPTURE(most);
    const Limits limits{.tol = 0, .max_iter = most};
    index last = 0;
    const Monitor monitor{{}, [&](const Progress& line) { last = line.n_iter; }};
    for (const Method method : kMethods) {
      INFO(name(method));
      last = 0;
      const Outcome out = solve<cpu::Backend>(method, p, limits, monitor).outcome;
      CHECK(out.status == Status::max_iter);
      CHECK(out.n_iter <= most);
      CHECK(last == out.n_iter);
    }
    for (const index k : {0, 4}) {
      CAPTURE(k);
      last = 0;
      cpu::Backend be(2);
      const Problem problem = problem_of(p);
      Vector f(size(p.n)), g(size(p.m));
      const Outcome out = run_sparse(k, be, problem, {.limits = limits}, monitor, {f.data(), g.data()});
      CHECK(out.status == Status::max_iter);
      CHECK(out.n_iter <= most + 3);  // the last passes find the candidates of the plan returned
      CHECK(last <= out.n_iter);
    }
  }
}

namespace {

// What a solve of at most `limits.max_iter` passes allocates; the passes it took.
template <class Run>
long allocated(const Instance<double>& p, index most, index& passes, Run&& run) {
  cpu::Backend be(2);
  const Problem problem = problem_of(p);
  Vector rows(size(p.n), kNaN), columns(size(p.m), 0.0);
  const long before = allocations;
  passes = run(be, problem, {.tol = 0, .max_iter = most}, Potentials{rows.data(), columns.data()}).n_iter;
  return allocations - before;
}

}  // namespace

// Solvers allocate in their set-up; the entries that Newton keeps may outgrow their storage a few times.
TEST_CASE("the loop of a solver does not allocate") {
  const Instance<double> p({.n = 130, .m = 65, .reg = 0.05});
  for (const Method method : kMethods) {
    INFO(name(method));
    index passes;
    const auto count = [&](index most) {
      return allocated(p, most, passes, [&](auto& be, const Problem& q, const Limits& limits, Potentials at) {
        return run(method, be, q, limits, {}, at);
      });
    };
    const long few = count(60);
    CHECK(passes > 30);  // at tol = 0 Newton ends where rounding leaves nothing to gain
    const long many = count(600);
    CHECK(passes > 300);
    CHECK(few > 0);
    CHECK(many - few <= (method == Method::newton ? 10 : 0));
  }
}

// A pass over C brings new candidate entries, and what is made for them. Newton steps and their conjugate gradients,
// of which there are many between two passes, allocate nothing of their own.
TEST_CASE("a sparse solver allocates by passes") {
  const Instance<double> p({.n = 130, .m = 65, .reg = 0.05});
  for (const index k : {0, 4})
    for (const index most : {5, 20, 80}) {
      CAPTURE(k);
      CAPTURE(most);
      index passes;
      const long made =
          allocated(p, most, passes, [&](auto& be, const Problem& q, const Limits& limits, Potentials at) {
            return run_sparse(k, be, q, {.limits = limits}, {}, at);
          });
      CHECK(made <= 20 * passes);
    }
}

TEST_CASE("what a plan misses goes forward on pairs and back on its entries") {
  // Row 0 and column 1 miss 1/4, and the pair (0, 1) is none of the arcs.
  const std::array<double, 2> a{0.25, 0}, b{0, 0.25};
  const FlowSides missing{.rows = 2, .columns = 2, .a = a.data(), .b = b.data()};
  Array<FlowArc> arcs;
  for (const FlowArc& arc : {FlowArc{0, 0, 0.5}, FlowArc{1, 0, 0.125}, FlowArc{1, 1, 1}}) arcs.push_back(arc);
  const std::array<double, 3> enough{0, 0.5, 0}, little{0, 0.0625, 0};

  const Completion whole = complete(missing, arcs, enough.data(), nullptr);
  check_close(Vector{whole.flow[0], whole.flow[1], whole.flow[2]}, Vector{0.25, -0.25, 0.25}, 1e-12, 1e-12);
  CHECK(std::fabs(whole.rows[0]) + std::fabs(whole.columns[1]) <= 1e-12);

  const Completion part = complete(missing, arcs, little.data(), nullptr);
  check_close(Vector{part.flow[1], part.rows[0], part.columns[1]}, Vector{-0.0625, 0.1875, 0.1875}, 1e-12, 1e-12);
}

TEST_CASE("an interrupt leaves the backend fit for use") {
  const Instance<double> p({.n = 130, .m = 65});
  bool stop = true;
  cpu::Backend be(1, [&] { return stop; });
  Vector phi = p.phi, want = p.phi;
  CHECK_THROWS_AS(be.pass(p.on<cpu::Backend>(), p.pass(phi.data(), true)), Interrupted);
  stop = false;
  phi = p.phi;
  be.pass(p.on<cpu::Backend>(), p.pass(phi.data(), true));
  ReferenceBackend().pass(p.on<ReferenceBackend>(), p.pass(want.data(), true));
  check_close(phi, want, 1e-12, 1e-12);
}

}  // namespace ot
