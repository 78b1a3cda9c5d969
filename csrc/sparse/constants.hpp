// Tuning constants of the sparse family, with the measurements that chose them (2 cores, AVX-512). "Routing" is
// 4096 x 64 with at most k entries a row; "Gaussians" are two clouds in the plane, n = m.
#pragma once
#include "core/types.hpp"

namespace ot::sparse {

// ---- Newton's method on the dual (ascent.hpp)

// Damping of the Hessian, in units of the curvature of one entry, 1/(reg + sigma). It falls after long steps and
// rises after short ones.
inline constexpr double kDamping = 1e-3, kLeastDamping = 1e-9, kMostDamping = 1e3;
inline constexpr double kDampingFall = 0.2, kDampingRise = 4;
inline constexpr double kLongStep = 0.7, kShortStep = 0.2;  // of the whole Newton step
// The line search ends where this part of the slope is left, and keeps this part of its bracket from its ends.
inline constexpr double kSlopeLeft = 0.3, kBracketEdge = 0.1;
inline constexpr int kLineSearch = 30;  // evaluations
// Components of a step are clipped to kClip margins. Shortening the whole step instead takes 500 ms instead of 196; a
// clip of half a margin needs 30 evaluations on routing instead of 13.
inline constexpr double kClip = 4;
// A step that raises potentials by more than kOvershoot margins is shortened. Without this, 17 of 1200 random problems
// did not converge.
inline constexpr double kOvershoot = 8;
// A shortened step aims at a rise of kAim overshoots, of kMostAim margins at most. One shortening keeps kMostShortening
// of the step at least; no step is shortened below kLeastStep.
inline constexpr double kAim = 0.9, kMostAim = 2, kMostShortening = 0.1, kLeastStep = 1e-9;
// Where new candidates more than double the error, steps stay within one margin from then on: wide margins
// overshoot among ties.
inline constexpr double kErrorJump = 2;

// ---- Candidates and their margin (candidates.hpp, dual_solver.hpp)

inline constexpr int kAscents = 100;   // of Newton's method on one list of candidates each
inline constexpr int kRefinds = 8;     // passes after a stop, until the candidates are complete
inline constexpr int kRaises = 3;      // passes until every row and column has a candidate
inline constexpr double kMargins = 4;  // the widest margin, in ranges of C: wider ones cost the marginals digits
// The margin doubles where there are fewer than this times (n + m) candidates: few, always; some, at every second list;
// many, at every fourth list of a long ascent. Of 160 problems with ties (lines, grids, integers) 9 did not converge
// without it. With kManyCandidates = 64, 9 of 400 problems ran out of time. Where `many` applies from the fourth list
// on instead of the eighth, n = 5000 peaks at 190 MiB instead of 132.
inline constexpr index kFewCandidates = 8, kSomeCandidates = 64, kManyCandidates = 256;
inline constexpr index kSomePart = 16;       // kSomeCandidates (n + m) counts as n m over this at most
inline constexpr double kCheapGrowth = 1.2;  // it doubles again where the last doubling added less than this
// The margin around a plan is kNearPlan mean slacks of its entries; one where it has more than kDensePlan (n + m) of
// them.
inline constexpr index kNearPlan = 4, kDensePlan = 16;
inline constexpr index kAll = index{1} << 24;  // entries that may all be candidates: 200 MB

// ---- The first potentials (start.hpp, entropic_start.hpp)

inline constexpr double kEntropicTol = 1e-1;  // error of entropic potentials at one reg
inline constexpr index kEntropicSteps = 10;   // at one reg, at most
// The margin at entropic potentials, over their reg.
inline constexpr double kStartMargin = 4;
// The entropic reg falls until at most max(n m / kStartPart, kStartCandidates (n + m)) entries exceed a_i b_j. With n m
// / 8 and 16 routing takes 20 evaluations instead of 13; with n m / 100 and 2 Gaussians n = 1000 take twice as many.
inline constexpr index kStartPart = 32, kStartCandidates = 4;
inline constexpr double kStartReg = 0.125, kStartFall = 4;  // the first entropic reg over the range of C; its fall
// With ties the count stops falling: the start also ends where it is at most n m / kTiedPart and more than kCountFall
// of the last.
inline constexpr double kCountFall = 0.6;
inline constexpr index kTiedPart = 8;
inline constexpr double kLeastStartReg = 1e-6;  // over the range of C
inline constexpr double kMostPotential = 1e6;   // over the range of C and reg: larger ones hold no digits of C
inline constexpr double kLeastMargin = 1e-6;    // over the range of C: the first margin of a warm start
inline constexpr double kDefaultMargin = 1e-3;  // over the range of C: where no time is left for a start
inline constexpr double kMarginRise = 4;        // of the margin of a warm start, until there are enough candidates
inline constexpr index kWarmCandidates = 8;     // a row and column: enough for a warm start

// ---- Falling reg (quadratic.hpp)

inline constexpr double kRegFall = 6;
// The error at which reg falls on: 0.1 took 1.36 million entries evaluated on Gaussians n = 200, this 0.36 million.
inline constexpr double kLoose = 0.03;
inline constexpr index kLooseSteps = 50, kSteps = 200, kManySteps = 500;  // Newton steps
// reg over the range of C down from which a vertex of the polytope is the plan returned: its value exceeds the least by
// reg/2 at most.
inline constexpr double kLinear = 1e-5;
inline constexpr index kVertexPart = 8;  // above kLinear a vertex is only a start, for kAll over this entries at most
inline constexpr double kMostLack = 1e-12;  // mass that a plan of the network simplex may lack

// ---- Proximal steps (prox.hpp): sigma starts at reg

// Falling by 0.2 takes 191 evaluations instead of 121 at n = 200, k = 2; on routing 0.25 needs a third more.
inline constexpr double kSigmaFall = 0.4, kLeastSigma = 1e-4;  // the least over reg
inline constexpr double kProxTol = 1e-2, kProxTolFall = 0.2;
inline constexpr int kProxSteps = 40;
inline constexpr index kProxNewton = 100;
// Candidates further from the plan than kAhead times the last move of the potentials are dropped. At least
// kLeastCandidates and kLeastPerSide (n + m) stay: fewer save little, and leave the network simplex too little choice.
// The list is thinned where at most kThinned quarters of it stay, by the count of a sample of lines.
inline constexpr double kAhead = 1.5;
inline constexpr index kLeastCandidates = index{1} << 13, kLeastPerSide = 2;
inline constexpr index kThinned = 3;  // quarters
inline constexpr index kSampledLines = 512;
inline constexpr double kRestingPlan = 1e-6;  // a step that moves less of the plan (L1) ends quadratic transport
inline constexpr int kProxFailures = 4;       // steps whose Newton's method does not reach kLoose

// ---- At most k entries a line (cardinality.hpp)

// The error of the relaxation where its plan is far from k entries, and where it is within 2 k: two Newton steps
// fewer on routing.
inline constexpr double kFarTol = 1e-2, kNearTol = 1e-4;
// The value is not evaluated after a step that moves more than kMovingPlan of the plan (L1). The ascent ends after a
// step that moves less than kStillPlan.
inline constexpr double kMovingPlan = 0.05, kStillPlan = 1e-7;
// The ascent ends where the last two gains predict that less than kGainLeft of the value is to come. One more step,
// with half the next sigma, decides which entries stay: it lowers the gap of routing, k = 2, from 1.8e-4 to 0.8e-4 for
// 14 evaluations.
inline constexpr double kGainLeft = 2e-7, kLastSigma = 0.5;
// A relative gap above which vertices are searched.
inline constexpr double kWideGap = 1e-2;

// ---- The support (support.hpp, improve.hpp)

inline constexpr int kPricing = 40;        // rounds of the network simplex on candidates, half of it on all entries
inline constexpr double kPriceRise = 1.3;  // of the price of an entry beyond k, a round
inline constexpr int kImprovements = 12;   // Newton solves on a support
inline constexpr index kImproveSteps = 300;
inline constexpr double kImproveTol = 0.1;  // of tol
// A support is nearly a forest, and the potentials of its parts are not determined against each other: damping is
// strong, and steps are clipped to kSupportClip mean entries times reg.
inline constexpr double kSupportDamping = 0.1, kSupportClip = 64;
// The rounds end at a gain of this part of the gap, or at this relative gap.
inline constexpr double kSmallGain = 1e-2, kNarrowGap = 1e-3;

// ---- Annealing over vertices (vertex_search.hpp)

// Against the optimum by mixed-integer programs (n = 6 .. 10) plans are 2.7 % (k = 2) and 0.06 % (k = 3) above it on
// average, and 34 % and 1.7 % without annealing.

// Sweeps over all columns and restarts; fewer where a sweep looks at many nodes.
inline constexpr index kSweeps = 60, kLeastSweeps = 8, kTries = 6, kSearchWork = 4'000'000;
// Heats, and prices of an entry beyond k, in units of the mean cost of one more entry in a column.
inline constexpr double kMildHeat = 2, kMildPrice = 20, kStrongHeat = 10, kStrongPrice = 100;
inline constexpr double kRepairHeat = 0.5, kPackedHeat = 1;
inline constexpr double kCooling = 0.01;          // the last heat over the first
inline constexpr index kRank = 3;                 // of the reduced cost that measures what one more entry costs
inline constexpr double kNegligibleMass = 1e-13;  // mass that counts as 0
inline constexpr double kLeastGain = 1e-9;        // of a pivot at heat 0, over the objective per column
inline constexpr index kPollColumns = 256;        // between two polls

}  // namespace ot::sparse
