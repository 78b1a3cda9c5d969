// Sinkhorn by fused sweeps: one pass over C gives the new f, exact rows, and the column marginal.
//
// With phi = f/reg eliminated, psi = g/reg maximises the concave semi-dual
//   F(psi) = <a, phi(psi)> + <b, psi>,  gradient b - c(psi),
// and a Sinkhorn step is psi += log(b / c). Steps are Anderson accelerated and guarded by F, which
// every pass gives for free: an accelerated step that loses ground is replaced by the plain one.
#pragma once
#include <algorithm>
#include <cmath>
#include <utility>

#include "solvers/anderson.hpp"
#include "solvers/problem.hpp"

namespace ot {

enum class SinkhornMethod { log, scaling };

struct SinkhornOptions : Limits {
  SinkhornMethod method = SinkhornMethod::log;
  Precision kernel = Precision::f32;  // storage of the kernel, for scaling
  bool warm = false;                  // psi holds a start: no reg scaling
};

template <Backend B>
class Sinkhorn {
 public:
  Sinkhorn(B& be, const Problem& p, const SinkhornOptions& o, const Monitor& monitor)
      : be_(be),
        p_(p),
        o_(o),
        n_(p.geo.n),
        m_(p.geo.m),
        clock_(o_, monitor),
        anderson_(be, m_, p.b),
        logb_(be.template buffer<double>(m_)),
        h_(be.template buffer<double>(m_)),
        col_(be.template buffer<double>(m_)),
        rho_(be.template buffer<double>(m_)),
        trial_(be.template buffer<double>(m_)),
        plain_(be.template buffer<double>(m_)) {
    double* logb = logb_.data();
    const double* b = p.b;
    be.for_each(m_, [=](index j) { logb[j] = std::log(b[j]); });
  }

  Outcome solve(double* phi, double* psi) {
    phi_ = phi;
    psi_ = psi;
    Outcome out;
    double reg = o_.warm ? p_.reg : std::max(p_.range / 8, p_.reg);
    clock_.reserve = 1;
    while (reg > 2 * p_.reg && !clock_.exhausted()) {
      const double next = std::max(reg / 4, p_.reg);
      stage(reg, 3e-2, 30, Precision::f32);
      rescale(reg / next);
      reg = next;
    }
    if (reg > p_.reg) rescale(reg / p_.reg);
    if (o_.method == SinkhornMethod::scaling) final_scaling(out);
    else final_log(out);
    out.n_iter = clock_.n_iter;
    return out;
  }

 private:
  struct Value {
    double error = INFINITY, F = -INFINITY;
    double worst = 0;  // kernel domain: scalings that left their range
  };

  // The sweep at psi: phi, col, and from them the error and F.
  Value evaluate(double reg, const double* psi, Precision precision) {
    double* h = h_.data();
    const double* logb = logb_.data();
    be_.for_each(m_, [=](index j) { h[j] = psi[j] + logb[j]; });
    Pass pass;
    pass.reg = reg;
    pass.h = h;
    pass.phi = phi_;
    pass.a = p_.a;
    pass.update = true;
    pass.precision = precision;
    pass.col = col_.data();
    be_.pass(p_.geo, pass);
    const Value v = value(psi, phi_);
    revive(reg, psi, precision);
    clock_.count(reg, v.error, reg * v.F);
    return v;
  }

  // rho = log(b/c), the error, and F.
  Value value(const double* psi, const double* phi) {
    const double *a = p_.a, *b = p_.b, *col = col_.data(), *logb = logb_.data();
    double* rho = rho_.data();
    be_.log(m_, col, rho);
    be_.for_each(m_, [=](index j) { rho[j] = b[j] > 0 ? logb[j] - rho[j] : 0.0; });
    const auto c = be_.template sums<2>(m_, [=](index j, double* s) {
      s[0] += std::fabs(b[j] - col[j]);
      s[1] += b[j] > 0 ? b[j] * psi[j] : 0.0;
    });
    const auto r = be_.template sums<1>(n_, [=](index i, double* s) { s[0] += a[i] > 0 ? a[i] * phi[i] : 0.0; });
    return {c[0], c[1] + r[0], 0};
  }

