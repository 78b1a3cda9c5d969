// Options and results of the entropic solvers.
#pragma once
#include <cmath>

#include "core/monitor.hpp"
#include "core/problem.hpp"

namespace ot {

// Where accelerated Sinkhorn iterates: exponentials anew in every pass, or products with a stored kernel.
enum class Domain { log, kernel };

struct SinkhornOptions {
  Limits limits;
  Domain domain = Domain::log;
  Precision kernel = Precision::f32;  // storage of the kernel
  double start = 0;                   // reg of the potentials given, from which to come down; 0 where none are
  double rho = INFINITY;              // marginals relaxed by rho KL(P1 | a) + rho KL(P'1 | b); masses are then any
  bool symmetric = false;             // C = C', a = b: one potential, phi = psi
};

struct SnsOptions {
  Limits limits;
  index sinkhorn_steps = 20;  // N1: Sinkhorn steps before the first Newton step
  double density = 0;         // lambda: fraction of the plan's entries kept in the Hessian
};

struct EntropicOutcome : Outcome {
  bool newton = false;     // whether Newton's method ended the solve, where it was asked for
  index newton_steps = 0;  // of SNS
};

}  // namespace ot
