// What every entropic solver is given, and what it leaves behind.
#pragma once
#include <chrono>
#include <cmath>

#include "core/backend.hpp"

namespace ot {

// Masses sum to 1. Pointers are device pointers of the backend.
struct Problem {
  Geometry geo;
  const double* a = nullptr;  // (n)
  const double* b = nullptr;  // (m)
  double reg = 0;
  double range = 0;        // an upper bound of max C - min C over allowed pairs
  double rho = INFINITY;   // marginals relaxed by rho KL(P1 | a) + rho KL(P'1 | b); masses are then any
  bool symmetric = false;  // C = C', a = b: one potential, phi = psi
};

struct Limits {
  double tol = 1e-9;  // on |P'1 - b|_1; rows are exact after every pass
  index max_iter = 100000;
  double time_limit = 0;  // seconds, 0 for none
};

// Potentials are phi = f/reg and psi = g/reg, in and out; NaN in phi where nothing is known.
struct Outcome {
  Status status = Status::max_iter;
  index n_iter = 0;  // passes over C or over a stored kernel
  double error = 1;
  double dual = 0;      // the dual value of (phi, psi), in units of cost
  bool newton = false;  // whether Newton's method ended it, where it was asked for
  const char* message = "";
};

// Counts passes, keeps the best iterate, reports, and says when to stop.
class Clock {
 public:
  using Time = std::chrono::steady_clock;
  Clock(const Limits& limits, const Monitor& monitor) : limits_(limits), monitor_(monitor) {}

  void count(double reg, double error, double dual) {
    ++n_iter;
    if (monitor_.report) monitor_.report({n_iter, reg, error, dual, elapsed()});
  }
  void count() { ++n_iter; }
  double elapsed() const { return std::chrono::duration<double>(Time::now() - start_).count(); }
  // Remembers what it was that ran out.
  bool exhausted() {
    if (n_iter + reserve >= limits_.max_iter) reason_ = Status::max_iter;
    else if (limits_.time_limit > 0 && elapsed() > limits_.time_limit) reason_ = Status::time_limit;
    else return false;
    return true;
  }
  bool can_pass(index count = 1) const { return n_iter + count <= limits_.max_iter; }
  Status reason() const { return reason_; }

  index n_iter = 0;
  index reserve = 0;  // passes held back, so that the last one is exact and at the final reg

 private:
  const Limits& limits_;
  const Monitor& monitor_;
  Time::time_point start_ = Time::now();
  Status reason_ = Status::stalled;
};

}  // namespace ot
