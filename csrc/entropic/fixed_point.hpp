// Guarded, accelerated fixed-point iteration psi <- psi + residual(psi), for any evaluation of psi.
// Steps are Anderson accelerated. An accelerated step that lowers F, or raises the error by more than kErrorJump, is
// replaced by the plain step, at the cost of a second evaluation.
#pragma once
#include <algorithm>
#include <cmath>

#include "algorithms/anderson.hpp"
#include "core/elementwise.hpp"
#include "entropic/soft_transform.hpp"

namespace ot {

// When an iteration ends.
struct Goal {
  double tol;  // on the error
  index max_steps;
  double noise;  // loss of F, relative to 1 + |F|, that rounding explains
};

struct FixedPointResult {
  Value value;           // of the last accepted psi
  bool stalled = false;  // kPatience steps without progress
  index steps = 0;
};

template <Backend B>
class FixedPoint {
 public:
  FixedPoint(B& be, const Problem& p, Clock& clock)
      : be_(be),
        m_(p.geo.m),
        clock_(clock),
        anderson_(be, m_, p.b),
        trial_(be.template buffer<double>(m_)),
        plain_(be.template buffer<double>(m_)) {}

  // Forgets the steps made so far.
  void reset() { anderson_.reset(); }

  // From psi, whose value is `at` and whose residual is given. Leaves the last accepted psi there.
  // evaluate(psi) returns the value and renews the residual.
  template <class Evaluate>
  FixedPointResult run(double* psi, const double* residual, Value at, const Goal& goal, Evaluate evaluate) {
    double *trial = trial_.data(), *plain = plain_.data();
    FixedPointResult out{.value = at};
    double best = at.error;
    index since = 0;  // steps since the last progress
    while (out.steps < goal.max_steps && at.error > goal.tol && at.escaped == 0 && !clock_.exhausted()) {
      const bool accelerated = !anderson_.empty();
      add(be_, m_, psi, 1.0, residual, plain);
      anderson_.step(psi, residual, trial);
      Value v = evaluate(trial);
      const bool gained = v.F >= at.F - goal.noise * (1 + std::fabs(at.F)) && v.error < entropic::kErrorJump * at.error;
      if (accelerated && !gained) {
        v = evaluate(plain);
        copy(be_, m_, plain, psi);
        anderson_.reset();
      } else {
        copy(be_, m_, trial, psi);
      }
      out.value = at = v;
      ++out.steps;
      since = at.error < entropic::kProgress * best ? 0 : since + 1;
      best = std::min(best, at.error);
      out.stalled = since > entropic::kPatience;
      if (out.stalled) break;
    }
    return out;
  }

 private:
  B& be_;
  const index m_;
  Clock& clock_;
  Anderson<B> anderson_;
  Buffer<double> trial_, plain_;
};

// The log-domain iteration at one reg.
struct LogStage {
  double reg, tol;
  index max_steps;
  Precision precision;
};

// Sinkhorn at one reg in the log domain: every step is a pass over C.
template <Backend B>
Value sinkhorn_stage(SoftTransform<B>& transform, FixedPoint<B>& iteration, Potentials at, const LogStage& stage) {
  const Value first = transform.evaluate(stage.reg, at.columns, at.rows, stage.precision);
  iteration.reset();
  const Goal goal{.tol = stage.tol, .max_steps = stage.max_steps, .noise = entropic::pass_noise(stage.precision)};
  return iteration
      .run(at.columns, transform.residual(), first, goal,
           [&](const double* psi) { return transform.evaluate(stage.reg, psi, at.rows, stage.precision); })
      .value;
}

}  // namespace ot
