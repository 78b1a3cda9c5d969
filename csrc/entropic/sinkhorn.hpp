// Sinkhorn by fused sweeps: one pass over C gives the new f, exact rows, and the column marginal.
#pragma once
#include "entropic/semidual.hpp"

namespace ot {

template <Backend B>
class Sinkhorn : protected SemiDual<B> {
 protected:
  using Base = SemiDual<B>;
  using Base::anderson_, Base::be_, Base::clock_, Base::col_, Base::copy, Base::evaluate, Base::finish, Base::h_;
  using Base::iterate, Base::limits_, Base::m_, Base::n_, Base::p_, Base::phi_, Base::psi_, Base::rescale;
  using Base::rho_, Base::stage, Base::stalled_, Base::trial_, Base::value;
  using typename Base::Value;

 public:
  Sinkhorn(B& be, const Problem& p, const SinkhornOptions& o, const Monitor& monitor)
      : Base(be, p, o.limits, monitor, o.rho, o.symmetric), o_(o) {}

  EntropicOutcome solve(double* phi, double* psi) {
    phi_ = phi;
    psi_ = psi;
    EntropicOutcome out;
    double reg = first_reg();
    clock_.reserve = 1;
    while (reg > 2 * p_.reg && !clock_.exhausted()) {
      const double next = std::max(reg / 4, p_.reg);
      stage(reg, 3e-2, 30, Precision::f32);
      rescale(reg / next);
      reg = next;
    }
    if (reg > p_.reg) rescale(reg / p_.reg);
    last_stage(out);
    out.n_iter = clock_.n_iter;
    return out;
  }

 protected:
  const SinkhornOptions o_;

  // The reg to start from. Potentials are given in units of p_.reg: from here on in units of reg.
  double first_reg() {
    const double reg = std::max(o_.start > 0 ? o_.start : p_.range / 8, p_.reg);
    if (o_.start > p_.reg) rescale(p_.reg / reg);
    return reg;
  }

  // At the final reg, from psi_, to tol.
  void last_stage(EntropicOutcome& out) {
    if (o_.domain == Domain::kernel) final_scaling(out);
    else final_log(out);
  }

 private:
  void final_log(EntropicOutcome& out) {
    clock_.reserve = 1;
    if (!clock_.exhausted()) stage(p_.reg, std::max(0.9 * o_.limits.tol, 1e-5), o_.limits.max_iter, Precision::f32);
    clock_.reserve = 0;
    stalled_ = false;
    if (clock_.can_pass()) finish(out, stage(p_.reg, o_.limits.tol, o_.limits.max_iter, Precision::f64));
  }

  // P_ij = a_i b_j u_i v_j K_ij with K stored around (phi0, psi0). The stored entries are rounded;
  // kappa and delta, the ratios of stored to true marginals at the last exact pass, correct for it,
  // so that float32 storage reaches float64 marginals.
  void final_scaling(EntropicOutcome& out) {
    auto phi0 = be_.template buffer<double>(n_), u = be_.template buffer<double>(n_);
    auto psi0 = be_.template buffer<double>(m_), q = be_.template buffer<double>(m_);
    auto kappa = be_.template buffer<double>(n_), delta = be_.template buffer<double>(m_);
    typename B::Kernel K;
    bool built = false;
    if (!clock_.can_pass()) return;
    Value v = evaluate(p_.reg, psi_, Precision::f64);
    anderson_.reset();
    int fruitless = 0;
    // A round builds, calibrates, iterates and looks exactly: four passes at least.
    while (v.error > o_.limits.tol && !clock_.exhausted() && clock_.can_pass(4) && !stalled_ && fruitless < 5) {
      if (!built) {
        copy(phi_, phi0.data(), n_);
        anchor(psi_, psi0.data());
        be_.build_kernel(p_.geo, p_.reg, phi0.data(), psi0.data(), o_.kernel, K);
        clock_.count();
      }
      calibrate(K, phi0.data(), psi0.data(), u.data(), q.data(), kappa.data(), delta.data());
      const double before = v.error;
      // Float32 products carry the iteration to where their rounding shows, float64 ones from there.
      for (const Precision precision : {Precision::f32, Precision::f64})
        v = iterate(v, precision == Precision::f32 ? std::max(0.5 * o_.limits.tol, kSingle) : 0.5 * o_.limits.tol,
                    o_.limits.max_iter, precision == Precision::f32 ? 1e-6 : 1e-13, [&](const double* psi) {
                      return evaluate_kernel(K, psi, phi0.data(), psi0.data(), u.data(), q.data(), kappa.data(),
                                             delta.data(), precision);
                    });
      built = v.worst == 0;
      v = evaluate(p_.reg, psi_, Precision::f64);
      fruitless = v.error < 0.9 * before ? 0 : fruitless + 1;
    }
    clock_.reserve = 0;
    if (v.error > o_.limits.tol && !clock_.can_pass(4) && !clock_.exhausted())
      v = stage(p_.reg, o_.limits.tol, o_.limits.max_iter, Precision::f64);
    finish(out, v);
  }

