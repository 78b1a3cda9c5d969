// The least reg whose plan float64 resolves. Rounding changes the exponent of an entry exp(phi_i + psi_j - C_ij/reg) by
// 2^-53 max(|phi_i|, |psi_j|), and so the entry by this part of itself.
#pragma once
#include <algorithm>
#include <cmath>

#include "core/elementwise.hpp"
#include "core/problem.hpp"
#include "entropic/constants.hpp"

namespace ot {

// Whether the potentials, times `factor`, leave entries of the plan digits: on the mean over its mass, and each one.
// NaN is unknown, and takes no part.
template <Vectors B>
bool resolves(B& be, const Problem& p, Potentials at, double factor) {
  const double *a = p.a, *b = p.b, *phi = at.rows, *psi = at.columns;
  const index n = p.geo.n, m = p.geo.m;
  const double most = entropic::kLargestScaled;
  const auto [sum, mass, beyond] = be.template sums<3>(std::max(n, m), [=] OT_HD(index k, double* s) {
    if (k < n && a[k] > 0) {
      const double size = std::fabs(phi[k]) * factor;
      s[0] += size < most ? a[k] * size : 0.0;
      s[1] += a[k];
      s[2] += size > most;
    }
    if (k < m && b[k] > 0) {
      const double size = std::fabs(psi[k]) * factor;
      s[0] += size < most ? b[k] * size : 0.0;
      s[1] += b[k];
      s[2] += size > most;
    }
  });
  return beyond == 0 && sum <= entropic::kLargestMean * mass;
}

// The problem's reg, raised until it is resolved; the potentials are over `over`. Infinite ones have no such reg, and
// do not raise it.
template <Vectors B>
double resolved_reg(B& be, const Problem& p, Potentials at, double over) {
  double reg = p.reg;
  while (reg < kMostScaled && !resolves(be, p, at, over / reg)) reg *= entropic::kSinkhornFall;
  return reg < kMostScaled ? reg : p.reg;
}

}  // namespace ot
