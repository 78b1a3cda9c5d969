// Safe sparse Newton on the semi-dual, with reg scaling (after Tang and Qiu, NeurIPS 2024).
//
// One pass gives F, the gradient b - c and the entries T_ij > threshold a_i of the plan, of which the Newton system is
// made (newton_system.hpp). A step that does not raise F is shortened; if that does not either, a Sinkhorn step, which
// always raises F, replaces it. Where more entries exceed the threshold than may be kept, the plan is not sparse, and
// accelerated Sinkhorn takes over.
#pragma once
#include <algorithm>
#include <cmath>

#include "entropic/newton_system.hpp"
#include "entropic/sinkhorn.hpp"

namespace ot {

// Which entries of the plan are kept: e_ij above `threshold` of their row sum.
struct KeptPolicy {
  double threshold = entropic::kThreshold;
  double least = entropic::kLeastThreshold;

  bool can_fall() const { return threshold > least; }
  void lower() { threshold = std::max(threshold * entropic::kThresholdFall, least); }
  // Too many entries were kept: ten times the threshold, below which it does not fall again. False where it is already
  // the first one.
  bool raise() {
    if (!(threshold < entropic::kThreshold)) return false;
    least = threshold = 10 * threshold;
    return true;
  }
};

// Steps that gain too little.
class Stagnation {
 public:
  explicit Stagnation(double error) : best_(error) {}
  void record(double before, double now) {
    since_last_ = now < entropic::kProgress * before ? 0 : since_last_ + 1;
    since_best_ = now < entropic::kProgress * best_ ? 0 : since_best_ + 1;
    best_ = std::min(best_, now);
  }
  bool stalled() const { return since_last_ > entropic::kPatienceOnLast || since_best_ > entropic::kPatienceOnBest; }

 private:
  double best_;
  index since_last_ = 0, since_best_ = 0;
};

template <Backend B>
class Newton {
 public:
  // The domain in the options is that of the Sinkhorn that takes over where the plan is not sparse.
  Newton(B& be, const Problem& p, const SinkhornOptions& o, const Monitor& monitor)
      : be_(be),
        p_(p),
        limits_(o.limits),
        sinkhorn_(be, p, o, monitor),
        system_(be, p),
        trial_(be.template buffer<double>(p.geo.m)),
        phi_before_(be.template buffer<double>(p.geo.n)),
        psi_before_(be.template buffer<double>(p.geo.m)) {
    o.check_newton();
  }

  EntropicOutcome solve(Potentials at) {
    EntropicOutcome out;
    sinkhorn_.clock().reserve = 1;
    scale_reg(at);
    finish(at, out);
    while (sinkhorn_.must_repeat(at, out)) finish(at, out);
    sinkhorn_.end(out);
    return out;
  }

  // At the problem's reg, to tol.
  void finish(Potentials at, EntropicOutcome& out) {
    Clock& clock = sinkhorn_.clock();
    clock.reserve = 1;
    NewtonStage stage{.reg = sinkhorn_.reg(),
                      .tol = entropic::kNewtonSingle,
                      .max_steps = limits_.max_iter,
                      .precision = Precision::f32,
                      .limit = entries_a_row(entropic::kKeptPart)};
    StageResult last;
    if (limits_.tol < entropic::kNewtonSingle && !clock.exhausted()) last = run(at, stage);
    out.newton = true;
    if (!last.dense) {
      clock.reserve = 0;
      if (clock.can_pass()) {
        stage.tol = limits_.tol;
        stage.precision = Precision::f64;
        last = run(at, stage);
        if (!last.dense) conclude(out, last.value, sinkhorn_.reg(), limits_, clock);
      }
    }
    if (last.dense) fall_back(at, out);
  }

  // The same loosely, for the start of other families: float32 throughout, no fall back on Sinkhorn.
  EntropicOutcome approach(Potentials at) {
    EntropicOutcome out;
    scale_reg(at);
    Clock& clock = sinkhorn_.clock();
    const NewtonStage stage{.reg = p_.reg,
                            .tol = limits_.tol,
                            .max_steps = entropic::kLooseSteps,
                            .precision = Precision::f32,
                            .limit = entries_a_row(entropic::kKeptPart)};
    if (clock.can_pass()) conclude(out, run(at, stage).value, p_.reg, limits_, clock);
    out.n_iter = clock.n_iter;
    return out;
  }

