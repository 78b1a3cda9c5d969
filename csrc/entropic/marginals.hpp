// Error, dual and residual of potentials, for fixed and for relaxed marginals: the one place that knows how the
// marginals enter.
#pragma once
#include <algorithm>
#include <cmath>

#include "core/backend.hpp"
#include "entropic/options.hpp"

namespace ot {

// The semi-dual at psi.
struct Value {
  double error = INFINITY;  // |c - b|_1, b the column marginal that psi prescribes; of one potential also |phi - psi|
  double F = -INFINITY;     // in units of reg
  double escaped = 0;       // number of scalings beyond the range of a stored kernel
  double underflowed = 0;   // number of columns whose mass is below the floor
};

// The vectors that a value is measured from.
struct MeasuredAt {
  const double* phi;    // (n)
  const double* psi;    // (m)
  const double* log_b;  // (m)
  const double* col;    // (m) c, the column sums of the plan
  double* residual;     // (m) out: the Sinkhorn step is psi + residual
};

// F = <a, phi> + <b, psi>. With C = C' and a = b, psi, phi and the next psi are three iterates of psi <- softmin(psi):
// the mean of the last two converges where the alternation only oscillates (Feydy et al. 2019, section 3.1). The plan
// of phi and psi has its marginals even if they are apart, by a constant for every block of the plan: how far, |phi -
// psi| weighted by b, is an error too. One wait for the device.
template <Backend B>
Value measure_fixed(B& be, const Problem& p, const MeasuredAt& at, bool symmetric, double floor) {
  const double *a = p.a, *b = p.b, *phi = at.phi, *psi = at.psi, *col = at.col;
  const index n = p.geo.n, m = p.geo.m;
  double* residual = at.residual;
  if (symmetric)
    be.for_each(m, [=] OT_HD(index j) { residual[j] = b[j] > 0 ? 0.5 * (phi[j] - psi[j] + residual[j]) : 0.0; });
  const auto s = be.template sums<5>(std::max(n, m), [=] OT_HD(index k, double* sum) {
    if (k < n) sum[2] += a[k] > 0 ? a[k] * phi[k] : 0.0;
    if (k >= m) return;
    sum[0] += std::fabs(b[k] - col[k]);
    sum[1] += b[k] > 0 ? b[k] * psi[k] : 0.0;
    sum[3] += b[k] > 0 && !(col[k] > floor);
    sum[4] += symmetric && b[k] > 0 ? b[k] * std::fabs(phi[k] - psi[k]) : 0.0;
  });
  const auto [error, dual_b, dual_a, underflowed, apart] = s;
  return {.error = std::max(error, apart), .F = dual_b + dual_a, .underflowed = underflowed};
}

// F = -r <a, e^(-phi/r) - 1> - r <b, e^(-psi/r) - 1> - (sum P - sum ab), r = rho/reg = damp/(1 - damp); the column
// marginal of the optimum is b e^(-psi/r).
template <Backend B>
Value measure_relaxed(B& be, const Problem& p, const MeasuredAt& at, const Marginals& marginals, double reg,
                      double floor) {
  const double *a = p.a, *b = p.b, *phi = at.phi, *psi = at.psi, *col = at.col;
  const index n = p.geo.n, m = p.geo.m;
  double* residual = at.residual;
  const double damp = marginals.damp(reg), r = damp / (1 - damp);
  const bool symmetric = marginals.symmetric;
  const auto s = be.template sums<8>(std::max(n, m), [=] OT_HD(index k, double* sum) {
    if (k < n && a[k] > 0) {
      sum[4] -= r * a[k] * std::expm1(-phi[k] / r);
      sum[5] += a[k];
    }
    if (k >= m || !(b[k] > 0)) return;
    const double lost = std::expm1(-psi[k] / r);
    sum[0] += std::fabs(b[k] * (1 + lost) - col[k]);
    sum[1] -= r * b[k] * lost;
    sum[2] += col[k];
    sum[3] += b[k];
    sum[6] += !(col[k] > floor);
    sum[7] += symmetric ? b[k] * std::fabs(phi[k] - psi[k]) : 0.0;
  });
  be.for_each(m, [=] OT_HD(index j) {
    const double next = damp * (psi[j] + residual[j]);
    residual[j] = b[j] > 0 ? (symmetric ? 0.5 * (phi[j] + next) : next) - psi[j] : 0.0;
  });
  const auto [error, dual_b, mass, mass_b, dual_a, mass_a, underflowed, apart] = s;
  return {.error = std::max(error, apart) / mass_b,
          .F = dual_b + dual_a - (mass - mass_b * mass_a),
          .underflowed = underflowed};
}

// The value at psi and phi, and the residual of psi.
template <Backend B>
Value measure(B& be, const Problem& p, const MeasuredAt& at, const Marginals& marginals, double reg, double floor) {
  const double *b = p.b, *log_b = at.log_b;
  double* residual = at.residual;
  be.log(p.geo.m, at.col, residual);
  be.for_each(p.geo.m, [=] OT_HD(index j) { residual[j] = b[j] > 0 ? log_b[j] - residual[j] : 0.0; });
  if (marginals.damp(reg) < 1) return measure_relaxed(be, p, at, marginals, reg, floor);
  return measure_fixed(be, p, at, marginals.symmetric, floor);
}

}  // namespace ot
