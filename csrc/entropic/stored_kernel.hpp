// Sinkhorn on a stored kernel: P_ij = a_i b_j u_i v_j K_ij, K_ij = exp(phi0_i + psi0_j - C_ij/reg) stored around
// (phi0, psi0), u = exp(phi - phi0), v = exp(psi - psi0). A step reads K once: 4 n m bytes in float32.
//
// Stored entries are rounded. The iteration corrects for this by the ratios of stored to exact marginals at the last
// exact pass, so that float32 storage reaches float64 marginals.
#pragma once
#include <algorithm>
#include <cmath>

#include "entropic/fixed_point.hpp"

namespace ot {

template <Backend B>
class StoredKernelStage {
 public:
  StoredKernelStage(B& be, const Problem& p, SoftTransform<B>& transform, FixedPoint<B>& iteration, Clock& clock)
      : be_(be),
        p_(p),
        transform_(transform),
        iteration_(iteration),
        clock_(clock),
        phi0_(be.template buffer<double>(p.geo.n)),
        psi0_(be.template buffer<double>(p.geo.m)),
        u_(be.template buffer<double>(p.geo.n)),
        q_(be.template buffer<double>(p.geo.m)),
        row_ratio_(be.template buffer<double>(p.geo.n)),
        col_ratio_(be.template buffer<double>(p.geo.m)) {}

  // At the problem's reg, from potentials `at` to an error of tol.
  Value run(Potentials at, Precision storage, double tol, index max_steps) {
    Value v = transform_.evaluate(p_.reg, at.columns, at.rows, Precision::f64);
    iteration_.reset();
    bool built = false, stalled = false;
    int fruitless = 0;
    while (v.error > tol && !clock_.exhausted() && clock_.can_pass(entropic::kRoundPasses) && !stalled &&
           fruitless < entropic::kFruitlessRounds) {
      if (!built) build(at, storage);
      calibrate(at);
      const double before = v.error;
      // Float32 products carry the iteration to where their rounding shows, float64 ones from there.
      for (const Precision precision : {Precision::f32, Precision::f64}) {
        const double target = entropic::kTargetPart * tol;
        const Goal goal{.tol = precision == Precision::f32 ? std::max(target, entropic::kProductSingle) : target,
                        .max_steps = max_steps,
                        .noise = entropic::product_noise(precision)};
        const FixedPointResult out = iteration_.run(at.columns, transform_.residual(), v, goal, [&](const double* psi) {
          return evaluate(psi, at.rows, precision);
        });
        v = out.value;
        if (out.steps > 0) stalled = out.stalled;
      }
      built = v.escaped == 0;
      v = transform_.evaluate(p_.reg, at.columns, at.rows, Precision::f64);
      fruitless = v.error < entropic::kRoundGain * before ? 0 : fruitless + 1;
    }
    return v;
  }

  // Below, public for nvcc: see SoftTransform.

  // K around the potentials. Columns without mass have no entries: their potentials are not determined, and could
  // overflow it.
  void build(Potentials at, Precision storage) {
    const double *b = p_.b, *psi = at.columns;
    double* psi0 = psi0_.data();
    copy(be_, p_.geo.n, at.rows, phi0_.data());
    be_.for_each(p_.geo.m, [=] OT_HD(index j) { psi0[j] = b[j] > 0 ? psi[j] : -INFINITY; });
    be_.build_kernel(p_.geo, p_.reg, phi0_.data(), psi0, storage, kernel_);
    clock_.count();
  }

