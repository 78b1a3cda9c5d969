// Sinkhorn-Newton-Sparse as published (Tang, Shavlovsky, Rahmanian, Tardini, Thekumparampil, Xiao,
// Ying, ICLR 2024): N1 Sinkhorn steps, then Newton on the full dual
//   F(phi, psi) = <a, phi> + <b, psi> - sum_ij T_ij,  gradient (a - r, b - c),
// with the Hessian [[diag r, T], [T', diag c]] sparsified to the ceil(density n m) largest entries
// of T, exact diagonals, conjugate gradients and a backtracking line search.
#pragma once
#include "entropic/semidual.hpp"

namespace ot {

template <Backend B>
class Sns : SemiDual<B> {
  using Base = SemiDual<B>;
  using Base::be_, Base::clock_, Base::col_, Base::copy, Base::evaluate, Base::finish, Base::h_, Base::limits_;
  using Base::logb_, Base::m_, Base::n_, Base::p_, Base::phi_, Base::psi_, Base::rho_, Base::stalled_;
  using typename Base::Value;

 public:
  Sns(B& be, const Problem& p, const SnsOptions& o, const Monitor& monitor)
      : Base(be, p, o.limits, monitor), o_(o), row_(be.template buffer<double>(n_)) {
    for (auto& v : work_) v = be.template buffer<double>(n_ + m_);
  }

  EntropicOutcome solve(double* phi, double* psi) {
    phi_ = phi;
    psi_ = psi;
    EntropicOutcome out;
    Value v{};
    for (index k = 0; k < std::max<index>(o_.sinkhorn_steps, 1) && clock_.can_pass(); ++k) {
      if (k > 0) {
        const double* rho = rho_.data();
        be_.for_each(m_, [=] OT_HD(index j) { psi[j] += rho[j]; });
      }
      v = evaluate(p_.reg, psi_, Precision::f64);
      if (v.error <= limits_.tol || clock_.exhausted()) break;
    }
    const auto wanted = static_cast<index>(std::ceil(o_.density * static_cast<double>(n_) * static_cast<double>(m_)));
    Kept T;
    T.limit = std::max<index>(64, 16 * ((wanted + n_ - 1) / n_));
    T.threshold = 1e-3 / static_cast<double>(std::max(n_, m_));
    if (v.error > limits_.tol && !clock_.exhausted()) v = full(phi, psi, T);
    while (v.error > limits_.tol && !clock_.exhausted() && !stalled_) {
      while (T.overflow && !clock_.exhausted()) {  // more than can be sorted: a higher cut
        T.threshold *= 10;
        v = full(phi, psi, T);
      }
      const double cut = be_.kept_largest(T, wanted);
      v = newton(v, T);
      T.threshold = std::max(0.1 * cut, 1e-300);
      ++out.newton_steps;
    }
    finish(out, v);
    out.n_iter = clock_.n_iter;
    return out;
  }

  // Below, public for nvcc: see SemiDual.
  // Both marginals, F and the kept entries at (phi, psi), without an update.
  Value full(const double* phi, const double* psi, Kept& T) {
    double* h = h_.data();
    const double *logb = logb_.data(), *a = p_.a, *b = p_.b;
    be_.for_each(m_, [=] OT_HD(index j) { h[j] = psi[j] + logb[j]; });
    Pass pass;
    pass.reg = p_.reg;
    pass.h = h;
    pass.phi = const_cast<double*>(phi);  // read only without update
    pass.a = a;
    pass.row = row_.data();
    pass.col = col_.data();
    be_.pass(p_.geo, pass, T);
    double *row = row_.data(), *col = col_.data();
    be_.for_each(n_, [=] OT_HD(index i) { row[i] *= a[i]; });
    const auto r = be_.template sums<2>(n_, [=] OT_HD(index i, double* s) {
      s[0] += std::fabs(a[i] - row[i]);
      s[1] += a[i] > 0 ? a[i] * phi[i] - row[i] : 0.0;
    });
    const auto c = be_.template sums<2>(m_, [=] OT_HD(index j, double* s) {
      s[0] += std::fabs(b[j] - col[j]);
      s[1] += b[j] > 0 ? b[j] * psi[j] : 0.0;
    });
    const Value v{std::max(r[0], c[0]), r[1] + c[1], 0};
    clock_.count(p_.reg, v.error, p_.reg * v.F);
    return v;
  }

  // Vectors of both sides lie behind one another: rows, then columns.
  double dot(const double* x, const double* y) {
    return be_.template sums<1>(n_ + m_, [=] OT_HD(index i, double* s) { s[0] += x[i] * y[i]; })[0];
  }

  Value newton(const Value& at, Kept& T) {
    double *x = work_[0].data(), *r = work_[1].data(), *d = work_[2].data(), *q = work_[3].data();
    double *diagonal = work_[4].data(), *gradient = work_[5].data(), *trial = work_[6].data();
    const double *a = p_.a, *b = p_.b, *row = row_.data(), *col = col_.data();
    const index n = n_, size = n_ + m_;
    be_.for_each(size, [=] OT_HD(index i) {
      const double mass = i < n ? row[i] : col[i - n];
      gradient[i] = (i < n ? a[i] : b[i - n]) - mass;
      diagonal[i] = mass > 0 ? mass : 1.0;
      x[i] = 0;
      r[i] = gradient[i];
      d[i] = r[i] / diagonal[i];
    });
    double rz = dot(r, d);
    const double stop = 1e-8 * rz;
    for (index k = 0; k < 1000 && rz > stop; ++k) {
      be_.kept_apply(T, n_, d + n, q);
      be_.kept_apply_transposed(T, n_, m_, d, q + n);
      const double curvature = be_.template sums<1>(size, [=] OT_HD(index i, double* s) {
        q[i] += diagonal[i] * d[i];
        s[0] += d[i] * q[i];
      })[0];
      if (!(curvature > 0)) break;
      const double alpha = rz / curvature;
      const double next = be_.template sums<1>(size, [=] OT_HD(index i, double* s) {
        x[i] += alpha * d[i];
        r[i] -= alpha * q[i];
        s[0] += r[i] * r[i] / diagonal[i];
      })[0];
      const double beta = next / rz;
      be_.for_each(size, [=] OT_HD(index i) { d[i] = r[i] / diagonal[i] + beta * d[i]; });
      rz = next;
    }
    const double slope = dot(gradient, x), slack = 1e-14 * (1 + std::fabs(at.F));
    Value v = at;
    for (double alpha = 1; alpha > 1e-9 && !clock_.exhausted(); alpha *= 0.5) {
      const double *phi = phi_, *psi = psi_;
      be_.for_each(size, [=] OT_HD(index i) { trial[i] = (i < n ? phi[i] : psi[i - n]) + alpha * x[i]; });
      v = full(trial, trial + n, T);
      if (std::isfinite(v.F) && v.F >= at.F + 1e-4 * alpha * slope - slack) {
        copy(trial, phi_, n_);
        copy(trial + n, psi_, m_);
        fruitless_ = v.error < 0.99 * at.error ? 0 : fruitless_ + 1;
        stalled_ = fruitless_ > 50;
        return v;
      }
    }
    stalled_ = true;
    return at;
  }

 private:
  const SnsOptions o_;
  Buffer<double> row_;
  std::array<Buffer<double>, 7> work_;
  index fruitless_ = 0;
};

}  // namespace ot
