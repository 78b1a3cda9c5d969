// Preconditioned conjugate gradients for A x = r, A symmetric positive semi-definite (Hestenes and Stiefel 1952).
//
// The vectors are the system's, so that each of its operations is one fused pass over them:
//   Residual start()             x = 0
//   bool renew(k)                whether M was changed before iteration k: the next direction is then z
//   double precondition(rz)      z = M^-1 r; returns <r, z>, given the value that the last pass summed
//   double direct(beta)          d = z + beta d, q = A d; returns <d, q>
//   Residual advance(alpha)      x += alpha d, r -= alpha q
#pragma once
#include "core/types.hpp"

namespace ot {

struct Residual {
  double rz = 0;    // <r, M^-1 r>
  double size = 0;  // in the norm of the stopping rule
};

// At most `most` iterations, until the size of the residual is at most `goal`; returns the last residual. Stops early
// where rounding leaves no direction of positive curvature.
template <class System>
Residual conjugate_gradients(System& system, double goal, index most) {
  Residual at = system.start();
  double last = 0;
  index since = 0;  // iterations with this preconditioner
  for (index k = 0; k < most && at.size > goal; ++k, ++since) {
    if (system.renew(k)) since = 0;
    const double rz = system.precondition(at.rz);
    if (!(rz > 0)) break;
    const double curvature = system.direct(since > 0 ? rz / last : 0);
    if (!(curvature > 0)) break;
    at = system.advance(rz / curvature);
    last = rz;
  }
  return at;
}

}  // namespace ot