  // Columns whose mass underflowed take the hard c-transform, min_i C_ij - f_i, as their next g_j.
  void revive(double reg, const double* psi, Precision precision) {
    const double floor = precision == Precision::f32 ? 1e-37 : 1e-290;
    const double *b = p_.b, *col = col_.data(), *phi = phi_;
    const auto dead = be_.template sums<1>(m_, [=](index j, double* s) { s[0] += b[j] > 0 && !(col[j] > floor); });
    if (dead[0] == 0) return;
    auto f = be_.template buffer<double>(n_), g = be_.template buffer<double>(m_);
    double *to = f.data(), *low = g.data(), *rho = rho_.data();
    be_.for_each(n_, [=](index i) { to[i] = reg * phi[i]; });
    be_.c_transform(p_.geo, nullptr, to, p_.a, low);
    clock_.count();
    be_.for_each(m_, [=](index j) {
      if (b[j] > 0 && !(col[j] > floor)) rho[j] = std::isfinite(low[j]) ? low[j] / reg - psi[j] : 0.0;
    });
  }

  void copy(const double* from, double* to, index n) {
    be_.for_each(n, [=](index i) { to[i] = from[i]; });
  }

  void rescale(double factor) {
    double *psi = psi_, *phi = phi_;
    be_.for_each(m_, [=](index j) { psi[j] *= factor; });
    be_.for_each(n_, [=](index i) { phi[i] *= factor; });
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
      be_.for_each(m_, [=](index j) { plain[j] = psi[j] + rho[j]; });
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
    out.status = v.error <= o_.tol ? Status::converged : clock_.reason();
  }

  void final_log(Outcome& out) {
    clock_.reserve = 1;
    if (o_.tol < 1e-5 && !clock_.exhausted()) stage(p_.reg, 1e-5, o_.max_iter, Precision::f32);
    clock_.reserve = 0;
    stalled_ = false;
    if (clock_.can_pass()) finish(out, stage(p_.reg, o_.tol, o_.max_iter, Precision::f64));
  }

  // P_ij = a_i b_j u_i v_j K_ij with K stored around (phi0, psi0). The stored entries are rounded;
  // kappa and delta, the ratios of stored to true marginals at the last exact pass, correct for it,
  // so that float32 storage reaches float64 marginals.
  void final_scaling(Outcome& out) {
    auto phi0 = be_.template buffer<double>(n_), u = be_.template buffer<double>(n_);
    auto psi0 = be_.template buffer<double>(m_), q = be_.template buffer<double>(m_);
    auto kappa = be_.template buffer<double>(n_), delta = be_.template buffer<double>(m_);
    typename B::Kernel K;
    bool built = false;
    if (!clock_.can_pass()) return;
    Value v = evaluate(p_.reg, psi_, Precision::f64);
    anderson_.reset();
    int fruitless = 0;
    while (v.error > o_.tol && !clock_.exhausted() && !stalled_ && fruitless < 5) {
      if (!built) {
        copy(phi_, phi0.data(), n_);
        copy(psi_, psi0.data(), m_);
        be_.build_kernel(p_.geo, p_.reg, phi0.data(), psi0.data(), o_.kernel, K);
        clock_.count();
      }
      calibrate(K, phi0.data(), psi0.data(), u.data(), q.data(), kappa.data(), delta.data());
      const double before = v.error;
      // Float32 products carry the iteration to where their rounding shows, float64 ones from there.
      for (const Precision precision : {Precision::f32, Precision::f64})
        v = iterate(v, precision == Precision::f32 ? std::max(0.5 * o_.tol, kSingle) : 0.5 * o_.tol, o_.max_iter,
                    precision == Precision::f32 ? 1e-6 : 1e-13, [&](const double* psi) {
                      return evaluate_kernel(K, psi, phi0.data(), psi0.data(), u.data(), q.data(), kappa.data(),
                                             delta.data(), precision);
                    });
      built = v.worst == 0;
      v = evaluate(p_.reg, psi_, Precision::f64);
      fruitless = v.error < 0.9 * before ? 0 : fruitless + 1;
    }
    finish(out, v);
  }

