// Options and results of the entropic solvers.
#pragma once
#include <cmath>
#include <stdexcept>
#include <string>

#include "core/monitor.hpp"
#include "core/problem.hpp"

namespace ot {

// How the plan is held to a and b.
struct Marginals {
  double rho = INFINITY;   // infinite: fixed; else relaxed by rho KL(P1 | a) + rho KL(P'1 | b), for masses of any sum
  bool symmetric = false;  // C = C' and a = b: one potential, phi = psi

  bool relaxed() const { return !std::isinf(rho); }
  // A Sinkhorn step is psi = damp (psi + log(b/c)) (Chizat et al. 2018).
  double damp(double reg) const { return relaxed() ? rho / (rho + reg) : 1; }
};

// How accelerated Sinkhorn iterates: log computes the exponentials in every pass, kernel stores them once.
enum class Domain { log, kernel };

struct SinkhornOptions {
  Limits limits{};
  Domain domain = Domain::log;
  Precision kernel = Precision::f32;  // storage of the kernel
  double start = 0;                   // reg that the potentials given belong to; 0: none are given
  Marginals marginals{};

  void check() const {
    if (domain == Domain::kernel && marginals.relaxed())
      throw std::invalid_argument("a stored kernel needs fixed marginals; rho = " + std::to_string(marginals.rho));
  }
  void check_newton() const {
    check();
    if (marginals.relaxed() || marginals.symmetric)
      throw std::invalid_argument("Newton's method needs fixed marginals and two potentials; rho = " +
                                  std::to_string(marginals.rho));
  }
};

struct SnsOptions {
  Limits limits{};
  index sinkhorn_steps = 20;  // N1: Sinkhorn steps before the first Newton step
  double density = 0;         // lambda: fraction of the plan's entries kept in the Hessian
};

struct EntropicOutcome : Outcome {
  double reg = 0;          // that the potentials are over: the problem's, or the least that is resolved
  bool newton = false;     // whether Newton's method ended the solve, where it was asked for
  index newton_steps = 0;  // of SNS
};

}  // namespace ot
