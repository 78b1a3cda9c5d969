// Newton's method with a line search on the dual of a sparse plan, on a fixed list of candidates.
#pragma once
#include "sparse/constants.hpp"
#include "sparse/line_dual.hpp"
#include "sparse/line_system.hpp"

namespace ot {

struct AscentLimits {
  double tol = 0;                         // on the L1 norm of the gradient
  index steps = 0;                        // at most
  double clip = INFINITY;                 // on every component of a Newton step
  double reach = INFINITY;                // rise of the potentials from which on other entries may matter
  double overshoot = sparse::kOvershoot;  // a step is shortened until the rise is at most this times `reach`
};

struct AscentResult {
  bool within_reach = true;  // else the candidates are to be taken anew
  double first_error = 1;    // at the start
};

template <LineOperations B>
class NewtonAscent {
 public:
  explicit NewtonAscent(LineEvaluator<B>& evaluator) : evaluator_(evaluator) {}

  double damping = sparse::kDamping;  // adapted from step to step, and kept between calls

  // Steps until the error is tol, `stop` says so or the potentials have left their reach. beta, theta and t are those
  // of the alpha reached.
  template <class Stop>
  AscentResult maximise(LineDual& dual, const AscentLimits& limits, Stop stop) {
    base_.resize(dual.problem.others);
    step_.resize(dual.problem.others);
    evaluator_.set_costs(dual);
    AscentResult result{.first_error = evaluator_.differentiate(dual).error};
    for (index round = 0; round < limits.steps && dual.residual.error > limits.tol && !stop(); ++round) {
      base_ = dual.at.alpha;
      const double slope = find_step(dual, limits.clip);
      if (!(slope > 0)) break;
      const double tau = search_line(dual, slope);
      adapt_damping(tau);
      if (!(dual.rise() > limits.reach)) continue;
      shorten(dual, limits, tau);
      result.within_reach = false;
      break;
    }
    evaluator_.write_entries(dual);
    return result;
  }

 private:
  // step_: the Newton step, clipped, less its mean in a; returns <gradient, step> before the mean is taken off. A
  // common rise of alpha changes nothing, as beta falls by the same, but costs digits.
  double find_step(LineDual& dual, double clip) {
    const LineProblem& p = dual.problem;
    const Array<double>& gradient = dual.residual.gradient;
    hessian_.build(evaluator_.view(dual), damping / (p.reg + dual.prox.sigma));
    hessian_.solve(evaluator_.backend(), gradient, step_);
    double slope = 0, mean = 0, mass = 0;
    for (index i = 0; i < p.others; ++i) {
      step_[i] = std::min(clip, std::max(-clip, step_[i]));
      slope += gradient[i] * step_[i];
      mean += p.a[i] * step_[i];
      mass += p.a[i];
    }
    for (index i = 0; i < p.others; ++i)
      if (p.a[i] > 0) step_[i] -= mean / mass;
    return slope;
  }

  // The length in (0, 1] of the step, by secants in a bracket. The dual is concave: its derivative along the step falls
  // from `slope`, through zero if the step is too long.
  double search_line(LineDual& dual, double slope) {
    double low = 0, high = 1, tau = 1, at_low = slope, at_high = 0;
    for (int round = 0; round < sparse::kLineSearch; ++round) {
      move(dual, tau);
      double d = 0;
      for (index i = 0; i < dual.problem.others; ++i) d += dual.residual.gradient[i] * step_[i];
      if (std::fabs(d) <= sparse::kSlopeLeft * slope || (d > 0 && tau == 1)) break;
      if (d > 0) {
        low = tau;
        at_low = d;
      } else {
        high = tau;
        at_high = d;
      }
      const double secant = low + (high - low) * at_low / (at_low - at_high);
      const double edge = sparse::kBracketEdge * (high - low);
      tau = std::min(std::max(secant, low + edge), high - edge);
    }
    return tau;
  }

  void adapt_damping(double tau) {
    if (tau > sparse::kLongStep) damping = std::max(sparse::kLeastDamping, sparse::kDampingFall * damping);
    if (tau < sparse::kShortStep) damping = std::min(sparse::kMostDamping, sparse::kDampingRise * damping);
  }

  // Where the potentials have left their reach, the dual on the candidates is wrong: a step far beyond is drawn back.
  void shorten(LineDual& dual, const AscentLimits& limits, double tau) {
    for (double rise = dual.rise(); rise > limits.overshoot * limits.reach && tau > sparse::kLeastStep;
         rise = dual.rise()) {
      const double aim = std::min(sparse::kMostAim, sparse::kAim * limits.overshoot) * limits.reach;
      tau *= std::max(sparse::kMostShortening, aim / rise);
      move(dual, tau);
    }
  }

  // alpha = base + tau step, and the gradient there.
  void move(LineDual& dual, double tau) {
    for (index i = 0; i < dual.problem.others; ++i) dual.at.alpha[i] = base_[i] + tau * step_[i];
    evaluator_.differentiate(dual);
  }

  LineEvaluator<B>& evaluator_;
  LineHessian hessian_;
  Array<double> base_, step_;
};

}  // namespace ot
