// Safe sparse Newton on the semi-dual, with reg scaling.
//
// One pass gives F, the gradient b - c and the entries T_ij > threshold a_i of the plan. With exact
// diagonal,  H = diag(c) - T' diag(1/a) T  is positive semi-definite whatever was dropped: the
// dropped mass stays on the diagonal. The step solves (H + mu diag(c)) d = b - c by conjugate
// gradients, preconditioned by its diagonal or by a factor of the plan's graph; mu -> infinity is a
// damped Sinkhorn step, mu -> 0 Newton. A step that does not gain is shortened; then Sinkhorn, which
// always gains, takes over for one pass. Where too much would be kept, the stage is left to
// accelerated Sinkhorn.
#pragma once
#include "entropic/sinkhorn.hpp"

namespace ot {

template <Backend B>
class Newton : Sinkhorn<B> {
  using Base = Sinkhorn<B>;
  using Base::anderson_, Base::be_, Base::clock_, Base::col_, Base::copy, Base::evaluate, Base::finish;
  using Base::iterate, Base::last_stage, Base::limits_, Base::m_, Base::n_, Base::o_, Base::p_, Base::phi_, Base::psi_;
  using Base::rescale, Base::rho_, Base::stalled_, Base::trial_;
  using typename Base::Value;

 public:
  // The method in the options is the Sinkhorn that takes over where the plan is not sparse.
  Newton(B& be, const Problem& p, const SinkhornOptions& o, const Monitor& monitor)
      : Base(be, p, o, monitor),
        step_(be.template buffer<double>(m_)),
        residual_(be.template buffer<double>(m_)),
        direction_(be.template buffer<double>(m_)),
        product_(be.template buffer<double>(m_)),
        scaled_(be.template buffer<double>(m_)),
        inverse_(be.template buffer<double>(m_)),
        diagonal_(be.template buffer<double>(m_)),
        ones_(be.template buffer<double>(m_)),
        rows_(be.template buffer<double>(n_)),
        inverse_a_(be.template buffer<double>(n_)),
        phi_before_(be.template buffer<double>(n_)),
        psi_before_(be.template buffer<double>(m_)) {
    set_up();
  }

  EntropicOutcome solve(double* phi, double* psi) {
    phi_ = phi;
    psi_ = psi;
    EntropicOutcome out;
    double reg = Base::first_reg(), previous = 0;
    clock_.reserve = 1;
    while (reg > 1.5 * p_.reg && !clock_.exhausted()) {
      descend(reg, 3e-2, 30, Precision::f32);
      const double next = std::max(reg / 2, p_.reg);
      predict(previous, reg, next);
      previous = reg;
      reg = next;
      floor_ = kFloor;
      factored_ = false;
    }
    if (reg > p_.reg) rescale(reg / p_.reg);
    stalled_ = dense_ = false;
    final_ = true;
    Value v{};
    if (limits_.tol < 1e-4 && !clock_.exhausted()) v = descend(p_.reg, 1e-4, limits_.max_iter, Precision::f32);
    out.newton = true;
    if (dense_) {
      give_way(out);
    } else if (clock_.reserve = 0; clock_.can_pass()) {
      stalled_ = false;
      v = descend(p_.reg, limits_.tol, limits_.max_iter, Precision::f64);
      if (dense_) give_way(out);
      else finish(out, v);
    }
    out.n_iter = clock_.n_iter;
    return out;
  }

  // Below, public for nvcc: see SemiDual.
  void set_up() {
    double *ones = ones_.data(), *inverse_a = inverse_a_.data();
    const double* a = p_.a;
    be_.for_each(m_, [=] OT_HD(index j) { ones[j] = 1; });
    be_.for_each(n_, [=] OT_HD(index i) { inverse_a[i] = a[i] > 0 ? 1 / a[i] : 0; });
  }

  // Sinkhorn from here on; where it stalls, Newton on as much of the plan as there is room for.
  void give_way(EntropicOutcome& out) {
    out.newton = false;
    out.message = "the plan is not sparse: accelerated Sinkhorn";
    last_stage(out);
    if (out.status != Status::stalled || clock_.exhausted() || !clock_.can_pass()) return;
    stalled_ = false;
    wide_ = out.newton = true;
    out.message = "neither is the plan sparse nor Sinkhorn fast: Newton on all of it";
    finish(out, descend(p_.reg, limits_.tol, limits_.max_iter, Precision::f64));
  }

