// Sinkhorn-Newton-Sparse as published (Tang, Shavlovsky, Rahmanian, Tardini, Thekumparampil, Xiao,
// Ying, ICLR 2024): N1 Sinkhorn steps, then Newton on the full dual
//   F(phi, psi) = <a, phi> + <b, psi> - sum_ij T_ij,  gradient (a - r, b - c),
// with the Hessian [[diag r, T], [T', diag c]] sparsified to the ceil(density n m) largest entries
// of T, exact diagonals, conjugate gradients and a backtracking line search.
#pragma once
#include <array>

#include "algorithms/conjugate_gradients.hpp"
#include "core/elementwise.hpp"
#include "entropic/resolution.hpp"
#include "entropic/soft_transform.hpp"

namespace ot {

// The Newton system of the full dual. Vectors hold rows, then columns: (n + m).
// Operations as conjugate_gradients.hpp asks for them; public for nvcc: see SoftTransform.
template <Backend B>
class SnsSystem {
 public:
  SnsSystem(B& be, const Problem& p) : be_(be), p_(p), n_(p.geo.n), size_(p.geo.n + p.geo.m) {
    for (Buffer<double>* v : {&x_, &r_, &d_, &q_, &diagonal_, &gradient_}) *v = be.template buffer<double>(size_);
  }

  // The step at row sums `row` and column sums `col` of the plan, with its kept entries T. Returns <gradient, step>.
  double solve(const Kept& T, const double* row, const double* col) {
    kept_ = &T;
    assemble(row, col);
    first_ = dot(r_.data(), d_.data());
    conjugate_gradients(*this, entropic::kSnsCgTol * first_, entropic::kSnsCgIterations);
    return dot(gradient_.data(), x_.data());
  }
  const double* step() const { return x_.data(); }

  void assemble(const double* row, const double* col) {
    double *x = x_.data(), *r = r_.data(), *d = d_.data(), *diagonal = diagonal_.data(), *gradient = gradient_.data();
    const double *a = p_.a, *b = p_.b;
    const index n = n_;
    be_.for_each(size_, [=] OT_HD(index i) {
      const double mass = i < n ? row[i] : col[i - n];
      gradient[i] = (i < n ? a[i] : b[i - n]) - mass;
      diagonal[i] = mass > 0 ? mass : 1.0;
      x[i] = 0;
      r[i] = gradient[i];
      d[i] = r[i] / diagonal[i];
    });
  }

  Residual start() { return {.rz = first_, .size = first_}; }
  bool renew(index) { return false; }
  double precondition(double rz) { return rz; }

  double direct(double beta) {
    double *d = d_.data(), *q = q_.data();
    const double *r = r_.data(), *diagonal = diagonal_.data();
    be_.for_each(size_, [=] OT_HD(index i) { d[i] = r[i] / diagonal[i] + (beta != 0 ? beta * d[i] : 0.0); });
    be_.kept_apply(*kept_, n_, d + n_, q);
    be_.kept_apply_transposed(*kept_, n_, size_ - n_, d, q + n_);
    return be_.template sums<1>(size_, [=] OT_HD(index i, double* s) {
      q[i] += diagonal[i] * d[i];
      s[0] += d[i] * q[i];
    })[0];
  }

  Residual advance(double alpha) {
    double *x = x_.data(), *r = r_.data();
    const double *d = d_.data(), *q = q_.data(), *diagonal = diagonal_.data();
    const double rz = be_.template sums<1>(size_, [=] OT_HD(index i, double* s) {
      x[i] += alpha * d[i];
      r[i] -= alpha * q[i];
      s[0] += r[i] * r[i] / diagonal[i];
    })[0];
    return {.rz = rz, .size = rz};
  }

  double dot(const double* x, const double* y) {
    return be_.template sums<1>(size_, [=] OT_HD(index i, double* s) { s[0] += x[i] * y[i]; })[0];
  }

 private:
  B& be_;
  const Problem p_;
  const index n_, size_;
  Buffer<double> x_, r_, d_, q_, diagonal_, gradient_;
  const Kept* kept_ = nullptr;
  double first_ = 0;  // <r, z> of the start
};

template <Backend B>
class Sns {
 public:
  Sns(B& be, const Problem& p, const SnsOptions& o, const Monitor& monitor)
      : be_(be),
        p_(p),
        o_(o),
        clock_(o_.limits, monitor),
        transform_(be, p, {}, clock_),
        system_(be, p),
        row_(be.template buffer<double>(p.geo.n)),
        trial_(be.template buffer<double>(p.geo.n + p.geo.m)) {}

