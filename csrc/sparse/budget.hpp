// The limits of one solve: its passes, its time and the caller's poll.
#pragma once
#include "core/monitor.hpp"

namespace ot {

class Budget {
 public:
  Budget(const Limits& of, const Monitor& to) : limits(of), monitor(to), clock(limits, monitor) {}
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  // Asked between Newton steps. Throws Interrupted where the caller's poll asks to stop.
  bool stopped() {
    const double now = clock.elapsed();
    if (now - polled_ > kPollSeconds) {
      polled_ = now;
      if (monitor.poll && monitor.poll()) throw Interrupted();
    }
    return clock.exhausted();
  }
  bool exhausted() { return clock.exhausted(); }

  // A record of the history that no pass belongs to: it has the number of the pass that follows.
  void report(double reg, double error, double dual) { clock.report(clock.n_iter + 1, reg, error, dual); }

  Status status(double error) const { return error <= limits.tol ? Status::converged : clock.reason(); }

  const Limits limits;
  const Monitor& monitor;
  Clock clock;

 private:
  static constexpr double kPollSeconds = 0.02;
  double polled_ = 0;
};

}  // namespace ot
