// Accelerated Sinkhorn with reg scaling: reg falls from that of a smooth problem to the problem's own, or to the least
// that float64 resolves.
#pragma once
#include <algorithm>
#include <cmath>

#include "entropic/fixed_point.hpp"
#include "entropic/resolution.hpp"
#include "entropic/stored_kernel.hpp"

namespace ot {

template <Backend B>
class Sinkhorn {
 public:
  Sinkhorn(B& be, const Problem& p, const SinkhornOptions& o, const Monitor& monitor)
      : be_(be),
        p_(p),
        asked_(p.reg),
        o_(o),
        clock_(o_.limits, monitor),
        transform_(be, p, o.marginals, clock_),
        iteration_(be, p, clock_) {
    o.check();
  }

  EntropicOutcome solve(Potentials at) {
    EntropicOutcome out;
    double reg = first_reg(at);
    clock_.reserve = 1;
    while (reg > entropic::kSinkhornLast * p_.reg && !clock_.exhausted()) {
      const double next = std::max(reg / entropic::kSinkhornFall, p_.reg);
      run(at, {.reg = reg, .tol = entropic::kLoose, .max_steps = entropic::kLooseSteps, .precision = Precision::f32});
      rescale_both(at, reg / next);
      reg = next;
      resolve(at, reg);
    }
    if (reg != p_.reg) rescale_both(at, reg / p_.reg);
    finish(at, out);
    while (must_repeat(at, out)) finish(at, out);
    end(out);
    return out;
  }

  // The first reg. The potentials are over the problem's reg on entry, and over the reg returned on exit.
  double first_reg(Potentials at) {
    bool given = o_.start > 0;
    if (given && !resolves(be_, p_, at, 1)) {  // a plan of theirs has no digits
      forget(at);
      given = false;
    }
    const double reg = std::max(given ? o_.start : p_.range * entropic::kFirstReg, p_.reg);
    if (!given || o_.start > p_.reg) rescale_both(at, p_.reg / reg);
    return reg;
  }

  // At the problem's reg, to tol.
  void finish(Potentials at, EntropicOutcome& out) {
    if (o_.domain == Domain::kernel) finish_on_kernel(at, out);
    else finish_in_log(at, out);
  }

  double reg() const { return p_.reg; }

  // Raises the problem's reg to the least that float64 resolves at potentials over `over`.
  void resolve(Potentials at, double over) { p_.reg = resolved_reg(be_, p_, at, over); }

  // Whether a solve that failed is to be ended again, at a larger reg; the potentials are then over that one.
  bool must_repeat(Potentials at, const EntropicOutcome& out) {
    const double reg = p_.reg;
    if (out.status == Status::converged || clock_.exhausted()) return false;
    if (!std::isfinite(out.error)) {  // costs over reg overflow
      forget(at);
      p_.reg = std::min(reg * entropic::kOverflowRise, kMostScaled);
      return p_.reg > reg;
    }
    resolve(at, reg);
    if (p_.reg > reg) rescale_both(at, reg / p_.reg);
    return p_.reg > reg;
  }

  void forget(Potentials at) {
    fill(be_, p_.geo.n, NAN, at.rows);
    fill(be_, p_.geo.m, 0, at.columns);
  }

  void end(EntropicOutcome& out) {
    out.n_iter = clock_.n_iter;
    out.reg = p_.reg;
    if (p_.reg > asked_) out.status = Status::unresolved;
  }

  void rescale_both(Potentials at, double factor) {
    rescale(be_, p_.geo.m, factor, at.columns);
    rescale(be_, p_.geo.n, factor, at.rows);
  }

  Clock& clock() { return clock_; }
  SoftTransform<B>& transform() { return transform_; }
  FixedPoint<B>& iteration() { return iteration_; }

 private:
  Value run(Potentials at, const LogStage& stage) { return sinkhorn_stage(transform_, iteration_, at, stage); }

  // One pass is held back, so that the last one is exact and at the problem's reg.
  void finish_in_log(Potentials at, EntropicOutcome& out) {
    const Limits& limits = o_.limits;
    clock_.reserve = 1;
    if (!clock_.exhausted())
      run(at, {.reg = p_.reg,
               .tol = std::max(entropic::kSinglePart * limits.tol, entropic::kSinkhornSingle),
               .max_steps = limits.max_iter,
               .precision = Precision::f32});
    clock_.reserve = 0;
    if (clock_.can_pass()) finish_exactly(at, out);
  }

  void finish_on_kernel(Potentials at, EntropicOutcome& out) {
    const Limits& limits = o_.limits;
    if (!clock_.can_pass()) return;
    StoredKernelStage<B> stored(be_, p_, transform_, iteration_, clock_);
    const Value v = stored.run(at, o_.kernel, limits.tol, limits.max_iter);
    clock_.reserve = 0;
    // Too few passes are left for another round on the kernel.
    if (v.error > limits.tol && !clock_.can_pass(entropic::kRoundPasses) && !clock_.exhausted())
      finish_exactly(at, out);
    else conclude(out, v, p_.reg, limits, clock_);
  }

  void finish_exactly(Potentials at, EntropicOutcome& out) {
    const Value v =
        run(at, {.reg = p_.reg, .tol = o_.limits.tol, .max_steps = o_.limits.max_iter, .precision = Precision::f64});
    conclude(out, v, p_.reg, o_.limits, clock_);
  }

  B& be_;
  Problem p_;
  const double asked_;  // reg
  const SinkhornOptions o_;
  Clock clock_;
  SoftTransform<B> transform_;
  FixedPoint<B> iteration_;
};

}  // namespace ot
