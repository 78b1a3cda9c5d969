// The semi-dual of entropic transport and its accelerated fixed-point iteration: what every
// entropic solver stands on.
//
// With phi = f/reg eliminated by one pass over C, psi = g/reg maximises the concave
//   F(psi) = <a, phi(psi)> + <b, psi>,  gradient b - c(psi),
// and a Sinkhorn step is psi += log(b / c). Steps are Anderson accelerated and guarded by F, which
// every pass gives for free: an accelerated step that loses ground is replaced by the plain one.
#pragma once
#include <algorithm>
#include <cmath>
#include <utility>

#include "algorithms/anderson.hpp"
#include "core/backend.hpp"
#include "entropic/options.hpp"

namespace ot {

// Methods that run lambdas on the device are public, because nvcc asks for it; solvers inherit them
// out of sight.
template <Backend B>
class SemiDual {
 public:
  struct Value {
    double error = INFINITY, F = -INFINITY;
    double worst = 0;  // kernel domain: scalings that left their range
    double dead = 0;   // columns whose mass underflowed
  };

  SemiDual(B& be, const Problem& p, const Limits& limits, const Monitor& monitor, double rho_of_marginals = INFINITY,
           bool symmetric = false)
      : be_(be),
        p_(p),
        limits_(limits),
        relaxation_(rho_of_marginals),
        symmetric_(symmetric),
        n_(p.geo.n),
        m_(p.geo.m),
        clock_(limits_, monitor),
        anderson_(be, m_, p.b),
        logb_(be.template buffer<double>(m_)),
        h_(be.template buffer<double>(m_)),
        col_(be.template buffer<double>(m_)),
        rho_(be.template buffer<double>(m_)),
        trial_(be.template buffer<double>(m_)),
        plain_(be.template buffer<double>(m_)) {
    prepare();
  }

  void prepare() {
    double* logb = logb_.data();
    const double* b = p_.b;
    be_.for_each(m_, [=] OT_HD(index j) { logb[j] = std::log(b[j]); });
  }

  // The sweep at psi: phi, col, and from them the error, F and rho; kept entries where asked for.
  Value evaluate(double reg, const double* psi, Precision precision, Kept* kept = nullptr) {
    double* h = h_.data();
    const double* logb = logb_.data();
    be_.for_each(m_, [=] OT_HD(index j) { h[j] = psi[j] + logb[j]; });
    Pass pass;
    pass.reg = reg;
    pass.h = h;
    pass.phi = phi_;
    pass.a = p_.a;
    pass.update = true;
    pass.damp = damp(reg);
    pass.precision = precision;
    pass.col = col_.data();
    if (kept) be_.pass(p_.geo, pass, *kept);
    else be_.pass(p_.geo, pass);
    const double floor = precision == Precision::f32 ? 1e-37 : 1e-290;
    const Value v = value(psi, phi_, reg, floor);
    if (v.dead > 0) revive(reg, psi, floor);
    clock_.count(reg, v.error, reg * v.F);
    return v;
  }

  // Relaxed marginals shorten every Sinkhorn step: psi = damp (psi + log(b/c)) (Chizat et al. 2018).
  double damp(double reg) const { return std::isinf(relaxation_) ? 1 : relaxation_ / (relaxation_ + reg); }

  // rho = log(b/c), the error, F, and the columns of mass below `floor`: one wait for the device.
  Value value(const double* psi, const double* phi, double reg, double floor = 0) {
    const double *a = p_.a, *b = p_.b, *col = col_.data(), *logb = logb_.data();
    const index n = n_, m = m_;
    double* rho = rho_.data();
    be_.log(m_, col, rho);
    be_.for_each(m_, [=] OT_HD(index j) { rho[j] = b[j] > 0 ? logb[j] - rho[j] : 0.0; });
    if (const double short_of = damp(reg); short_of < 1) return relaxed(psi, phi, short_of, floor);
    // psi, phi and psi + rho are three iterates of psi <- softmin(psi): the mean of the last two
    // converges where the alternation only shuttles (Feydy et al. 2019, section 3.1).
    if (symmetric_)
      be_.for_each(m_, [=] OT_HD(index j) { rho[j] = b[j] > 0 ? 0.5 * (phi[j] - psi[j] + rho[j]) : 0.0; });
    const auto s = be_.template sums<4>(std::max(n, m), [=] OT_HD(index k, double* s) {
      if (k < n) s[2] += a[k] > 0 ? a[k] * phi[k] : 0.0;
      if (k >= m) return;
      s[0] += std::fabs(b[k] - col[k]);
      s[1] += b[k] > 0 ? b[k] * psi[k] : 0.0;
      s[3] += b[k] > 0 && !(col[k] > floor);
    });
    return {s[0], s[1] + s[2], 0, s[3]};
  }

