// One evaluation of the semi-dual of entropic transport. With phi = f/reg eliminated by one pass over C,
// psi = g/reg maximises the concave
//   F(psi) = <a, phi(psi)> + <b, psi>,  gradient b - c(psi),  c the column sums of the plan,
// and a Sinkhorn step is psi + residual, residual = log(b/c).
#pragma once
#include <algorithm>
#include <cmath>

#include "entropic/constants.hpp"
#include "entropic/marginals.hpp"

namespace ot {

// The floor of column sums: smaller ones are of exponentials that have underflowed, and have no useful logarithm.
constexpr double least_mass(Precision precision) {
  return precision == Precision::f32 ? kLeastSum<float> : kLeastSum<double>;
}

// Methods that run lambdas on the device are public, because nvcc asks for it.
template <Backend B>
class SoftTransform {
 public:
  SoftTransform(B& be, const Problem& p, const Marginals& marginals, Clock& clock)
      : be_(be),
        p_(p),
        marginals_(marginals),
        clock_(clock),
        log_b_(be.template buffer<double>(p.geo.m)),
        h_(be.template buffer<double>(p.geo.m)),
        col_(be.template buffer<double>(p.geo.m)),
        residual_(be.template buffer<double>(p.geo.m)) {
    take_logarithm();
  }

  void take_logarithm() {
    double* log_b = log_b_.data();
    const double* b = p_.b;
    be_.for_each(p_.geo.m, [=] OT_HD(index j) { log_b[j] = std::log(b[j]); });
  }

  // h = psi + log b
  const double* weighted(const double* psi) {
    double* h = h_.data();
    const double* log_b = log_b_.data();
    be_.for_each(p_.geo.m, [=] OT_HD(index j) { h[j] = psi[j] + log_b[j]; });
    return h;
  }

  // One pass at psi: phi, the column sums, the residual and the value; the kept entries where asked for.
  Value evaluate(double reg, const double* psi, double* phi, Precision precision, Kept* kept = nullptr) {
    Pass pass;
    pass.reg = reg;
    pass.h = weighted(psi);
    pass.phi = phi;
    pass.a = p_.a;
    pass.update = true;
    pass.damp = marginals_.damp(reg);
    pass.precision = precision;
    pass.col = col_.data();
    if (kept) be_.pass(p_.geo, pass, *kept);
    else be_.pass(p_.geo, pass);
    const double floor = least_mass(precision);
    const Value v = measure(reg, psi, phi, floor);
    if (v.underflowed > 0) set_hard_residual(reg, psi, phi, floor);
    clock_.count(reg, v.error, reg * v.F);
    return v;
  }

  // The value at the column sums in col(), which the caller has filled.
  Value measure(double reg, const double* psi, const double* phi, double floor = 0) {
    const MeasuredAt at{
        .phi = phi, .psi = psi, .log_b = log_b_.data(), .col = col_.data(), .residual = residual_.data()};
    return ot::measure(be_, p_, at, marginals_, reg, floor);
  }

  // Columns whose mass underflowed have no log(b/c): their next psi_j is the hard c-transform min_i C_ij - f_i over
  // reg. A second pass over C.
  void set_hard_residual(double reg, const double* psi, const double* phi, double floor) {
    const double *b = p_.b, *col = col_.data();
    auto f = be_.template buffer<double>(p_.geo.n), g = be_.template buffer<double>(p_.geo.m);
    double *rows = f.data(), *low = g.data(), *residual = residual_.data();
    const double damp = marginals_.damp(reg);
    be_.for_each(p_.geo.n, [=] OT_HD(index i) { rows[i] = reg * phi[i]; });
    be_.c_transform(p_.geo, nullptr, rows, p_.a, low);
    clock_.count();
    be_.for_each(p_.geo.m, [=] OT_HD(index j) {
      if (b[j] > 0 && !(col[j] > floor)) residual[j] = std::isfinite(low[j]) ? damp * low[j] / reg - psi[j] : 0.0;
    });
  }

  double* col() { return col_.data(); }
  const double* residual() const { return residual_.data(); }
  double* scratch() { return h_.data(); }  // (m), overwritten by the next evaluation

 private:
  B& be_;
  const Problem p_;
  const Marginals marginals_;
  Clock& clock_;
  Buffer<double> log_b_, h_, col_, residual_;
};

// Error, dual value and status of a solve that ends at the value v.
inline void conclude(Outcome& out, const Value& v, double reg, const Limits& limits, const Clock& clock) {
  out.error = v.error;
  out.dual = reg * v.F;
  out.status = v.error <= limits.tol ? Status::converged : clock.reason();
}

}  // namespace ot
