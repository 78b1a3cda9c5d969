// Tuning constants of exact transport, each with its unit and the measurement that chose it (2 cores, AVX-512).
#pragma once
#include <limits>

#include "core/types.hpp"

namespace ot::exact {

// Up to this many pairs the simplex has all of them from the beginning: no start, no candidates.
inline constexpr index kWhole = 1 << 14;

// ---- Start: entropic potentials, float32 throughout

inline constexpr double kStartReg = 3e-4;  // of the range of costs
inline constexpr double kStartTol = 3e-2;  // error of the last stage
inline constexpr index kStartPasses = 500;

// ---- Candidates and pricing

// Candidates of every row and of every column. 2-D Gaussians n = 8000: 10 passes with 8, 6 with 10 or 12, 5 with 16,
// whose pivots take longer: 1.47, 1.41, 1.46 and 1.46 s of processor time.
inline constexpr index kNearest = 10;
inline constexpr index kViolators = 8;  // pairs of a row that a round adds; doubled after kPatience rounds
inline constexpr index kPatience = 8, kMostRounds = 200;
// A reduced cost counts as negative below this part of |C_ij| + |f_i| + |g_j|: the rounding of its terms. A bound by
// the largest cost would prove nothing where 1e32 stands beside 1.
inline constexpr double kRounding = 16 * std::numeric_limits<double>::epsilon();

// ---- The gap in the end, over <|C|,P>: above kFineGap the tree is refreshed, at most kRefreshes times; above kMostGap
// and the rounding of the potentials nothing is proved.
inline constexpr double kFineGap = 1e-13, kMostGap = 1e-10;
inline constexpr int kRefreshes = 2;

// ---- Artificial arcs cost kArtificial times the median reduced cost of the first arcs, and kArtificialRise times more
// where mass is left on them. 2-D Gaussians n = 8000: 13 passes with 32, 10 with 128, 8 with 512, whose pivots are
// more. n max C, which is safe at once, costs digits: a gap of 1.5e-10 instead of 1e-13.
inline constexpr double kArtificial = 128, kArtificialRise = 4;

}  // namespace ot::exact
