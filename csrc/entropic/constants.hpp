// Tuning constants of the entropic family, each with its unit and the measurement that chose it (2 cores, AVX-512).
// "digits-L1" and "colours" are cases of benchmarks/cases.py; passes are to an error of 1e-9.
#pragma once
#include "core/types.hpp"

namespace ot::entropic {

// ---- reg scaling (sinkhorn.hpp, newton.hpp)

inline constexpr double kFirstReg = 0.125;  // of the range of C: where reg starts
// reg falls by this factor from stage to stage: Sinkhorn's steps are cheap, Newton's region of convergence is small.
inline constexpr double kSinkhornFall = 4, kNewtonFall = 2;
// The stages end where reg is within this factor of the problem's.
inline constexpr double kSinkhornLast = 2, kNewtonLast = 1.5;
inline constexpr double kLoose = 3e-2;    // error at which a stage ends
inline constexpr index kLooseSteps = 30;  // of a stage, at most
// Down to these errors exponentials are float32, and float64 below.
inline constexpr double kSinkhornSingle = 1e-5, kNewtonSingle = 1e-4;
// The largest |f_i|/reg and |g_j|/reg of a plan that float64 resolves (resolution.hpp). On the mean over its mass:
// rounding leaves errors of 1e-7 to 1e-6 in the marginals, and from 1e12 on Newton's method may end at 0.1.
// Of a single line: rounding changes its entries by 1 %.
inline constexpr double kLargestMean = 1e11, kLargestScaled = 1e14;
inline constexpr double kOverflowRise = 0x1p32;  // of reg, where costs over it leave the range of float32
inline constexpr double kSinglePart = 0.9;  // of tol: the goal of float32 steps, so that the float64 pass confirms it

// ---- Guarded fixed-point iteration (fixed_point.hpp). The window of Anderson acceleration is in anderson.hpp.

// A loss of F, relative to 1 + |F|, that rounding explains; of a pass and of a product with a stored kernel.
constexpr double pass_noise(Precision p) { return p == Precision::f32 ? 1e-7 : 1e-13; }
constexpr double product_noise(Precision p) { return p == Precision::f32 ? 1e-6 : 1e-13; }
inline constexpr double kErrorJump = 10;   // an accelerated step may raise the error by this factor at most
inline constexpr double kProgress = 0.99;  // of the error: less than this counts as progress
inline constexpr index kPatience = 1000;   // steps without progress: the iteration has stalled

// ---- Stored kernel (stored_kernel.hpp)

inline constexpr double kProductSingle = 1e-6;  // down to this error products are float32, and float64 below
inline constexpr double kTargetPart = 0.5;      // of tol: the goal on the kernel, so that the exact pass confirms it
// Largest |log u| and |log v|. Float32 holds entries down to exp(-75), and u v is at most exp(50): what a stored kernel
// loses of the plan is below exp(-25) a_i b_j.
inline constexpr double kScalingRange = 25;
inline constexpr double kRoundGain = 0.9;  // a round that leaves more of the error than this is fruitless
inline constexpr int kFruitlessRounds = 5;
inline constexpr index kRoundPasses = 4;  // of a round, at least: build, calibrate, iterate, evaluate

// ---- Newton's method (newton.hpp)

// Least entry kept, over its row sum. It falls by kThresholdFall after a step that leaves more than kWeakStep of the
// error, while there is room for more entries: with a fixed threshold colours n = 1000, reg 1e-4 took 26 Newton steps
// instead of 15, a cloud n = 5000 at 1e-4 took 14 instead of 7.
inline constexpr double kThreshold = 1e-4, kLeastThreshold = 1e-9, kThresholdFall = 0.1;
inline constexpr double kWeakStep = 0.07;
// Entries kept a row, on average, at most: m / kKeptPartOnTheWay in the stages and m / kKeptPart at the problem's reg,
// within bounds. With more entries Sinkhorn is cheaper: m / 8 takes n = 4000 from 0.55 to 0.90 s and n = 8000 from 1.9
// to 5.6 s. The upper bound keeps memory O(n).
inline constexpr index kKeptPartOnTheWay = 32, kKeptPart = 16, kFewestKept = 32, kMostKept = 1024;
// Entries in all that may be kept of any plan, and those where steps gain too little. Weak links between blocks are
// below the threshold where more must go: of clusters in 64 dimensions, n = 152, reg 2e-5, 537 passes became 43. At
// n = 500, 2^16 entries from the start take 1.1 to 1.9 times as long.
inline constexpr index kSmallPlan = 1 << 14, kWiderPlan = 1 << 16;
inline constexpr index kWholePlan = 1 << 24;  // entries in all, where neither Newton nor Sinkhorn converged: 200 MB
// Sinkhorn takes over after kSlowSteps steps in a row that leave more than kSlowStep of the error, with no room for
// more entries.
inline constexpr double kSlowStep = 0.5;
inline constexpr index kSlowSteps = 3;
inline constexpr index kPatienceOnLast = 60, kPatienceOnBest = 300;  // steps without progress: stalled
inline constexpr double kArmijo = 1e-4;                              // of the slope: the gain that a step must make
inline constexpr double kShorterStep = 0.25;                         // tried where the whole step does not gain
inline constexpr double kSafeError = 2;  // a step within the noise of F may raise the error by this factor at most

// ---- Its linear system (newton_system.hpp)

// The trust region: the largest change of a component of psi. Weakly linked parts of a plan ask for steps of 1e5 where
// 10 is right. Scaling the whole step, or damping alone, took 93 to 133 passes on digits-L1.
inline constexpr double kRadius = 4, kLeastRadius = 0.1;
inline constexpr double kRadiusFall = 0.25, kRadiusRise = 2;  // after a step that fails; that succeeds and was clipped
// Damping mu of H, in units of diag(c). A step that fails takes it to kDampingRise mu + kFirstDamping, one that
// succeeds to kDampingFall mu, and to 0 from below kLeastDamping.
inline constexpr double kFirstDamping = 1e-4, kLeastDamping = 1e-5, kMostDamping = 1;
inline constexpr double kDampingRise = 4, kDampingFall = 0.2;
// CG stops at a tenth of the last step's gain in the L1 norm of the residual, within bounds: 1448 iterations became 718
// on digits-L1. In the preconditioned norm one nearly matched column hides all others (stalled at 2e-5).
inline constexpr double kForcing = 0.1, kLeastForcing = 0.03, kMostForcing = 0.3;
inline constexpr index kCgIterations = 500;
// Rounding of T and c, relative: keeps the diagonal of H positive where rows and columns match one to one. Without it
// 2-D Gaussians at 1e-4 took 89 passes instead of 29.
constexpr double system_rounding(Precision p) { return p == Precision::f32 ? 4e-7 : 4e-15; }
// The factor of an earlier step is replaced after kFactorPays / kStaleFactor iterations with it.
inline constexpr index kStaleFactor = 5;

// ---- Sinkhorn-Newton-Sparse (sns.hpp)

inline constexpr double kSnsCgTol = 1e-8;  // of <r, M^-1 r>
inline constexpr index kSnsCgIterations = 1000;
inline constexpr double kSnsNoise = 1e-14;     // of F, relative to 1 + |F|
inline constexpr double kSnsLeastStep = 1e-9;  // of the backtracking, by halves
// Steps without progress on the last error, and on the best: stalled. Errors that go up and down took 28 784 steps.
inline constexpr index kSnsPatience = 50, kSnsPatienceOnBest = 300;
inline constexpr double kSnsThreshold = 1e-3;  // of the mean entry: where candidates for the Hessian start
inline constexpr index kSnsSpare = 16;         // times the entries wanted: room to choose the largest from
inline constexpr index kSnsLeastKept = 64;     // a row
inline constexpr double kSnsThresholdRise = 10, kSnsThresholdFall = 0.1;

}  // namespace ot::entropic
