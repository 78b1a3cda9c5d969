// The linear system of a Newton step on the semi-dual,
//   (H + mu diag(c)) d = b - c,  H = diag(c) - T' diag(1/a) T,
// T the entries of the plan that a pass has kept. The diagonal is exact, so that H is positive semi-definite
// whatever was dropped: dropped mass stays on the diagonal. mu -> infinity is a damped Sinkhorn step, mu -> 0 Newton.
//
// Conjugate gradients, preconditioned by the diagonal, and after kFactorPays iterations by an approximate factor of the
// graph of the plan (graph_factor.hpp). An iteration reads T twice.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>

#include "algorithms/conjugate_gradients.hpp"
#include "core/elementwise.hpp"
#include "core/problem.hpp"
#include "entropic/constants.hpp"

namespace ot {

// Damping, trust region and accuracy of Newton steps, adapted from step to step.
struct StepControl {
  double mu = 0;                        // damping, in units of diag(c)
  double radius = entropic::kRadius;    // of the trust region
  double forcing = entropic::kForcing;  // residual of the linear system, relative to the error, in L1

  // After a step that did not raise F.
  void shorten() {
    mu = std::min(entropic::kMostDamping, entropic::kDampingRise * mu + entropic::kFirstDamping);
    radius = std::max(entropic::kLeastRadius, entropic::kRadiusFall * radius);
  }
  // After a step that took the error from `before` to `now`.
  void accept(double before, double now, bool clipped) {
    mu = mu < entropic::kLeastDamping ? 0 : entropic::kDampingFall * mu;
    if (clipped) radius *= entropic::kRadiusRise;
    forcing = std::clamp(entropic::kForcing * now / before, entropic::kLeastForcing, entropic::kMostForcing);
  }
};

struct NewtonStep {
  double slope = 0;      // <b - c, step>
  bool clipped = false;  // to the trust region
  bool solved = true;    // to the accuracy asked for
};

// The operations that conjugate_gradients.hpp asks for, and the step itself. Public for nvcc: see SoftTransform.
template <Backend B>
class NewtonSystem {
 public:
  NewtonSystem(B& be, const Problem& p) : be_(be), p_(p), n_(p.geo.n), m_(p.geo.m) {
    for (Buffer<double>* v : {&krylov_.x, &krylov_.r, &krylov_.d, &krylov_.q, &krylov_.z, &diagonals_.diagonal,
                              &diagonals_.inverse, &diagonals_.ones})
      *v = be.template buffer<double>(m_);
    for (Buffer<double>* v : {&krylov_.rows, &diagonals_.inverse_a}) *v = be.template buffer<double>(n_);
    set_constants();
  }

  void set_constants() {
    double* inverse_a = diagonals_.inverse_a.data();
    const double* a = p_.a;
    fill(be_, m_, 1.0, diagonals_.ones.data());
    be_.for_each(n_, [=] OT_HD(index i) { inverse_a[i] = a[i] > 0 ? 1 / a[i] : 0; });
  }

  // The step at column sums c and kept entries T, clipped to the trust region. `rounding` of c and T keeps H
  // definite where rows and columns match one to one.
  NewtonStep solve(const Kept& T, const double* c, double error, double rounding, const StepControl& control) {
    kept_ = &T;
    c_ = c;
    damp_ = 1 + control.mu + rounding;
    rounding_ = rounding;
    renewed_ = false;
    const double goal = control.forcing * error;
    const Residual left = conjugate_gradients(*this, goal, entropic::kCgIterations);
    NewtonStep out;
    out.solved = left.size <= goal;
    out.clipped = clip(control.radius);
    out.slope = dot(krylov_.r.data(), krylov_.x.data());
    return out;
  }

  const double* step() const { return krylov_.x.data(); }
  double* scratch() { return krylov_.q.data(); }  // (m), free between solves
  void forget_factor() { factored_ = false; }

  Residual start() {
    const double *b = p_.b, *c = c_;
    double *x = krylov_.x.data(), *r = krylov_.r.data();
    double *diagonal = diagonals_.diagonal.data(), *inverse = diagonals_.inverse.data();
    const double damp = damp_, rounding = rounding_;
    be_.kept_diagonal(*kept_, n_, m_, diagonals_.inverse_a.data(), inverse);
    const double rz = be_.template sums<1>(m_, [=] OT_HD(index j, double* s) {
      diagonal[j] = b[j] > 0 ? damp * c[j] : 1.0;
      const double exact = diagonal[j] - inverse[j];
      inverse[j] = 1 / std::max(exact, rounding * diagonal[j] + 1e-300);
      x[j] = 0;
      r[j] = b[j] - c[j];
      s[0] += inverse[j] * r[j] * r[j];
    })[0];
    return {.rz = rz, .size = INFINITY};
  }

