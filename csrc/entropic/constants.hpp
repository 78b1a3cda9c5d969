// Tuning constants of the entropic family, each with its unit and the measurement that chose it (2 cores, AVX-512).
// "digits-L1" and "colours" are cases of benchmarks/cases.py; passes are to an error of 1e-9.
#pragma once
#include "core/types.hpp"

namespace ot::entropic {

// ---- reg scaling (sinkhorn.hpp, newton.hpp)

inline constexpr double kFirstReg = 0.125;       // of the range of C: where reg starts
inline constexpr double kSinkhornFall = 4;       // of reg from stage to stage: Sinkhorn's steps are cheap,
inline constexpr double kNewtonFall = 2;         // Newton's region of convergence is small
inline constexpr double kSinkhornLast = 2;       // stages end where reg is within this factor of the problem's
inline constexpr double kNewtonLast = 1.5;       //
inline constexpr double kLoose = 3e-2;           // error at which reg falls
inline constexpr index kLooseSteps = 30;         // a stage
inline constexpr double kSinkhornSingle = 1e-5;  // errors down to which float32 exponentials do
inline constexpr double kNewtonSingle = 1e-4;    //

// ---- Guarded fixed-point iteration (fixed_point.hpp). The window of Anderson acceleration is in anderson.hpp.

// A loss of F, relative to 1 + |F|, that rounding explains; of a pass and of a product with a stored kernel.
constexpr double pass_noise(Precision p) { return p == Precision::f32 ? 1e-7 : 1e-13; }
constexpr double product_noise(Precision p) { return p == Precision::f32 ? 1e-6 : 1e-13; }
inline constexpr double kErrorJump = 10;   // an accelerated step may raise the error by this factor at most
inline constexpr double kProgress = 0.99;  // of the error: less than this counts as progress
inline constexpr index kPatience = 1000;   // steps without progress: the iteration has stalled

// ---- Stored kernel (stored_kernel.hpp)

inline constexpr double kProductSingle = 1e-6;  // error down to which float32 products do
inline constexpr double kTargetPart = 0.5;      // of tol: the goal on the kernel, so that the exact pass confirms it
// Range of log u and log v: float32 holds exp(-75), so that what a scaling loses is below exp(-25).
inline constexpr double kScalingRange = 25;
inline constexpr double kRoundGain = 0.9;  // a round that leaves more of the error than this is fruitless
inline constexpr int kFruitlessRounds = 5;
inline constexpr index kRoundPasses = 4;  // build, calibrate, iterate, evaluate: what a round takes at least

// ---- Newton's method (newton.hpp)

// Entries kept, over their row sum. A tenth of it while steps leave kWeakStep of the error although there is room:
// colours n = 1000, reg 1e-4 took 26 Newton steps without, 15 with it; a cloud n = 5000 at 1e-4 14 and 7.
inline constexpr double kThreshold = 1e-4, kLeastThreshold = 1e-9, kThresholdFall = 0.1;
inline constexpr double kWeakStep = 0.07;
// Entries kept a row, on average: m over kKeptPart on the way and at the problem's reg, within bounds; beyond, Sinkhorn
// is cheaper. m/8 takes n = 4000 from 0.55 to 0.90 s and n = 8000 from 1.9 to 5.6 s. The upper bound keeps memory O(n).
inline constexpr index kKeptPartOnTheWay = 32, kKeptPart = 16, kFewestKept = 32, kMostKept = 1024;
inline constexpr index kWholePlan = 1 << 24;  // entries in all, where neither Newton nor Sinkhorn converged: 200 MB
inline constexpr double kSlowStep = 0.5;      // of the error: steps that leave more, with no room for more entries,
inline constexpr index kSlowSteps = 3;        // so many in a row, hand over to Sinkhorn
inline constexpr index kPatienceOnLast = 60, kPatienceOnBest = 300;  // steps without progress: stalled
inline constexpr double kArmijo = 1e-4;                              // of the slope: the gain that a step must make
inline constexpr double kShorterStep = 0.25;                         // tried where the whole step does not gain
inline constexpr double kSafeError = 2;  // a step within the noise of F may raise the error by this factor at most

// ---- Its linear system (newton_system.hpp)

// The trust region: the largest change of a component of psi. Weakly linked parts of a plan ask for steps of 1e5 where
// 10 is right. Scaling the whole step, or damping alone, took 93 to 133 passes on digits-L1.
inline constexpr double kRadius = 4, kLeastRadius = 0.1;
// CG stops at a tenth of the last step's gain in the L1 norm of the residual, within bounds: 1448 iterations became 718
// on digits-L1. In the preconditioned norm one nearly matched column hides all others (stalled at 2e-5).
inline constexpr double kForcing = 0.1, kLeastForcing = 0.03, kMostForcing = 0.3;
inline constexpr index kCgIterations = 500;
// Rounding of T and c, relative: keeps the diagonal of H positive where rows and columns match one to one. Without it
// 2-D Gaussians at 1e-4 took 89 passes instead of 29.
constexpr double system_rounding(Precision p) { return p == Precision::f32 ? 4e-7 : 4e-15; }
// A factor is kept until it is stale by this part of the iterations that cost as much as a new one.
inline constexpr index kStaleFactor = 5;

// ---- Sinkhorn-Newton-Sparse (sns.hpp)

inline constexpr double kSnsCgTol = 1e-8;  // of <r, M^-1 r>
inline constexpr index kSnsCgIterations = 1000;
inline constexpr double kSnsNoise = 1e-14;     // of F, relative to 1 + |F|
inline constexpr double kSnsLeastStep = 1e-9;  // of the backtracking, by halves
inline constexpr index kSnsPatience = 50;      // steps without progress: stalled
inline constexpr double kSnsThreshold = 1e-3;  // of the mean entry: where candidates for the Hessian start
inline constexpr index kSnsSpare = 16;         // times the entries wanted: room to choose the largest from
inline constexpr index kSnsLeastKept = 64;     // a row
inline constexpr double kSnsThresholdRise = 10, kSnsThresholdFall = 0.1;

}  // namespace ot::entropic