  // The potentials at the next reg by linear extrapolation of phi and psi in 1/reg.
  void predict(double previous, double reg, double next) {
    const bool known = previous > 0;
    const double t = known ? (1 / next - 1 / reg) / (1 / reg - 1 / previous) : 0, factor = reg / next;
    extrapolate(n_, phi_, phi_before_.data(), known, t, factor);
    extrapolate(m_, psi_, psi_before_.data(), known, t, factor);
  }
  void extrapolate(index n, double* now, double* before, bool known, double t, double factor) {
    be_.for_each(n, [=] OT_HD(index i) {
      const double guess = known ? now[i] + t * (now[i] - before[i]) : now[i] * factor;
      before[i] = now[i];
      now[i] = std::min(1e300, std::max(-1e300, guess));
    });
  }

  // Kept entries a row beyond which Sinkhorn is cheaper: m/16, half of it on the way there; never
  // more than 1024, so that memory stays O(n).
  Value descend(double reg, double tol, index most, Precision precision) {
    const double noise = precision == Precision::f32 ? 1e-7 : 1e-13;
    Kept kept;
    kept.threshold = threshold_;
    kept.limit = wide_ ? std::min<index>(m_, std::max<index>(1024, kWide / n_))
                       : std::clamp<index>(m_ / (final_ ? 16 : 32), 32, 1024);
    Value v = evaluate(reg, psi_, precision, &kept);
    index plain = 0, slow = 0, fruitless = 0;  // steps without a gain on the last error, or on the best
    double best = v.error;
    for (index k = 0; k < most && v.error > tol && !clock_.exhausted() && !stalled_; ++k) {
      if (kept.overflow && threshold_ < kThreshold) {  // it was lowered too far: back, and stay
        floor_ = threshold_ = 10 * threshold_;
        kept.threshold = threshold_;
        v = evaluate(reg, psi_, precision, &kept);
        continue;
      }
      if (kept.overflow) {
        dense_ = true;
        if (final_) return v;
        anderson_.reset();
        return iterate(v, tol, most - k, noise, [&](const double* psi) { return evaluate(reg, psi, precision); });
      }
      const double slope = solve_newton(kept, v.error, precision == Precision::f32 ? 4e-7 : 4e-15);
      const Value before = v;
      double *trial = trial_.data(), *sinkhorn = product_.data();
      const double *psi = psi_, *rho = rho_.data(), *step = step_.data();
      be_.for_each(m_, [=] OT_HD(index j) { sinkhorn[j] = psi[j] + rho[j]; });
      bool gained = false;
      for (const double alpha : {1.0, 0.25}) {
        if (!(slope > 0)) break;
        be_.for_each(m_, [=] OT_HD(index j) { trial[j] = psi[j] + alpha * step[j]; });
        kept.threshold = threshold_;
        v = evaluate(reg, trial, precision, &kept);
        const double slack = noise * (1 + std::fabs(before.F));
        gained =
            v.F >= before.F + 1e-4 * alpha * slope - slack && (v.F > before.F + slack || v.error < 2 * before.error);
        if (gained || clock_.exhausted()) break;
        mu_ = std::min(1.0, 4 * mu_ + 1e-4);
        reach_ = std::max(0.1, 0.25 * reach_);
      }
      if (!gained) {
        v = evaluate(reg, sinkhorn, precision, &kept);
        copy(sinkhorn, psi_, m_);
      } else {
        copy(trial, psi_, m_);
        mu_ = mu_ < 1e-5 ? 0 : 0.2 * mu_;
        if (clipped_) reach_ *= 2;
        forcing_ = std::clamp(0.1 * v.error / before.error, 0.03, 0.3);
      }
      // Steps that gain little have lost edges that matter: keep more, or give way.
      const bool weak = gained && !clipped_ && solved_ && v.error > kGain * before.error;
      const bool room = 3 * kept.nnz < 2 * kept.limit * n_;
      if (weak && room) threshold_ = std::max(threshold_ * 0.1, floor_);
      slow = weak && !room && v.error > 0.5 * before.error ? slow + 1 : 0;
      if (slow == kSlow && !wide_) kept.overflow = true;
      plain = v.error < 0.99 * before.error ? 0 : plain + 1;
      fruitless = v.error < 0.99 * best ? 0 : fruitless + 1;
      best = std::min(best, v.error);
      stalled_ = plain > 60 || fruitless > 300;
    }
    return v;
  }

