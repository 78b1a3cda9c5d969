// Every operation of the seam against the reference, for each backend and dtype of C.
#include <cstring>
#include <memory>
#include <numeric>
#include <random>

#include "emulator.hpp"
#include "instances.hpp"
#include "sparse/line_system.hpp"

namespace ot {
namespace {

template <class B, class T>
struct On {
  using Tested = B;
  using Real = T;
};
#if defined(OT_TEST_GPU)
#define OT_TESTED On<GpuBackend, float>, On<GpuBackend, double>
#define OT_TESTED_ONCE On<GpuBackend, double>
#else
#define OT_TESTED \
  On<cpu::Backend, float>, On<cpu::Backend, double>, On<EmulatedBackend, float>, On<EmulatedBackend, double>
#define OT_TESTED_ONCE On<cpu::Backend, double>, On<EmulatedBackend, double>
#endif

template <class T>
using Instances = std::vector<std::unique_ptr<const Instance<T>>>;

template <class T>
Instances<T> instances(const std::vector<Spec>& specs) {
  Instances<T> all;
  for (const Spec& spec : specs) all.push_back(std::make_unique<const Instance<T>>(spec));
  return all;
}

// f(backend, reference, instance) for every instance, with one backend: storage is reused between problems.
template <class Type, class F>
void everywhere(const Instances<typename Type::Real>& all, F f) {
  typename Type::Tested be(2);
  ReferenceBackend ref;
  for (const auto& p : all) {
    CAPTURE(p->spec);
    f(be, ref, *p);
  }
}

template <class Type, class F>
void everywhere(F f) {
  static const auto all = instances<typename Type::Real>(all_specs());
  everywhere<Type>(all, f);
}

template <class Type, class F>
void everywhere(const std::vector<Spec>& specs, F f) {
  everywhere<Type>(instances<typename Type::Real>(specs), f);
}

template <class Type, class F>
void with_precisions(F f) {
  everywhere<Type>([&](auto& be, auto& ref, const auto& p) {
    for (const Precision precision : {Precision::f32, Precision::f64}) {
      CAPTURE(static_cast<int>(precision));
      f(be, ref, p, precision, p.tolerance(precision));
    }
  });
}

template <class Type, class P>
const Geometry& geometry(const P& p) {
  return p.template on<typename Type::Tested>();
}
template <class P>
const Geometry& plain(const P& p) {
  return p.template on<ReferenceBackend>();
}

// Column sums may lose what lies below the smallest exponential, relative to the smallest row sum.
double lost(Precision precision) { return precision == Precision::f32 ? 1e-24 : 1e-100; }

}  // namespace

TEST_CASE_TEMPLATE("a pass with update", Type, OT_TESTED) {
  with_precisions<Type>([](auto& be, auto& ref, const auto& p, Precision precision, double tol) {
    Vector phi = p.phi, want = p.phi;
    Vector row(size(p.n)), row_want(size(p.n)), col(size(p.m)), col_want(size(p.m));
    Pass pass = p.pass(phi.data(), true, precision), expected = p.pass(want.data(), true);
    pass.row = row.data();
    pass.col = col.data();
    expected.row = row_want.data();
    expected.col = col_want.data();
    be.pass(geometry<Type>(p), pass);
    ref.pass(plain(p), expected);
    check_close(row, row_want, tol, lost(precision));
    check_close(phi, want, tol, tol);
    check_close(col, col_want, tol, lost(precision));
  });
}

TEST_CASE_TEMPLATE("a pass from potentials unknown or far off", Type, OT_TESTED) {
  with_precisions<Type>([](auto& be, auto& ref, const auto& p, Precision precision, double tol) {
    Vector phi = p.phi, want = p.phi, col(size(p.m)), col_want(size(p.m));
    for (index i = 0; i < p.n; ++i) {
      const double start[] = {kNaN, phi[size(i)] - 1e4, phi[size(i)] + 1e4, phi[size(i)], phi[size(i)] - 60};
      phi[size(i)] = start[i % 5];
    }
    Pass pass = p.pass(phi.data(), true, precision), expected = p.pass(want.data(), true);
    pass.col = col.data();
    expected.col = col_want.data();
    be.pass(geometry<Type>(p), pass);
    ref.pass(plain(p), expected);
    check_close(phi, want, tol, tol);
    check_close(col, col_want, tol, lost(precision));
  });
}

TEST_CASE_TEMPLATE("a pass without update", Type, OT_TESTED) {
  with_precisions<Type>([](auto& be, auto& ref, const auto& p, Precision precision, double tol) {
    Vector phi = p.phi;
    Vector row(size(p.n)), cost(size(p.n)), col(size(p.m));
    Vector row_want(size(p.n)), cost_want(size(p.n)), col_want(size(p.m));
    Pass pass = p.pass(phi.data(), false, precision), expected = pass;
    pass.row = row.data();
    pass.cost = cost.data();
    pass.col = col.data();
    expected.row = row_want.data();
    expected.cost = cost_want.data();
    expected.col = col_want.data();
    be.pass(geometry<Type>(p), pass);
    ref.pass(plain(p), expected);
    CHECK(phi == p.phi);
    check_close(row, row_want, tol, lost(precision));
    check_close(col, col_want, tol, lost(precision));
    check_close(cost, cost_want, tol, tol * p.reg);
  });
}

TEST_CASE_TEMPLATE("a damped pass, and the gradient in the points", Type, OT_TESTED) {
  with_precisions<Type>([](auto& be, auto& ref, const auto& p, Precision precision, double tol) {
    for (const double damp : {1.0, 0.7})
      for (const bool update : {true, false}) {
        CAPTURE(damp);
        CAPTURE(update);
        Vector phi = p.phi, want = p.phi, col(size(p.m)), col_want(size(p.m));
        Vector gradient(size(p.n * p.spec.d), kNaN), gradient_want(size(p.n * p.spec.d));
        Pass pass = p.pass(phi.data(), update, precision), expected = p.pass(want.data(), update);
        pass.damp = expected.damp = damp;
        pass.col = col.data();
        expected.col = col_want.data();
        if (p.spec.kind == Kind::points) {
          pass.gradient = gradient.data();
          expected.gradient = gradient_want.data();
        }
        be.pass(geometry<Type>(p), pass);
        ref.pass(plain(p), expected);
        check_close(phi, want, tol, tol);
        check_close(col, col_want, tol, lost(precision));
        if (p.spec.kind != Kind::points) continue;
        double most = 0;
        for (const double v : gradient_want) most = std::max(most, std::fabs(v));
        // Sums over pairs cancel, and a float32 distance has float32 digits.
        check_close(gradient, gradient_want, tol, 20 * tol * most + 1e-15);
      }
  });
}

TEST_CASE_TEMPLATE("entries kept", Type, OT_TESTED) {
  with_precisions<Type>([](auto& be, auto& ref, const auto& p, Precision precision, double tol) {
    for (const bool update : {true, false}) {
      Vector want = p.phi;
      Kept all{.threshold = -1};
      ref.pass(plain(p), p.pass(want.data(), update), all);
      for (const double threshold : {1e-12, 0.5 / static_cast<double>(p.m), 0.3}) {
        CAPTURE(update);
        CAPTURE(threshold);
        Vector phi = p.phi;
        Kept kept{.threshold = threshold, .limit = p.m};
        be.pass(geometry<Type>(p), p.pass(phi.data(), update, precision), kept);
        REQUIRE_FALSE(kept.overflow);
        check_close(phi, want, tol, tol);
        Vector val, val_want;
        index misplaced = 0;
        for (index i = 0; i < p.n; ++i) {
          const double a = p.a[size(i)], cut = update ? a * threshold : threshold;
          index k = kept.begin[i];
          for (index j = 0; j < p.m; ++j) {
            const double entry = all.val[i * p.m + j];
            const bool in = k < kept.end[i] && kept.idx[k] == j;
            if (in) {
              val.push_back(kept.val[k++]);
              val_want.push_back(entry);
            }
            // At the threshold rounding decides.
            if (a > 0 && std::fabs(entry - cut) > 2 * tol * cut) misplaced += in != (entry > cut);
          }
          misplaced += k != kept.end[i];
        }
        CHECK(misplaced == 0);
        CHECK(kept.nnz == static_cast<index>(val.size()));
        check_close(val, val_want, 2 * tol);
      }
    }
  });
}

TEST_CASE_TEMPLATE("no entry is kept of rows whose exponents overflow", Type, OT_TESTED) {
  // Terms of 1e35 cancel, up to their rounding: exponents of 1e19 of either sign, for which exp has no digits.
  const index n = 64;
  typename Type::Tested be(2);
  for (const index m : {1, 9, 17, 481}) {
    Values<typename Type::Real> C;
    for (index k = 0; k < n * m; ++k) C.push_back(static_cast<typename Type::Real>(1e32 + 1e30 * (k / m)));
    Geometry geo;
    geo.dtype = sizeof(typename Type::Real) == 4 ? DType::f32 : DType::f64;
    geo.C = C.data();
    geo.n = n;
    geo.m = geo.ld = m;
    const Vector h(size(m), 1e35), a(size(n), 1.0 / static_cast<double>(n));
    for (const Precision precision : {Precision::f32, Precision::f64}) {
      CAPTURE(m);
      CAPTURE(static_cast<int>(precision));
      Vector phi(size(n), kNaN);
      Pass pass;
      pass.reg = 1e-3;
      pass.h = h.data();
      pass.phi = phi.data();
      pass.a = a.data();
      pass.update = true;
      pass.precision = precision;
      Kept kept{.threshold = 1e-12, .limit = m};
      be.pass(geo, pass, kept);
      REQUIRE_FALSE(kept.overflow);
      index wrong = 0;
      for (index i = 0; i < n; ++i)
        for (index k = kept.begin[i]; k < kept.end[i]; ++k)
          wrong += !(kept.idx[k] < m && kept.val[k] > 0 && std::isfinite(kept.val[k]));
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE_TEMPLATE("candidates", Type, OT_TESTED) {
  everywhere<Type>([](auto& be, auto& ref, const auto& p) {
    Vector f(size(p.n)), g(size(p.m));
    for (index i = 0; i < p.n; ++i) f[size(i)] = p.a[size(i)] > 0 ? p.reg * (p.phi[size(i)] + 1) : -kInf;
    for (index j = 0; j < p.m; ++j) g[size(j)] = p.b[size(j)] > 0 ? p.reg * p.psi[size(j)] : -kInf;
    const double tol = 4 * p.tolerance(Precision::f64) * p.range;
    for (const double margin : {0.0, 2 * p.reg, kInf}) {
      CAPTURE(margin);
      Candidates got, want;
      be.candidates(geometry<Type>(p), f.data(), g.data(), margin, p.n * p.m, got);
      ref.candidates(plain(p), f.data(), g.data(), kInf, p.n * p.m, want);  // all allowed pairs
      CHECK_FALSE(got.overflow);
      index misplaced = 0, k = 0;
      Vector cost, cost_want;
      for (index i = 0; i < p.n; ++i) {
        REQUIRE(got.begin[i] == k);
        for (index e = want.begin[i]; e < want.begin[i + 1]; ++e) {
          const index j = want.idx[e];
          const double s = f[size(i)] + g[size(j)] - want.cost[e];
          const bool in = k < got.begin[i + 1] && got.idx[k] == j;
          if (in) {
            cost.push_back(got.cost[k++]);
            cost_want.push_back(want.cost[e]);
          }
          if (std::isinf(margin) || std::fabs(s + margin) > 2 * tol)
            misplaced += in != (s > -margin);  // at the margin rounding decides
        }
        misplaced += k != got.begin[i + 1];
      }
      CHECK(misplaced == 0);
      CHECK(got.nnz == k);
      check_close(cost, cost_want, 4 * p.tolerance(Precision::f64), tol);
      Candidates again;
      be.candidates(geometry<Type>(p), f.data(), g.data(), margin, k, again);
      CHECK_FALSE(again.overflow);
      REQUIRE(again.nnz == k);
      CHECK(std::equal(got.idx.data(), got.idx.data() + k, again.idx.data()));
      CHECK(std::equal(got.cost.data(), got.cost.data() + k, again.cost.data()));
      if (k > 0) {
        be.candidates(geometry<Type>(p), f.data(), g.data(), margin, k - 1, again);
        CHECK(again.overflow);
        CHECK(again.nnz == k);
      }
    }
  });
}

TEST_CASE_TEMPLATE("vectors go to the backend and come back", Type, OT_TESTED_ONCE) {
  typename Type::Tested be(1);
  for (const index n : {1, 5000}) {
    Vector x(size(n)), y(size(n), kNaN);
    std::iota(x.begin(), x.end(), 0.5);
    auto there = be.template buffer<double>(n);
    be.write(n, x.data(), there.data());
    double* at = there.data();
    be.for_each(n, [=] OT_HD(index i) { at[i] *= 2; });
    be.read(n, there.data(), y.data());
    for (double& v : x) v *= 2;
    CHECK(x == y);
  }
}

// Few lines of many entries, and many lines of few: several chunks.
TEST_CASE_TEMPLATE("lines of sparse plans", Type, OT_TESTED_ONCE) {
  typename Type::Tested be(3), alone(1);
  ReferenceBackend ref;
  std::mt19937 random(7);
  std::uniform_real_distribution<double> uniform;
  for (const auto& shape : {std::pair<index, index>{1, 1}, {7, 40}, {40, 9}, {21, 100}, {700, 30}}) {
    const index lines = shape.first, others = shape.second;
    std::vector<index> begin{0};
    std::vector<std::int32_t> idx;
    Vector b(size(lines)), alpha(size(others)), sums(size(others)), sums_want(size(others));
    for (index j = 0; j < lines; ++j) {
      for (index i = 0; i < others; ++i)
        if (i == j % others || uniform(random) < 0.8) idx.push_back(static_cast<std::int32_t>(i));
      begin.push_back(static_cast<index>(idx.size()));
      b[size(j)] = j % 5 == 3 ? 0 : 0.1 + uniform(random);
    }
    Vector cost(idx.size()), centre(idx.size()), shifted(idx.size());
    for (double& c : cost) c = uniform(random);
    for (double& c : centre) c = uniform(random) < 0.2 ? uniform(random) : 0;
    for (const index k : {index{1}, index{3}, others})
      for (const double sigma : {0.0, 2.0, 0.01}) {
        if (sigma == 0 && k < others) continue;  // ties need a proximal term
        CAPTURE(lines);
        CAPTURE(k);
        CAPTURE(sigma);
        for (std::size_t e = 0; e < cost.size(); ++e) shifted[e] = cost[e] - sigma * centre[e];
        Vector beta(b.size(), 0.0), theta = beta, t(idx.size()), want = t, ignored = beta, ignored_too = beta;
        Vector z(idx.size() + size(LineView::kPad * lines)), val = z;
        std::vector<std::int32_t> positive(z.size()), positive_same = positive, positive_want = positive;
        std::vector<index> first(b.size()), near = first, end = near, ignored_first = near, ignored_near = near,
                                            ignored_end = near;
        for (int round = 0; round < 3; ++round) {  // beta and theta from 0, from a near solution, from the solution
          if (round < 2)
            for (double& v : alpha) v += (round == 0 ? 0.5 : 1e-3) * uniform(random);
          LineView view{.lines = lines,
                        .others = others,
                        .k = k,
                        .reg = 0.7,
                        .sigma = sigma,
                        .begin = begin.data(),
                        .idx = idx.data(),
                        .cost = shifted.data(),
                        .b = b.data(),
                        .alpha = alpha.data(),
                        .beta = beta.data(),
                        .theta = theta.data(),
                        .t = t.data(),
                        .tied_begin = first.data(),
                        .above_begin = near.data(),
                        .above_end = end.data(),
                        .support = positive.data(),
                        .support_t = val.data(),
                        .slack = z.data()};
          LineView same = view, reference = view;
          Vector beta_same = beta, theta_same = theta, t_same = t, sums_same = sums;
          same.beta = beta_same.data();
          same.theta = theta_same.data();
          same.t = t_same.data();
          same.support = positive_same.data();
          reference.beta = ignored.data();
          reference.theta = ignored_too.data();
          reference.t = want.data();
          reference.support = positive_want.data();
          reference.tied_begin = ignored_first.data();
          reference.above_begin = ignored_near.data();
          reference.above_end = ignored_end.data();
          be.lines(view, sums.data());
          be.line_entries(view);
          alone.lines(same, sums_same.data());
          alone.line_entries(same);
          ref.lines(reference, sums_want.data());
          CHECK(t == t_same);
          CHECK(sums == sums_same);
          for (index j = 0; j < lines; ++j) {  // the positive entries, in two parts
            std::vector<std::int32_t> found[2], parts[2];
            for (index e = begin[size(j)]; e < begin[size(j + 1)]; ++e)
              if (t[size(e)] > 0) found[t[size(e)] >= theta[size(j)] / 0.7].push_back(idx[size(e)]);
            const auto at = [&](index e) { return positive.begin() + e; };
            parts[0].assign(at(first[size(j)]), at(near[size(j)]));
            parts[1].assign(at(near[size(j)]), at(end[size(j)]));
            CHECK(parts[0] == found[0]);
            CHECK(parts[1] == found[1]);
          }
          check_close(t, want, 1e-9, 1e-10);
          check_close(sums, sums_want, 1e-9, 1e-9);
          if (round != 1) continue;
          // Newton's step: H is the derivative of the sums.
          const double ridge = 0.1, ahead = 1e-8;
          LineHessian::Doubles gradient(alpha.size()), step = gradient;
          Vector moved = alpha, sums_ahead = sums;
          for (double& v : gradient) v = uniform(random) - 0.5;
          LineHessian hessian;
          hessian.build(view, ridge);
          hessian.solve(be, gradient, step, 1e-12);
          for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += ahead * step[i];
          same.alpha = moved.data();
          alone.lines(same, sums_ahead.data());
          for (index i = 0; i < step.size(); ++i)
            CHECK((sums_ahead[i] - sums[i]) / ahead + ridge * step[i] == doctest::Approx(gradient[i]).epsilon(1e-5));
        }
      }
  }
}

TEST_CASE_TEMPLATE("products with the entries kept", Type, OT_TESTED) {
  std::vector<Spec> specs = dense_specs();
  specs.push_back({.n = 600, .m = 481});  // enough entries for several threads
  everywhere<Type>(specs, [](auto& be, auto& ref, const auto& p) {
    Vector phi = p.phi, want = p.phi;
    Kept kept{.threshold = 1e-3 / static_cast<double>(p.m), .limit = p.m}, all = kept;
    be.pass(geometry<Type>(p), p.pass(phi.data(), true), kept);
    ref.pass(plain(p), p.pass(want.data(), true), all);
    const double tol = 4 * p.tolerance(Precision::f64);
    const auto compare = [&] {
      Vector rows(size(p.n)), rows_want(size(p.n)), cols(size(p.m)), cols_want(size(p.m));
      be.kept_apply(kept, p.n, p.b.data(), rows.data());
      ref.kept_apply(all, p.n, p.b.data(), rows_want.data());
      check_close(rows, rows_want, tol);
      be.kept_apply_transposed(kept, p.n, p.m, p.a.data(), cols.data());
      ref.kept_apply_transposed(all, p.n, p.m, p.a.data(), cols_want.data());
      check_close(cols, cols_want, tol);
      be.kept_diagonal(kept, p.n, p.m, p.a.data(), cols.data());
      ref.kept_diagonal(all, p.n, p.m, p.a.data(), cols_want.data());
      check_close(cols, cols_want, tol);
    };
    compare();
    for (const index count : {kept.nnz + 1, kept.nnz / 2, index{1}}) {
      CAPTURE(count);
      check_close({be.kept_largest(kept, count)}, {ref.kept_largest(all, count)}, tol);
      compare();
    }
  });
}

TEST_CASE_TEMPLATE("entries that a later pass has overwritten are refused", Type, OT_TESTED_ONCE) {
  const Instance<double> p({.n = 30, .m = 20});
  typename Type::Tested be(2);
  const Geometry& geo = p.on<typename Type::Tested>();
  Vector phi = p.phi, x(size(p.m), 1.0), out(size(p.n)), back(size(p.m));
  Kept first, second;
  be.pass(geo, p.pass(phi.data(), true), first);
  be.kept_apply(first, p.n, x.data(), out.data());
  be.pass(geo, p.pass(phi.data(), true), second);
  CHECK_THROWS_AS(be.kept_apply(first, p.n, x.data(), out.data()), std::logic_error);
  CHECK_THROWS_AS(be.kept_apply_transposed(first, p.n, p.m, out.data(), back.data()), std::logic_error);
  CHECK_THROWS_AS(be.kept_largest(first, 5), std::logic_error);
  be.kept_apply_transposed(second, p.n, p.m, out.data(), back.data());
  Candidates found;
  be.candidates(geo, p.phi.data(), p.psi.data(), 0, p.n * p.m, found);
  CHECK_THROWS_AS(be.kept_apply_transposed(second, p.n, p.m, out.data(), back.data()), std::logic_error);
}

double draw(std::mt19937_64& rng) { return std::uniform_real_distribution<double>()(rng); }

// A random graph between n rows and m columns: row i has edges to `degree` columns, one of them shared with row
// i - 1, so that degree 2 on m = n + 1 columns is a tree.
struct Graph {
  index n, m;
  Values<std::int32_t> idx;
  Values<index> begin, end;
  Vector val, rows, columns;

  Graph(index n_, index m_, index degree, double excess, std::mt19937_64& rng)
      : n(n_), m(m_), rows(size(n_)), columns(size(m_)) {
    for (index i = 0; i < n; ++i) {
      begin.push_back(static_cast<index>(idx.size()));
      for (index k = 0; k < degree; ++k) {
        const index j = k < 2 ? (i + k) % m : static_cast<index>(draw(rng) * static_cast<double>(m)) % m;
        const double w = std::exp(-20 * draw(rng));
        idx.push_back(static_cast<std::int32_t>(j));
        val.push_back(w);
        rows[size(i)] += w;
        columns[size(j)] += w;
      }
      end.push_back(static_cast<index>(idx.size()));
    }
    for (double& v : rows) v *= 1 + excess;
    for (double& v : columns) v *= 1 + excess;
  }
  Kept kept() const {
    Kept T;
    T.idx = idx.data(), T.val = val.data(), T.begin = begin.data(), T.end = end.data();
    T.nnz = static_cast<index>(idx.size());
    return T;
  }
  // (diag columns - T' diag(1/rows) T) x
  Vector apply(const Vector& x) const {
    Vector out(size(m));
    for (index j = 0; j < m; ++j) out[size(j)] = columns[size(j)] * x[size(j)];
    for (index i = 0; i < n; ++i) {
      double s = 0;
      for (index k = begin[size(i)]; k < end[size(i)]; ++k) s += val[size(k)] * x[size(idx[size(k)])];
      for (index k = begin[size(i)]; k < end[size(i)]; ++k) out[size(idx[size(k)])] -= val[size(k)] * s / rows[size(i)];
    }
    return out;
  }
};

TEST_CASE_TEMPLATE("an approximate factor of the kept entries: exact on trees, and elsewhere a preconditioner", Type,
                   OT_TESTED_ONCE) {
  std::mt19937_64 rng(3);
  const auto solve = [](auto& be, index n, index m, const Vector& y, Vector& out) {
    auto there = be.template buffer<double>(m);
    be.kept_solve(n, m, y.data(), there.data());
    be.read(m, there.data(), out.data());  // waits for the backend
  };
  {
    typename Type::Tested be(2);
    const Graph tree(300, 301, 2, 1e-3, rng);
    Vector x(301), z(301);
    for (double& v : x) v = draw(rng) - 0.5;
    REQUIRE(be.kept_factor(tree.kept(), 300, 301, tree.rows.data(), tree.columns.data()));
    const Vector y = tree.apply(x);
    solve(be, 300, 301, y, z);
    check_close(z, x, 1e-8);
  }
  typename Type::Tested be(2);  // a new backend, which has no factor yet
  const Graph graph(500, 400, 6, 1e-9, rng);
  const auto dot = [](const Vector& x, const Vector& y) {
    return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
  };
  Vector want(400), x(400), z(400), again(400);
  for (double& v : want) v = draw(rng) - 0.5;
  Vector r = graph.apply(want), d(400);
  REQUIRE(be.kept_factor(graph.kept(), 500, 400, graph.rows.data(), graph.columns.data()));
  solve(be, 500, 400, r, z);
  REQUIRE(be.kept_factor(graph.kept(), 500, 400, graph.rows.data(), graph.columns.data()));
  solve(be, 500, 400, r, again);
  CHECK(z == again);  // the same random numbers every time
  const double start = dot(r, z);
  double rz = start;
  for (int k = 0; k < 60; ++k) {  // diagonal scaling needs thousands: weights span nine decades
    const double before = rz;
    solve(be, 500, 400, r, z);
    rz = dot(r, z);
    for (std::size_t j = 0; j < d.size(); ++j) d[j] = z[j] + (k > 0 ? rz / before : 0.0) * d[j];
    const Vector q = graph.apply(d);
    const double alpha = rz / dot(d, q);
    REQUIRE(alpha > 0);
    for (std::size_t j = 0; j < d.size(); ++j) {
      x[j] += alpha * d[j];
      r[j] -= alpha * q[j];
    }
  }
  CHECK(rz < 1e-16 * start);
}

#if !defined(OT_TEST_GPU)
TEST_CASE("a factor made on the host can be interrupted, and the next one is complete") {
  int polls = 0, last = 10;  // the copies to the host poll a few times before
  Emulator device(0, {}, [&] { return ++polls == last; });
  std::mt19937_64 rng(3);
  const Graph graph(500, 400, 6, 1e-9, rng);
  const auto factor = [&](auto& be) {
    return be.kept_factor(graph.kept(), 500, 400, graph.rows.data(), graph.columns.data());
  };
  cuda::BackendOn<Emulator> be(device), fresh(device);
  CHECK_THROWS_AS(factor(be), Interrupted);
  CHECK(polls == last);
  REQUIRE(factor(be));
  REQUIRE(factor(fresh));
  Vector y(400), z(400), want(400);
  for (double& v : y) v = draw(rng) - 0.5;
  be.kept_solve(500, 400, y.data(), z.data());
  fresh.kept_solve(500, 400, y.data(), want.data());
  CHECK(z == want);
}
#endif

TEST_CASE_TEMPLATE("the row sums of a pass survive its repetition", Type, OT_TESTED) {
  everywhere<Type>({{.n = 5, .m = 1025}}, [](auto& be, auto& ref, const auto& p) {
    Vector phi = p.phi, want = p.phi, row(size(p.n)), row_want(size(p.n));
    Pass pass = p.pass(phi.data(), true), expected = p.pass(want.data(), true);
    pass.row = row.data();
    expected.row = row_want.data();
    Kept kept{.threshold = 1e-12, .limit = p.m};  // more than the first storage holds: the pass is repeated
    be.pass(geometry<Type>(p), pass, kept);
    ref.pass(plain(p), expected);
    check_close(row, row_want, 1e-12);
  });
}

TEST_CASE_TEMPLATE("too many entries to keep are reported", Type, OT_TESTED) {
  everywhere<Type>({{.n = 5, .m = 9}, {.n = 130, .m = 481}}, [](auto& be, auto&, const auto& p) {
    for (const index limit : {index{1}, p.m / 2, p.m - 1, p.m}) {
      CAPTURE(limit);
      Vector phi = p.phi;
      Kept kept{.threshold = 0, .limit = limit};
      be.pass(geometry<Type>(p), p.pass(phi.data(), true), kept);
      CHECK(kept.overflow == (limit < p.m));
      kept.threshold = 0.9;  // the storage can be used by the next pass
      be.pass(geometry<Type>(p), p.pass(phi.data(), true), kept);
      CHECK_FALSE(kept.overflow);
      CHECK(kept.nnz == 0);
    }
  });
}

TEST_CASE_TEMPLATE("stored kernel", Type, OT_TESTED) {
  everywhere<Type>([](auto& be, auto& ref, const auto& p) {
    typename Type::Tested::Kernel K;
    ReferenceBackend::Kernel want;
    Vector q(size(p.m)), target(size(p.n));
    for (std::size_t j = 0; j < q.size(); ++j) q[j] = p.b[j] * (1 + 0.1 * std::sin(static_cast<double>(j)));
    for (std::size_t i = 0; i < target.size(); ++i) target[i] = 1 + 0.1 * std::cos(static_cast<double>(i));
    for (const Precision storage : {Precision::f32, Precision::f64}) {
      be.build_kernel(geometry<Type>(p), p.reg, p.phi.data(), p.psi.data(), storage, K);
      ref.build_kernel(plain(p), p.reg, p.phi.data(), p.psi.data(), storage, want);
      for (const Precision precision : {Precision::f32, Precision::f64}) {
        const double tol = p.tolerance(storage) + (precision == Precision::f32 ? 1e-5 : 0);
        const double floor = storage == Precision::f32 || precision == Precision::f32 ? 1e-31 : 1e-290;
        for (const bool given : {true, false}) {
          CAPTURE(static_cast<int>(storage));
          CAPTURE(static_cast<int>(precision));
          CAPTURE(given);
          Vector u(size(p.n), 0.7), row(size(p.n)), col(size(p.m));
          Vector u_want = u, row_want = row, col_want = col;
          KernelPass pass{
              .q = q.data(), .target = given ? target.data() : nullptr, .a = p.a.data(), .precision = precision};
          KernelPass expected = pass;
          pass.u = u.data();
          pass.row = row.data();
          pass.col = col.data();
          expected.u = u_want.data();
          expected.row = row_want.data();
          expected.col = col_want.data();
          be.kernel_pass(K, pass);
          ref.kernel_pass(want, expected);
          check_close(u, u_want, tol);
          check_close(row, row_want, tol, floor);
          check_close(col, col_want, tol, floor);
        }
      }
    }
  });
}

TEST_CASE_TEMPLATE("c-transforms", Type, OT_TESTED) {
  everywhere<Type>([](auto& be, auto& ref, const auto& p) {
    const Geometry &geo = geometry<Type>(p), &definition = plain(p);
    const double tol = p.tolerance(Precision::f64), floor = tol * p.reg;
    Vector g = p.psi, row(size(p.n)), row_want(size(p.n)), col(size(p.m)), col_want(size(p.m));
    for (double& v : g) v *= p.reg;

    be.c_transform(geo, g.data(), row.data(), p.a.data(), col.data());
    ref.c_transform(definition, g.data(), row_want.data(), p.a.data(), col_want.data());
    check_close(row, row_want, tol, floor);
    check_close(col, col_want, tol, floor);

    be.c_transform(geo, g.data(), row.data(), nullptr, nullptr);
    check_close(row, row_want, tol, floor);

    for (double& f : row) f = std::isfinite(f) ? f - 0.1 : 0.3;
    const Vector given = row;
    be.c_transform(geo, nullptr, row.data(), nullptr, col.data());
    row_want = given;
    ref.c_transform(definition, nullptr, row_want.data(), nullptr, col_want.data());
    CHECK(row == given);
    check_close(col, col_want, tol, floor);
  });
}

TEST_CASE_TEMPLATE("costs applied and written out", Type, OT_TESTED) {
  everywhere<Type>([](auto& be, auto& ref, const auto& p) {
    using T = typename Type::Real;
    const double tol = p.tolerance(Precision::f64);
    Vector w = p.psi, out(size(p.n)), want(size(p.n));
    for (std::size_t j = 0; j < w.size(); j += 3) w[j] = 0;
    be.cost_apply(geometry<Type>(p), w.data(), out.data());
    ref.cost_apply(plain(p), w.data(), want.data());
    for (Vector* v : {&out, &want})
      for (double& o : *v) o = std::isfinite(o) ? o : kInf;  // inf - inf where two pairs are forbidden
    check_close(out, want, tol, tol * p.range * static_cast<double>(p.m));

    const index ld = p.m + 2;
    Values<T> rows(size(p.n * ld), T(-1));
    be.cost_rows(geometry<Type>(p), rows.data(), ld);
    Vector cost, cost_want;
    index outside = 0;
    for (index i = 0; i < p.n; ++i) {
      for (index j = 0; j < p.m; ++j) {
        cost.push_back(static_cast<double>(rows[size(i * ld + j)]) - plain(p).shift);
        cost_want.push_back(static_cast<double>(ReferenceBackend::cost(plain(p), i, j)));
      }
      for (index j = p.m; j < ld; ++j) outside += rows[size(i * ld + j)] != T(-1);
    }
    check_close(cost, cost_want, tol, tol * p.reg);
    CHECK(outside == 0);
  });
}

TEST_CASE_TEMPLATE("the plan applied", Type, OT_TESTED) {
  everywhere<Type>([](auto& be, auto& ref, const auto& p) {
    const double tol = p.tolerance(Precision::f64);
    Vector phi = p.phi;
    const Pass pass = p.pass(phi.data(), false);
    for (const bool columns : {false, true}) {
      CAPTURE(columns);
      const index k = 3, from = columns ? p.n : p.m, to = columns ? p.m : p.n;
      Vector V(size(k * from)), out(size(k * to)), want(size(k * to));
      for (std::size_t s = 0; s < V.size(); ++s) V[s] = 1.1 + std::sin(static_cast<double>(s));
      be.apply_plan(geometry<Type>(p), pass, V.data(), k, columns, out.data());
      ref.apply_plan(plain(p), pass, V.data(), k, columns, want.data());
      check_close(out, want, tol, lost(Precision::f64));
    }
  });
}

TEST_CASE_TEMPLATE("rows of the plan", Type, OT_TESTED) {
  const auto rows_of = [](auto zero, auto& be, auto& ref, const auto& p, Precision precision, double tol) {
    using Out = decltype(zero);
    const index first = p.n / 3, last = p.n - p.n / 4, ld = p.m + 1;
    Vector phi = p.phi, want_phi = p.phi;
    Values<Out> out(size((last - first) * ld), Out(-1));
    be.plan_rows(geometry<Type>(p), p.pass(phi.data(), false, precision), first, last, out.data(), ld);
    Kept all{.threshold = -1};
    ref.pass(plain(p), p.pass(want_phi.data(), false), all);
    Vector entry, want;
    index outside = 0;
    for (index i = first; i < last; ++i) {
      const Out* row = out.data() + (i - first) * ld;
      entry.insert(entry.end(), row, row + p.m);
      want.insert(want.end(), all.val + i * p.m, all.val + (i + 1) * p.m);
      outside += row[p.m] != Out(0);
    }
    check_close(entry, want, tol, precision == Precision::f32 ? 1e-31 : 1e-290);
    CHECK(outside == 0);
  };
  with_precisions<Type>([&](auto& be, auto& ref, const auto& p, Precision precision, double tol) {
    if (precision == Precision::f32) rows_of(0.0f, be, ref, p, precision, tol);
    else rows_of(0.0, be, ref, p, precision, tol);
  });
}

TEST_CASE_TEMPLATE("statistics of a dense cost", Type, OT_TESTED) {
  using T = typename Type::Real;
  constexpr T inf = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
  typename Type::Tested be(2);
  for (const index m : sizes())
    for (const index n : {1, 5, 67}) {
      const index ld = m + 1;
      CAPTURE(n);
      CAPTURE(m);
      Values<T> C(size(n * ld), nan);
      for (index i = 0; i < n; ++i)
        for (index j = 0; j < m; ++j) C[size(i * ld + j)] = static_cast<T>((i * 31 + j * 17) % 101) - 50;
      const std::vector<std::pair<index, T>> changes{
          {0, T(-66)}, {n * m - 1, T(77)}, {n * m / 2, inf}, {n * m / 3, nan}, {n * m / 4, -inf}};
      for (const auto& [at, value] : changes) {
        C[size(at / m * ld + at % m)] = value;
        CostStats want{kInf, -kInf, 0, 0, 0, -1};
        for (index k = 0; k < n * m; ++k) {
          const auto v = static_cast<double>(C[size(k / m * ld + k % m)]);
          want.nan += std::isnan(v);
          want.pos_inf += v == kInf;
          want.neg_inf += v == -kInf;
          if (want.first_bad < 0 && (std::isnan(v) || v == -kInf)) want.first_bad = k;
          if (!std::isfinite(v)) continue;
          want.min = std::min(want.min, v);
          want.max = std::max(want.max, v);
        }
        Geometry geo;
        geo.dtype = sizeof(T) == 4 ? DType::f32 : DType::f64;
        geo.n = n;
        geo.m = m;
        geo.C = C.data();
        geo.ld = ld;
        const auto s = be.stats(geo);
        CHECK(s.min == want.min);
        CHECK(s.max == want.max);
        CHECK(s.nan == want.nan);
        CHECK(s.pos_inf == want.pos_inf);
        CHECK(s.neg_inf == want.neg_inf);
        CHECK(s.first_bad == want.first_bad);
        geo.column_major = true;  // the transpose
        std::swap(geo.n, geo.m);
        const auto t = be.stats(geo);
        CHECK(t.min == want.min);
        CHECK(t.pos_inf == want.pos_inf);
        CHECK(t.first_bad == want.first_bad);
      }
    }
}

// All that a backend reads of stored costs.
template <class Type, class P>
std::vector<Vector> readings(typename Type::Tested& be, const P& p) {
  using Real = typename Type::Real;
  const Geometry& geo = geometry<Type>(p);
  std::vector<Vector> all;
  for (const Precision precision : {Precision::f32, Precision::f64})
    for (const bool update : {false, true}) {
      Vector phi = p.phi, row(size(p.n)), col(size(p.m)), cost(size(p.n));
      phi[0] = update ? kNaN : phi[0];
      Pass pass = p.pass(phi.data(), update, precision);
      pass.row = row.data();
      pass.col = col.data();
      if (!update) pass.cost = cost.data();
      be.pass(geo, pass);
      Kept kept{.threshold = 1e-3, .limit = p.m};
      be.pass(geo, p.pass(phi.data(), update, precision), kept);
      all.insert(all.end(), {phi, row, col, cost, Vector(1, static_cast<double>(kept.nnz))});
    }
  Vector f(size(p.n)), g = p.psi, low(size(p.m)), product(size(p.n)), entries(size(p.n * p.m));
  be.c_transform(geo, g.data(), f.data(), p.a.data(), low.data());
  be.cost_apply(geo, p.b.data(), product.data());
  Vector phi = p.phi;
  be.plan_rows(geo, p.pass(phi.data(), false), 0, p.n, entries.data(), p.m);
  Values<Real> costs(size(p.n * p.m));
  be.cost_rows(geo, costs.data(), p.m);
  Candidates pairs;
  be.candidates(geo, f.data(), g.data(), p.reg, p.n * p.m, pairs);
  Vector u(size(p.n)), sums(size(p.m));
  typename Type::Tested::Kernel K;
  be.build_kernel(geo, p.reg, p.phi.data(), p.psi.data(), Precision::f32, K);
  const Vector ones(size(p.n), 1.0);
  be.kernel_pass(K, {.q = p.b.data(), .target = ones.data(), .a = p.a.data(), .u = u.data(), .col = sums.data()});
  all.insert(all.end(), {f, low, product, entries, Vector(costs.begin(), costs.end()), u, sums,
                         Vector(pairs.cost.data(), pairs.cost.data() + pairs.nnz)});
  return all;
}

TEST_CASE_TEMPLATE("column-major costs give the bits of row-major ones", Type, OT_TESTED) {
  // A backend each: where its storage of kept entries grows, a pass is repeated from the phi that it has updated.
  typename Type::Tested row_major(2), column_major(2);
  for (Spec spec : dense_specs()) {
    if (spec.column_major || spec.n * spec.m > 20000) continue;
    CAPTURE(spec);
    const Instance<typename Type::Real> rows(spec);
    spec.column_major = true;
    const Instance<typename Type::Real> columns(spec);
    const auto got = readings<Type>(column_major, columns), want = readings<Type>(row_major, rows);
    for (std::size_t k = 0; k < want.size(); ++k) {
      CAPTURE(k);
      REQUIRE(got[k].size() == want[k].size());
      CHECK(std::memcmp(got[k].data(), want[k].data(), want[k].size() * sizeof(double)) == 0);
    }
  }
}

TEST_CASE_TEMPLATE("vectors", Type, OT_TESTED_ONCE) {
  typename Type::Tested be(2);
  ReferenceBackend ref;
  std::vector<index> lengths = sizes();
  for (const index n : {4095, 4096, 4097, 20000}) lengths.push_back(n);
  for (const index n : lengths) {
    CAPTURE(n);
    Vector x(size(n)), y(size(n)), out(size(n)), want(size(n));
    for (std::size_t k = 0; k < x.size(); ++k) {
      x[k] = 40 * std::sin(1.7 * static_cast<double>(k));
      y[k] = std::exp(15 * std::cos(0.3 * static_cast<double>(k)));
    }
    be.exp(n, x.data(), out.data());
    ref.exp(n, x.data(), want.data());
    check_close(out, want, 42 * 0x1p-52);
    be.log(n, y.data(), out.data());
    ref.log(n, y.data(), want.data());
    check_close(out, want, 0x1p-51, 0x1p-53);
    out = x;
    be.exp(n, out.data(), out.data());
    ref.exp(n, x.data(), want.data());
    check_close(out, want, 42 * 0x1p-52);

    std::array<const double*, 4> D{x.data(), y.data(), out.data(), x.data()};
    const Vector w(size(n), 0.5), c{0.3, -2, 1e-3, 7};
    for (int count = 0; count <= 4; ++count) {
      Vector dots(4), dots_want(4), sum(size(n)), sum_want(size(n));
      be.dots(n, w.data(), x.data(), D, count, dots.data());
      ref.dots(n, w.data(), x.data(), D, count, dots_want.data());
      Vector scale(4);
      for (std::size_t k = 0; k < 4; ++k)
        for (std::size_t j = 0; j < x.size(); ++j) scale[k] += std::fabs(0.5 * x[j] * D[k][j]);
      for (std::size_t k = 0; k < 4; ++k) CHECK(std::fabs(dots[k] - dots_want[k]) <= 1e-14 * scale[k]);
      be.combine(n, x.data(), c.data(), D, count, sum.data());
      ref.combine(n, x.data(), c.data(), D, count, sum_want.data());
      double top = 1;
      for (const double v : out) top = std::max(top, v);
      for (const double v : y) top = std::max(top, v);
      check_close(sum, sum_want, 1e-14, 1e-15 * top);
    }

    double* to = out.data();
    be.for_each(n, [=] OT_HD(index i) { to[i] = static_cast<double>(i); });
    std::iota(want.begin(), want.end(), 0.0);
    CHECK(out == want);
    const auto total = be.template sums<2>(n, [] OT_HD(index i, double* s) {
      s[0] += static_cast<double>(i);
      s[1] += 1;
    });
    CHECK(total[0] == static_cast<double>(n * (n - 1) / 2));
    CHECK(total[1] == static_cast<double>(n));
  }
}

TEST_CASE_TEMPLATE("exp and log at the ends of their range", Type, OT_TESTED_ONCE) {
  typename Type::Tested be(1);
  Vector x{-kInf, -1e300, -800, -709, -0.0, 0, 1e-300}, out(x.size());
  be.exp(static_cast<index>(x.size()), x.data(), out.data());
  CHECK(out == Vector{0, 0, 0, 0, 1, 1, 1});
  x = {710, 1e300, kInf};
  out.resize(3);
  be.exp(3, x.data(), out.data());
  for (const double v : out) CHECK(v > 8e307);
  x = {0, -1, 1e-310, 0x1p-1022, 1, 0x1.fffffffffffffp1023};
  out.resize(6);
  be.log(6, x.data(), out.data());
  for (std::size_t k = 0; k < 6; ++k)
    CHECK(out[k] == doctest::Approx(std::log(std::max(x[k], 0x1p-1022))).epsilon(1e-15));
}

// Chunks of rows are walked in pieces where m is large. All rows alike: col is a softmax.
TEST_CASE_TEMPLATE("a pass over rows longer than a piece", Type, OT_TESTED) {
  using T = typename Type::Real;
  const index n = 67, m = 160000;
  Values<T> C(size(m));
  Vector h(size(m), 0.0), phi(size(n), kNaN), a(size(n), 1.0 / static_cast<double>(n)), col(size(m)), want(size(m));
  double sum = 0;
  for (std::size_t j = 0; j < C.size(); ++j) {
    C[j] = static_cast<T>(3 + 2 * std::sin(static_cast<double>(j)));
    sum += want[j] = std::exp(-2 * static_cast<double>(C[j]));
  }
  for (double& w : want) w /= sum;
  Geometry geo;
  geo.dtype = sizeof(T) == 4 ? DType::f32 : DType::f64;
  geo.n = n;
  geo.m = m;
  geo.C = C.data();
  geo.ld = 0;
  Pass pass;
  pass.reg = 0.5;
  pass.h = h.data();
  pass.phi = phi.data();
  pass.a = a.data();
  pass.update = true;
  pass.col = col.data();
  Kept kept{.threshold = 0.9999 * *std::max_element(want.begin(), want.end()), .limit = m};
  typename Type::Tested be(2);
  be.pass(geo, pass, kept);
  check_close(phi, Vector(size(n), -std::log(sum)), 1e-13);
  check_close(col, want, 1e-12);
  const index each = kept.end[0] - kept.begin[0];
  CHECK(each > 0);
  CHECK(kept.nnz == n * each);
  for (index i = 0; i < n; ++i) REQUIRE(kept.end[i] - kept.begin[i] == each);
}

}  // namespace ot