  // Below, public for nvcc: see SoftTransform.

  // The potentials at the next reg by linear extrapolation of phi and psi in 1/reg; proportional to 1/reg where only
  // one reg is known (previous = 0).
  void predict(Potentials at, double previous, double reg, double next) {
    Extrapolation e{.linear = previous > 0, .factor = reg / next};
    if (e.linear) e.t = (1 / next - 1 / reg) / (1 / reg - 1 / previous);
    extrapolate(p_.geo.n, at.rows, phi_before_.data(), e);
    extrapolate(p_.geo.m, at.columns, psi_before_.data(), e);
  }
  struct Extrapolation {
    bool linear;
    double factor, t = 0;
  };
  void extrapolate(index n, double* now, double* before, Extrapolation e) {
    const double most = kMostScaled;
    be_.for_each(n, [=] OT_HD(index i) {
      const double guess = e.linear ? now[i] + e.t * (now[i] - before[i]) : now[i] * e.factor;
      before[i] = now[i];
      now[i] = std::min(most, std::max(-most, guess));
    });
  }

 private:
  struct NewtonStage {
    double reg = 0, tol;
    index max_steps;
    Precision precision;
    index limit;                // entries kept a row
    bool may_fall_back = true;  // on Sinkhorn, after kSlowSteps
  };
  struct StageResult {
    Value value;
    bool dense = false;  // the plan is: more than `limit` entries exceed the threshold, or steps gained too little
    index steps_left = 0;
  };

  index entries_a_row(index part) const {
    const index least = std::max(entropic::kFewestKept, std::min(p_.geo.m, entropic::kSmallPlan / p_.geo.n));
    return std::clamp(p_.geo.m / part, least, std::max(least, entropic::kMostKept));
  }
  // Entries a row where steps gain too little.
  index widest() const { return std::min(p_.geo.m, entropic::kWiderPlan / p_.geo.n); }

  // reg falls by kNewtonFall from that of a smooth problem to the problem's own; each stage is solved loosely.
  void scale_reg(Potentials at) {
    Clock& clock = sinkhorn_.clock();
    double reg = sinkhorn_.first_reg(at), previous = 0;
    NewtonStage stage{.tol = entropic::kLoose,
                      .max_steps = entropic::kLooseSteps,
                      .precision = Precision::f32,
                      .limit = entries_a_row(entropic::kKeptPartOnTheWay)};
    while (reg > entropic::kNewtonLast * sinkhorn_.reg() && !clock.exhausted()) {
      stage.reg = reg;
      const StageResult out = run(at, stage);
      if (out.dense) {
        sinkhorn_.iteration().reset();
        const Goal goal{
            .tol = entropic::kLoose, .max_steps = out.steps_left, .noise = entropic::pass_noise(Precision::f32)};
        sinkhorn_.iteration().run(at.columns, sinkhorn_.transform().residual(), out.value, goal,
                                  [&](const double* psi) { return evaluate(at, stage, psi); });
      }
      sinkhorn_.resolve(at, reg);
      const double next = std::max(reg / entropic::kNewtonFall, sinkhorn_.reg());
      predict(at, previous, reg, next);
      previous = reg;
      reg = next;
      policy_.least = entropic::kLeastThreshold;
      system_.forget_factor();
    }
    if (reg != sinkhorn_.reg()) sinkhorn_.rescale_both(at, reg / sinkhorn_.reg());
  }

  Value evaluate(Potentials at, const NewtonStage& stage, const double* psi, Kept* kept = nullptr) {
    return sinkhorn_.transform().evaluate(stage.reg, psi, at.rows, stage.precision, kept);
  }

  // Whether a Newton system can be made: not where exponents overflow, and column sums and the error with them.
  static bool usable(const Kept& kept, const Value& v) { return !kept.overflow && std::isfinite(v.error); }