  // The factor is made once a system: after kFactorPays iterations with the diagonal, or after kFactorPays /
  // kStaleFactor with the factor of an earlier step.
  bool renew(index k) {
    const index patience = factored_ ? B::kFactorPays / entropic::kStaleFactor : B::kFactorPays;
    if (renewed_ || k != patience) return false;
    renewed_ = true;
    factored_ = be_.kept_factor(*kept_, n_, m_, p_.a, diagonals_.diagonal.data());
    return true;
  }

  double precondition(double rz) {
    if (!factored_) return rz;
    be_.kept_solve(n_, m_, krylov_.r.data(), krylov_.z.data());
    return dot(krylov_.r.data(), krylov_.z.data());
  }

  double direct(double beta) {
    double *d = krylov_.d.data(), *q = krylov_.q.data(), *rows = krylov_.rows.data();
    const double *r = krylov_.r.data(), *z = krylov_.z.data();
    const double *inverse = diagonals_.inverse.data(), *diagonal = diagonals_.diagonal.data(),
                 *inverse_a = diagonals_.inverse_a.data();
    const bool factored = factored_;
    be_.for_each(
        m_, [=] OT_HD(index j) { d[j] = (factored ? z[j] : inverse[j] * r[j]) + (beta != 0 ? beta * d[j] : 0.0); });
    be_.kept_apply(*kept_, n_, d, rows);
    be_.for_each(n_, [=] OT_HD(index i) { rows[i] *= inverse_a[i]; });
    be_.kept_apply_transposed(*kept_, n_, m_, rows, q);
    be_.for_each(m_, [=] OT_HD(index j) { q[j] = diagonal[j] * d[j] - q[j]; });
    return dot(d, q);
  }

  Residual advance(double alpha) {
    double *x = krylov_.x.data(), *r = krylov_.r.data();
    const double *d = krylov_.d.data(), *q = krylov_.q.data(), *inverse = diagonals_.inverse.data();
    const auto s = be_.template sums<2>(m_, [=] OT_HD(index j, double* sum) {
      x[j] += alpha * d[j];
      r[j] -= alpha * q[j];
      sum[0] += inverse[j] * r[j] * r[j];
      sum[1] += std::fabs(r[j]);
    });
    return {.rz = s[0], .size = s[1]};
  }

  // Clips the step to the trust region; returns whether it was outside. r becomes the gradient b - c.
  bool clip(double radius) {
    double *x = krylov_.x.data(), *r = krylov_.r.data();
    const double *b = p_.b, *c = c_;
    const double outside =
        be_.template sums<1>(m_, [=] OT_HD(index j, double* s) { s[0] += std::fabs(x[j]) > radius; })[0];
    be_.for_each(m_, [=] OT_HD(index j) {
      x[j] = std::min(radius, std::max(-radius, x[j]));
      r[j] = b[j] - c[j];
    });
    return outside > 0;
  }

  double dot(const double* x, const double* y) {
    double out = 0;
    be_.dots(m_, diagonals_.ones.data(), x, std::array<const double*, 1>{y}, 1, &out);
    return out;
  }

 private:
  struct Krylov {
    Buffer<double> x, r, d, q, z;  // (m)
    Buffer<double> rows;           // (n) T d
  };
  struct Diagonals {
    Buffer<double> diagonal;   // (m) (1 + mu) c
    Buffer<double> inverse;    // (m) 1 over the diagonal of H + mu diag(c)
    Buffer<double> ones;       // (m)
    Buffer<double> inverse_a;  // (n) 1/a
  };
  B& be_;
  const Problem p_;
  const index n_, m_;
  Krylov krylov_;
  Diagonals diagonals_;
  const Kept* kept_ = nullptr;  // of the system being solved
  const double* c_ = nullptr;
  double damp_ = 1, rounding_ = 0;
  bool renewed_ = false, factored_ = false;
};

}  // namespace ot