  EntropicOutcome solve(Potentials at) {
    EntropicOutcome out;
    const double tol = o_.limits.tol, asked = p_.reg;
    Value v = sinkhorn(at);
    if (!resolves(be_, p_, at, 1)) v = sinkhorn_resolved(at);
    const index n = p_.geo.n, m = p_.geo.m;
    const auto wanted = static_cast<index>(std::ceil(o_.density * static_cast<double>(n) * static_cast<double>(m)));
    Kept T;
    T.limit = std::max(entropic::kSnsLeastKept, entropic::kSnsSpare * ((wanted + n - 1) / n));
    T.threshold = entropic::kSnsThreshold / static_cast<double>(std::max(n, m));
    if (v.error > tol && !clock_.exhausted()) v = evaluate(at.rows, at.columns, T);
    while (v.error > tol && !clock_.exhausted() && !stalled_) {
      while (T.overflow && !clock_.exhausted()) {  // more entries than the limit
        T.threshold *= entropic::kSnsThresholdRise;
        v = evaluate(at.rows, at.columns, T);
      }
      const double cut = be_.kept_largest(T, wanted);
      v = newton(at, v, T);
      T.threshold = std::max(entropic::kSnsThresholdFall * cut, 1e-300);
      ++out.newton_steps;
    }
    conclude(out, v, p_.reg, o_.limits, clock_);
    out.n_iter = clock_.n_iter;
    out.reg = p_.reg;
    if (p_.reg > asked) out.status = Status::unresolved;
    return out;
  }

  // Below, public for nvcc: see SoftTransform.

  // N1 steps at the least reg that is resolved, where that is not the problem's: that of potentials of the size of the
  // range, then that of the potentials found.
  Value sinkhorn_resolved(Potentials at) {
    p_.reg = std::max(p_.reg, p_.range / entropic::kLargestMean);
    fill(be_, p_.geo.m, 0, at.columns);
    const Value v = sinkhorn(at);
    const double before = p_.reg;
    p_.reg = resolved_reg(be_, p_, at, before);
    if (!(p_.reg > before)) return v;
    rescale(be_, p_.geo.m, before / p_.reg, at.columns);
    return sinkhorn(at);
  }

  // N1 steps, one at least.
  Value sinkhorn(Potentials at) {
    Value v;
    for (index k = 0; k < std::max<index>(o_.sinkhorn_steps, 1) && clock_.can_pass(); ++k) {
      if (k > 0) add(be_, p_.geo.m, at.columns, 1.0, transform_.residual(), at.columns);
      v = transform_.evaluate(p_.reg, at.columns, at.rows, Precision::f64);
      if (v.error <= o_.limits.tol || clock_.exhausted()) break;
    }
    return v;
  }

  // Both marginals, F and the kept entries at (phi, psi), without an update.
  Value evaluate(const double* phi, const double* psi, Kept& T) {
    const double *a = p_.a, *b = p_.b;
    Pass pass;
    pass.reg = p_.reg;
    pass.h = transform_.weighted(psi);
    pass.phi = const_cast<double*>(phi);  // read only without update
    pass.a = a;
    pass.row = row_.data();
    pass.col = transform_.col();
    be_.pass(p_.geo, pass, T);
    double *row = row_.data(), *col = transform_.col();
    be_.for_each(p_.geo.n, [=] OT_HD(index i) { row[i] *= a[i]; });
    const auto r = be_.template sums<2>(p_.geo.n, [=] OT_HD(index i, double* s) {
      s[0] += std::fabs(a[i] - row[i]);
      s[1] += a[i] > 0 ? a[i] * phi[i] - row[i] : 0.0;
    });
    const auto c = be_.template sums<2>(p_.geo.m, [=] OT_HD(index j, double* s) {
      s[0] += std::fabs(b[j] - col[j]);
      s[1] += b[j] > 0 ? b[j] * psi[j] : 0.0;
    });
    const Value v{.error = std::max(r[0], c[0]), .F = r[1] + c[1]};
    clock_.count(p_.reg, v.error, p_.reg * v.F);
    return v;
  }

  // One Newton step with backtracking; where none gains, the solve has stalled.
  Value newton(Potentials at, const Value& before, Kept& T) {
    const double slope = system_.solve(T, row_.data(), transform_.col());
    const double slack = entropic::kSnsNoise * (1 + std::fabs(before.F));
    double *phi = at.rows, *psi = at.columns, *trial = trial_.data();
    const double* x = system_.step();
    const index n = p_.geo.n, m = p_.geo.m;
    for (double alpha = 1; alpha > entropic::kSnsLeastStep && !clock_.exhausted(); alpha *= 0.5) {
      add(be_, n, phi, alpha, x, trial);
      add(be_, m, psi, alpha, x + n, trial + n);
      const Value v = evaluate(trial, trial + n, T);
      if (!(std::isfinite(v.F) && v.F >= before.F + entropic::kArmijo * alpha * slope - slack)) continue;
      copy(be_, n, trial, phi);
      copy(be_, m, trial + n, psi);
      fruitless_ = v.error < entropic::kProgress * before.error ? 0 : fruitless_ + 1;
      since_best_ = v.error < entropic::kProgress * best_ ? 0 : since_best_ + 1;
      best_ = std::min(best_, v.error);
      stalled_ = fruitless_ > entropic::kSnsPatience || since_best_ > entropic::kSnsPatienceOnBest;
      return v;
    }
    stalled_ = true;
    return before;
  }

 private:
  B& be_;
  Problem p_;
  const SnsOptions o_;
  Clock clock_;
  SoftTransform<B> transform_;
  SnsSystem<B> system_;
  Buffer<double> row_, trial_;
  index fruitless_ = 0, since_best_ = 0;  // steps in a row without progress on the last error, and on the best
  double best_ = INFINITY;
  bool stalled_ = false;
};

}  // namespace ot