  // Newton steps at one reg.
  StageResult run(Potentials at, const NewtonStage& stage) {
    Clock& clock = sinkhorn_.clock();
    Kept kept;
    kept.threshold = policy_.threshold;
    kept.limit = stage.limit;
    Value v = evaluate(at, stage, at.columns, &kept);
    Stagnation stagnation(v.error);
    bool sparse = usable(kept, v);  // the entries that matter have been kept
    index slow = 0;                 // steps in a row that gain little although no more entries can be kept
    for (index k = 0; k < stage.max_steps && v.error > stage.tol && !clock.exhausted() && !stagnation.stalled(); ++k) {
      if (!sparse) {
        if (!policy_.raise()) return {.value = v, .dense = true, .steps_left = stage.max_steps - k};
        kept.threshold = policy_.threshold;
        v = evaluate(at, stage, at.columns, &kept);
        sparse = usable(kept, v);
        continue;
      }
      const NewtonStep step = system_.solve(kept, sinkhorn_.transform().col(), v.error,
                                            entropic::system_rounding(stage.precision), control_);
      const Value before = v;
      const bool gained = advance(at, stage, step, v, kept);
      // A weak step lacks entries that were dropped: keep more, or fall back on Sinkhorn.
      const bool weak = gained && !step.clipped && step.solved && v.error > entropic::kWeakStep * before.error;
      const bool room = policy_.can_fall() && 3 * kept.nnz < 2 * kept.limit * p_.geo.n;
      if (weak && room) policy_.lower();
      slow = weak && !room && v.error > entropic::kSlowStep * before.error ? slow + 1 : 0;
      sparse = usable(kept, v);
      if (slow == entropic::kSlowSteps && stage.may_fall_back) {
        if (kept.limit < widest()) {
          kept.limit = widest();
          policy_.lower();
          slow = 0;
        } else {
          sparse = false;
        }
      }
      stagnation.record(before.error, v.error);
    }
    return {.value = v};
  }

  // Takes the first of the step, a quarter of it and a Sinkhorn step that raises F. Returns whether Newton's did.
  bool advance(Potentials at, const NewtonStage& stage, const NewtonStep& step, Value& v, Kept& kept) {
    const index m = p_.geo.m;
    const Value before = v;
    const double slack = entropic::pass_noise(stage.precision) * (1 + std::fabs(before.F));
    double *trial = trial_.data(), *plain = system_.scratch();
    add(be_, m, at.columns, 1.0, sinkhorn_.transform().residual(), plain);
    for (const double alpha : {1.0, entropic::kShorterStep}) {
      if (!(step.slope > 0)) break;
      add(be_, m, at.columns, alpha, system_.step(), trial);
      kept.threshold = policy_.threshold;
      v = evaluate(at, stage, trial, &kept);
      const bool gained = v.F >= before.F + entropic::kArmijo * alpha * step.slope - slack &&
                          (v.F > before.F + slack || v.error < entropic::kSafeError * before.error);
      if (gained) {
        copy(be_, m, trial, at.columns);
        control_.accept(before.error, v.error, step.clipped);
        return true;
      }
      if (sinkhorn_.clock().exhausted()) break;
      control_.shorten();
    }
    v = evaluate(at, stage, plain, &kept);
    copy(be_, m, plain, at.columns);
    return false;
  }

  // Sinkhorn at the problem's reg; where it stalls, Newton on up to kWholePlan entries.
  void fall_back(Potentials at, EntropicOutcome& out) {
    Clock& clock = sinkhorn_.clock();
    out.newton = false;
    out.message = "the plan is not sparse: accelerated Sinkhorn";
    sinkhorn_.finish(at, out);
    if (out.status != Status::stalled || clock.exhausted() || !clock.can_pass()) return;
    out.newton = true;
    out.message = "the plan is not sparse and Sinkhorn stalled: Newton's method on the whole plan";
    const NewtonStage stage{
        .reg = sinkhorn_.reg(),
        .tol = limits_.tol,
        .max_steps = limits_.max_iter,
        .precision = Precision::f64,
        .limit = std::min<index>(p_.geo.m, std::max(entropic::kMostKept, entropic::kWholePlan / p_.geo.n)),
        .may_fall_back = false};
    conclude(out, run(at, stage).value, sinkhorn_.reg(), limits_, clock);
  }

  B& be_;
  const Problem p_;
  const Limits limits_;
  Sinkhorn<B> sinkhorn_;
  NewtonSystem<B> system_;
  KeptPolicy policy_;
  StepControl control_;
  Buffer<double> trial_, phi_before_, psi_before_;
};

}  // namespace ot