  // At (phi, psi), where the exact pass has just put the true column marginal into col_.
  void calibrate(typename B::Kernel& K, const double* phi0, const double* psi0, double* u, double* q, double* kappa,
                 double* delta) {
    const double *phi = phi_, *psi = psi_, *a = p_.a, *b = p_.b;
    double* col = col_.data();
    double* h = h_.data();
    be_.for_each(n_, [=](index i) { u[i] = std::exp(phi[i] - phi0[i]); });
    be_.for_each(m_, [=](index j) {
      q[j] = b[j] * std::exp(psi[j] - psi0[j]);
      h[j] = col[j];
    });
    KernelPass pass;
    pass.q = q;
    pass.a = a;
    pass.u = u;
    pass.row = kappa;
    pass.col = delta;
    be_.kernel_pass(K, pass);
    clock_.count();
    be_.for_each(n_, [=](index i) { kappa[i] = a[i] > 0 ? kappa[i] / a[i] : 1.0; });
    be_.for_each(m_, [=](index j) { delta[j] = h[j] > 0 && delta[j] > 0 ? q[j] * delta[j] / h[j] : 1.0; });
    // Corrected targets of rows and columns must hold the same mass, or the error has a floor.
    const auto rows = be_.template sums<1>(n_, [=](index i, double* s) { s[0] += a[i] * kappa[i]; });
    const auto cols = be_.template sums<1>(m_, [=](index j, double* s) { s[0] += b[j] * delta[j]; });
    const double balance = rows[0] / cols[0];
    be_.for_each(m_, [=](index j) { delta[j] *= balance; });
  }

  Value evaluate_kernel(typename B::Kernel& K, const double* psi, const double* phi0, const double* psi0, double* u,
                        double* q, const double* kappa, const double* delta, Precision precision) {
    const double* b = p_.b;
    double *col = col_.data(), *phi = phi_;
    be_.for_each(m_, [=](index j) { q[j] = psi[j] - psi0[j]; });
    be_.exp(m_, q, q);
    be_.for_each(m_, [=](index j) { q[j] *= b[j]; });
    KernelPass pass;
    pass.precision = precision;
    pass.q = q;
    pass.target = kappa;
    pass.a = p_.a;
    pass.u = u;
    pass.col = col;
    be_.kernel_pass(K, pass);
    be_.for_each(m_, [=](index j) { col[j] *= q[j] / delta[j]; });
    be_.log(n_, u, phi);
    be_.for_each(n_, [=](index i) { phi[i] += phi0[i]; });
    constexpr double range = 25;  // float32 keeps exp(-87): what is lost is below exp(-37)
    Value v = value(psi, phi);
    const auto far = be_.template sums<1>(
        m_, [=](index j, double* s) { s[0] += !(std::fabs(psi[j] - psi0[j]) < range) && b[j] > 0; });
    const double* a = p_.a;
    const auto wide = be_.template sums<1>(
        n_, [=](index i, double* s) { s[0] += !(std::fabs(phi[i] - phi0[i]) < range) && a[i] > 0; });
    v.worst = far[0] + wide[0];
    clock_.count(p_.reg, v.error, p_.reg * v.F);
    return v;
  }

  B& be_;
  const Problem p_;
  const SinkhornOptions o_;
  const index n_, m_;
  Clock clock_;
  Anderson<B> anderson_;
  Buffer<double> logb_, h_, col_, rho_, trial_, plain_;
  bool stalled_ = false;
  static constexpr double kSingle = 1e-6;  // error that float32 products resolve
  static constexpr index kPatience = 1000;  // passes without one per cent of progress
  double *phi_ = nullptr, *psi_ = nullptr;
};

}  // namespace ot