 public:  // for nvcc: see SemiDual
  // Columns without mass have no entries in the kernel: their potentials are anybody's, and could overflow it.
  void anchor(const double* psi, double* psi0) {
    const double* b = p_.b;
    be_.for_each(m_, [=] OT_HD(index j) { psi0[j] = b[j] > 0 ? psi[j] : -INFINITY; });
  }

  // At (phi, psi), where the exact pass has just put the true column marginal into col_.
  void calibrate(typename B::Kernel& K, const double* phi0, const double* psi0, double* u, double* q, double* kappa,
                 double* delta) {
    const double *phi = phi_, *psi = psi_, *a = p_.a, *b = p_.b;
    double* col = col_.data();
    double* h = h_.data();
    be_.for_each(n_, [=] OT_HD(index i) { u[i] = std::exp(phi[i] - phi0[i]); });
    be_.for_each(m_, [=] OT_HD(index j) {
      q[j] = b[j] > 0 ? b[j] * std::exp(psi[j] - psi0[j]) : 0.0;
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
    be_.for_each(n_, [=] OT_HD(index i) { kappa[i] = a[i] > 0 ? kappa[i] / a[i] : 1.0; });
    be_.for_each(m_, [=] OT_HD(index j) { delta[j] = h[j] > 0 && delta[j] > 0 ? q[j] * delta[j] / h[j] : 1.0; });
    // Corrected targets of rows and columns must hold the same mass, or the error has a floor.
    const auto rows = be_.template sums<1>(n_, [=] OT_HD(index i, double* s) { s[0] += a[i] * kappa[i]; });
    const auto cols = be_.template sums<1>(m_, [=] OT_HD(index j, double* s) { s[0] += b[j] * delta[j]; });
    const double balance = rows[0] / cols[0];
    be_.for_each(m_, [=] OT_HD(index j) { delta[j] *= balance; });
  }

  Value evaluate_kernel(typename B::Kernel& K, const double* psi, const double* phi0, const double* psi0, double* u,
                        double* q, const double* kappa, const double* delta, Precision precision) {
    const double* b = p_.b;
    double *col = col_.data(), *phi = phi_;
    be_.for_each(m_, [=] OT_HD(index j) { q[j] = b[j] > 0 ? psi[j] - psi0[j] : 0.0; });
    be_.exp(m_, q, q);
    be_.for_each(m_, [=] OT_HD(index j) { q[j] *= b[j]; });
    KernelPass pass;
    pass.precision = precision;
    pass.q = q;
    pass.target = kappa;
    pass.a = p_.a;
    pass.u = u;
    pass.col = col;
    be_.kernel_pass(K, pass);
    be_.for_each(m_, [=] OT_HD(index j) { col[j] *= q[j] / delta[j]; });
    be_.log(n_, u, phi);
    be_.for_each(n_, [=] OT_HD(index i) { phi[i] += phi0[i]; });
    constexpr double range = 25;  // float32 keeps exp(-75): what is lost is below exp(-25)
    Value v = value(psi, phi, p_.reg);
    const double* a = p_.a;
    const index n = n_, m = m_;
    v.worst = be_.template sums<1>(std::max(n, m), [=] OT_HD(index k, double* s) {
      if (k < m) s[0] += !(std::fabs(psi[k] - psi0[k]) < range) && b[k] > 0;
      if (k < n) s[0] += !(std::fabs(phi[k] - phi0[k]) < range) && a[k] > 0;
    })[0];
    if (!std::isfinite(v.error + v.F)) v = {INFINITY, -INFINITY, v.worst};  // a step out of all range
    clock_.count(p_.reg, v.error, p_.reg * v.F);
    return v;
  }

 private:
  static constexpr double kSingle = 1e-6;  // error that float32 products resolve
};

}  // namespace ot