  // The ratios of marginals, stored over true, at potentials whose column sums an exact pass has just computed.
  void calibrate(Potentials at) {
    const double *phi = at.rows, *psi = at.columns, *a = p_.a, *b = p_.b, *phi0 = phi0_.data(), *psi0 = psi0_.data();
    double *u = u_.data(), *q = q_.data(), *row = row_ratio_.data(), *col = col_ratio_.data();
    double *exact = transform_.scratch(), *sums = transform_.col();
    be_.for_each(p_.geo.n, [=] OT_HD(index i) { u[i] = std::exp(phi[i] - phi0[i]); });
    be_.for_each(p_.geo.m, [=] OT_HD(index j) {
      q[j] = b[j] > 0 ? b[j] * std::exp(psi[j] - psi0[j]) : 0.0;
      exact[j] = sums[j];
    });
    KernelPass pass;
    pass.q = q;
    pass.a = a;
    pass.u = u;
    pass.row = row;
    pass.col = col;
    be_.kernel_pass(kernel_, pass);
    clock_.count();
    be_.for_each(p_.geo.n, [=] OT_HD(index i) { row[i] = a[i] > 0 ? row[i] / a[i] : 1.0; });
    be_.for_each(p_.geo.m,
                 [=] OT_HD(index j) { col[j] = exact[j] > 0 && col[j] > 0 ? q[j] * col[j] / exact[j] : 1.0; });
    // Corrected targets of rows and columns must hold the same mass, or the error has a floor.
    const auto rows = be_.template sums<1>(p_.geo.n, [=] OT_HD(index i, double* s) { s[0] += a[i] * row[i]; });
    const auto cols = be_.template sums<1>(p_.geo.m, [=] OT_HD(index j, double* s) { s[0] += b[j] * col[j]; });
    const double balance = rows[0] / cols[0];
    be_.for_each(p_.geo.m, [=] OT_HD(index j) { col[j] *= balance; });
  }

  // The value at psi by one product with K; phi becomes that of exact rows.
  Value evaluate(const double* psi, double* phi, Precision precision) {
    const double *b = p_.b, *phi0 = phi0_.data(), *psi0 = psi0_.data(), *col_ratio = col_ratio_.data();
    double *col = transform_.col(), *q = q_.data(), *u = u_.data();
    be_.for_each(p_.geo.m, [=] OT_HD(index j) { q[j] = b[j] > 0 ? psi[j] - psi0[j] : 0.0; });
    be_.exp(p_.geo.m, q, q);
    be_.for_each(p_.geo.m, [=] OT_HD(index j) { q[j] *= b[j]; });
    KernelPass pass;
    pass.precision = precision;
    pass.q = q;
    pass.target = row_ratio_.data();
    pass.a = p_.a;
    pass.u = u;
    pass.col = col;
    be_.kernel_pass(kernel_, pass);
    be_.for_each(p_.geo.m, [=] OT_HD(index j) { col[j] *= q[j] / col_ratio[j]; });
    be_.log(p_.geo.n, u, phi);
    be_.for_each(p_.geo.n, [=] OT_HD(index i) { phi[i] += phi0[i]; });
    Value v = transform_.measure(p_.reg, psi, phi);
    v.escaped = escaped(psi, phi);
    if (!std::isfinite(v.error + v.F)) v = {.escaped = v.escaped};  // no value: such a step is never accepted
    clock_.count(p_.reg, v.error, p_.reg * v.F);
    return v;
  }

  // The number of scalings beyond kScalingRange, where stored entries have lost digits.
  double escaped(const double* psi, const double* phi) {
    const double *a = p_.a, *b = p_.b, *phi0 = phi0_.data(), *psi0 = psi0_.data();
    const index n = p_.geo.n, m = p_.geo.m;
    constexpr double range = entropic::kScalingRange;
    return be_.template sums<1>(std::max(n, m), [=] OT_HD(index k, double* s) {
      if (k < m) s[0] += !(std::fabs(psi[k] - psi0[k]) < range) && b[k] > 0;
      if (k < n) s[0] += !(std::fabs(phi[k] - phi0[k]) < range) && a[k] > 0;
    })[0];
  }

 private:
  B& be_;
  const Problem p_;
  SoftTransform<B>& transform_;
  FixedPoint<B>& iteration_;
  Clock& clock_;
  typename B::Kernel kernel_;
  Buffer<double> phi0_, psi0_, u_, q_, row_ratio_, col_ratio_;
};

}  // namespace ot
