// What a solver reports, and how a running solve is interrupted.
#pragma once
#include <exception>
#include <functional>

#include "core/types.hpp"

namespace ot {

enum class Status { converged, max_iter, time_limit, stalled };

// Thrown out of a pass when the caller's poll asks to stop (Ctrl-C).
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "interrupted"; }
};

// One line of the history, written after every pass.
struct Progress {
  index n_iter;
  double reg, error, dual_value, elapsed;
};

// How the outside world looks into a solve. `poll` is called on the caller's thread only, at most
// every few milliseconds; true means stop.
struct Monitor {
  std::function<bool()> poll;
  std::function<void(const Progress&)> report;
};

}  // namespace ot