  // step = (H + mu diag(c))^-1 (b - c) to a relative residual, clipped; returns <b - c, step>.
  // `rounding` of c and T keeps H definite where rows and columns match one to one. Diagonal
  // preconditioning, and where that takes long an approximate factor of the plan's graph; another one where
  // that has grown stale.
  double solve_newton(const Kept& T, double error, double rounding) {
    const double *a = p_.a, *b = p_.b, *col = col_.data(), *inverse_a = inverse_a_.data();
    double *x = step_.data(), *r = residual_.data(), *d = direction_.data(), *q = product_.data(), *z = scaled_.data();
    double *inverse = inverse_.data(), *diagonal = diagonal_.data(), *rows = rows_.data();
    const double damp = 1 + mu_ + rounding;
    be_.kept_diagonal(T, n_, m_, inverse_a, inverse);
    double next = be_.template sums<1>(m_, [=] OT_HD(index j, double* s) {
      diagonal[j] = b[j] > 0 ? damp * col[j] : 1.0;
      const double exact = diagonal[j] - inverse[j];
      inverse[j] = 1 / std::max(exact, rounding * diagonal[j] + 1e-300);
      x[j] = 0;
      r[j] = b[j] - col[j];
      s[0] += inverse[j] * r[j] * r[j];
    })[0];
    bool fresh = false;
    double rz = 0, left = error;
    index since = 0;  // a new preconditioner, which starts the directions afresh
    for (index k = 0; k < kMaxCg && left > forcing_ * error; ++k, ++since) {
      if (!fresh && k == (factored_ ? B::kFactorPays / 5 : B::kFactorPays)) {
        fresh = true;
        factored_ = be_.kept_factor(T, n_, m_, a, diagonal);
        since = 0;
      }
      const bool factored = factored_;
      if (factored) {
        be_.kept_solve(n_, m_, r, z);
        next = dot(r, z);
      }
      const double beta = since > 0 ? next / rz : 0;
      rz = next;
      if (!(rz > 0)) break;
      be_.for_each(
          m_, [=] OT_HD(index j) { d[j] = (factored ? z[j] : inverse[j] * r[j]) + (beta != 0 ? beta * d[j] : 0.0); });
      be_.kept_apply(T, n_, d, rows);
      be_.for_each(n_, [=] OT_HD(index i) { rows[i] *= inverse_a[i]; });
      be_.kept_apply_transposed(T, n_, m_, rows, q);
      be_.for_each(m_, [=] OT_HD(index j) { q[j] = diagonal[j] * d[j] - q[j]; });
      const double curvature = dot(d, q);
      if (!(curvature > 0)) break;
      const double alpha = rz / curvature;
      const auto sums = be_.template sums<2>(m_, [=] OT_HD(index j, double* s) {
        x[j] += alpha * d[j];
        r[j] -= alpha * q[j];
        s[0] += inverse[j] * r[j] * r[j];
        s[1] += std::fabs(r[j]);
      });
      next = sums[0];
      left = sums[1];
    }
    solved_ = left <= forcing_ * error;
    const double reach = reach_;
    clipped_ = be_.template sums<1>(m_, [=] OT_HD(index j, double* s) { s[0] += std::fabs(x[j]) > reach; })[0] > 0;
    be_.for_each(m_, [=] OT_HD(index j) {
      x[j] = std::min(reach, std::max(-reach, x[j]));
      r[j] = b[j] - col[j];
    });
    return dot(r, x);
  }

  double dot(const double* x, const double* y) {
    double out = 0;
    be_.dots(m_, ones_.data(), x, std::array<const double*, 1>{y}, 1, &out);
    return out;
  }

 private:
  static constexpr index kMaxCg = 500;
  static constexpr index kSlow = 3;        // slow steps in a row after which Sinkhorn takes over
  static constexpr index kWide = 1 << 24;  // entries kept where nothing else helps
  static constexpr double kGain = 0.07;    // error left by a step that lost nothing
  static constexpr double kThreshold = 1e-4, kFloor = 1e-9;
  bool clipped_ = false, dense_ = false, wide_ = false, final_ = false, solved_ = true, factored_ = false;
  double mu_ = 0, reach_ = 4, threshold_ = kThreshold, floor_ = kFloor;
  double forcing_ = 0.1;  // residual of the CG solve, in the L1 norm that the error is in
  Buffer<double> step_, residual_, direction_, product_, scaled_, inverse_, diagonal_, ones_, rows_, inverse_a_;
  Buffer<double> phi_before_, psi_before_;
};

}  // namespace ot