  // The same for relaxed marginals: F = -r <a, e^(-phi/r) - 1> - r <b, e^(-psi/r) - 1> - (sum P - sum ab), r = rho/reg;
  // the column marginal of the optimum is b e^(-psi/r).
  Value relaxed(const double* psi, const double* phi, double damp, double floor) {
    const double *a = p_.a, *b = p_.b, *col = col_.data();
    const index n = n_, m = m_;
    double* rho = rho_.data();
    const double r = damp / (1 - damp);
    const bool symmetric = symmetric_;
    const auto s = be_.template sums<7>(std::max(n, m), [=] OT_HD(index k, double* s) {
      if (k < n && a[k] > 0) {
        s[4] -= r * a[k] * std::expm1(-phi[k] / r);
        s[5] += a[k];
      }
      if (k >= m || !(b[k] > 0)) return;
      const double lost = std::expm1(-psi[k] / r);
      s[0] += std::fabs(b[k] * (1 + lost) - col[k]);
      s[1] -= r * b[k] * lost;
      s[2] += col[k];
      s[3] += b[k];
      s[6] += !(col[k] > floor);
    });
    be_.for_each(m_, [=] OT_HD(index j) {
      const double next = damp * (psi[j] + rho[j]);
      rho[j] = b[j] > 0 ? (symmetric ? 0.5 * (phi[j] + next) : next) - psi[j] : 0.0;
    });
    return {s[0] / s[3], s[1] + s[4] - (s[2] - s[3] * s[5]), 0, s[6]};
  }

  // Columns whose mass underflowed take the hard c-transform, min_i C_ij - f_i, as their next g_j.
  void revive(double reg, const double* psi, double floor) {
    const double *b = p_.b, *col = col_.data(), *phi = phi_;
    auto f = be_.template buffer<double>(n_), g = be_.template buffer<double>(m_);
    double *to = f.data(), *low = g.data(), *rho = rho_.data();
    const double share = damp(reg);
    be_.for_each(n_, [=] OT_HD(index i) { to[i] = reg * phi[i]; });
    be_.c_transform(p_.geo, nullptr, to, p_.a, low);
    clock_.count();
    be_.for_each(m_, [=] OT_HD(index j) {
      if (b[j] > 0 && !(col[j] > floor)) rho[j] = std::isfinite(low[j]) ? share * low[j] / reg - psi[j] : 0.0;
    });
  }

  void copy(const double* from, double* to, index n) {
    be_.for_each(n, [=] OT_HD(index i) { to[i] = from[i]; });
  }

  void add(const double* x, const double* y, double* to, index n) {
    be_.for_each(n, [=] OT_HD(index i) { to[i] = x[i] + y[i]; });
  }

  // NaN in phi, which says that nothing is known, stays.
  void rescale(double factor) {
    double *psi = psi_, *phi = phi_;
    be_.for_each(m_, [=] OT_HD(index j) { psi[j] = std::min(1e300, std::max(-1e300, psi[j] * factor)); });
    be_.for_each(n_, [=] OT_HD(index i) { phi[i] = std::min(std::max(phi[i] * factor, -1e300), 1e300); });
  }

  // Guarded, accelerated fixed-point iteration on psi, by any evaluation of it. Leaves the last
  // accepted psi in psi_, its residual in rho_, and returns its value.
  template <class Evaluate>
  Value iterate(Value at, double tol, index most, double noise, Evaluate eval) {
    double *trial = trial_.data(), *plain = plain_.data();
    const double *psi = psi_, *rho = rho_.data();
    double best = at.error;
    index since = 0;
    for (index k = 0; k < most && at.error > tol && at.worst == 0 && !clock_.exhausted(); ++k) {
      const bool accelerated = !anderson_.empty();
      add(psi, rho, plain, m_);
      anderson_.step(psi, rho, trial);
      Value v = eval(trial);
      const bool gained = v.F >= at.F - noise * (1 + std::fabs(at.F)) && v.error < 10 * at.error;
      if (accelerated && !gained) {
        v = eval(plain);
        copy(plain, psi_, m_);
        anderson_.reset();
      } else {
        copy(trial, psi_, m_);
      }
      at = v;
      since = at.error < 0.99 * best ? 0 : since + 1;
      best = std::min(best, at.error);
      stalled_ = since > kPatience;
      if (stalled_) break;
    }
    return at;
  }

  Value stage(double reg, double tol, index most, Precision precision) {
    const double noise = precision == Precision::f32 ? 1e-7 : 1e-13;
    Value v = evaluate(reg, psi_, precision);
    anderson_.reset();
    return iterate(v, tol, most, noise, [&](const double* psi) { return evaluate(reg, psi, precision); });
  }

  void finish(Outcome& out, const Value& v) {
    out.error = v.error;
    out.dual = p_.reg * v.F;
    out.status = v.error <= limits_.tol ? Status::converged : clock_.reason();
  }

 protected:
  B& be_;
  const Problem p_;
  const Limits limits_;
  const double relaxation_;
  const bool symmetric_;
  const index n_, m_;
  Clock clock_;
  Anderson<B> anderson_;
  Buffer<double> logb_, h_, col_, rho_, trial_, plain_;
  double *phi_ = nullptr, *psi_ = nullptr;
  bool stalled_ = false;
  static constexpr index kPatience = 1000;  // passes without one per cent of progress
};

}  // namespace ot
