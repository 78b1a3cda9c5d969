// The limits of a solve, its progress reports, its interruption and its outcome.
#pragma once
#include <chrono>
#include <exception>
#include <functional>

#include "core/types.hpp"

namespace ot {

// unresolved: the plan is that of the least reg that float64 resolves, which is above the one asked for.
enum class Status { converged, max_iter, time_limit, stalled, unresolved };

// Thrown out of a pass when the caller's poll asks to stop (Ctrl-C).
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "interrupted"; }
};

// One entry of the history, written after every pass.
struct Progress {
  index n_iter;
  double reg, error, dual_value, elapsed;
};

// Callbacks of a solve. `poll` is called on the caller's thread only, about every 20 milliseconds, and returns whether
// to stop. `report` is called after every pass.
struct Monitor {
  std::function<bool()> poll;
  std::function<void(const Progress&)> report;
};

struct Limits {
  double tol = 1e-9;  // on the L1 error of the marginals of a plan of mass 1
  index max_iter = 100000;
  double time_limit = 0;  // seconds, 0 for none
};

// How a solve ended.
struct Outcome {
  Status status = Status::max_iter;
  index n_iter = 0;  // passes over C or over a stored kernel
  double error = 1;
  double dual = 0;  // the value of the dual, in units of cost
  const char* message = "";
};

// Counts passes, reports them, and tells when a limit is reached.
class Clock {
 public:
  using Time = std::chrono::steady_clock;
  Clock(const Limits& limits, const Monitor& monitor) : limits_(limits), monitor_(monitor) {}

  void count(double reg, double error, double dual) { report(++n_iter, reg, error, dual); }
  void report(index pass, double reg, double error, double dual) {
    if (monitor_.report)
      monitor_.report({.n_iter = pass, .reg = reg, .error = error, .dual_value = dual, .elapsed = elapsed()});
  }
  void count() { ++n_iter; }
  double elapsed() const { return std::chrono::duration<double>(Time::now() - start_).count(); }
  // Whether a limit is reached; reason() then says which.
  bool exhausted() {
    if (n_iter + reserve >= limits_.max_iter) reason_ = Status::max_iter;
    else if (limits_.time_limit > 0 && elapsed() > limits_.time_limit) reason_ = Status::time_limit;
    else return false;
    return true;
  }
  bool can_pass(index count = 1) const { return n_iter + count <= limits_.max_iter; }
  Status reason() const { return reason_; }

  index n_iter = 0;
  index reserve = 0;  // passes held back for a last one in float64 at the problem's reg

 private:
  const Limits& limits_;
  const Monitor& monitor_;
  Time::time_point start_ = Time::now();
  Status reason_ = Status::stalled;
};

}  // namespace ot
