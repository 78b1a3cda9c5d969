// Tuning constants of the assignment, in scans of a row.
#pragma once
#include "core/types.hpp"

namespace ot::assignment {

// Steps of the augmenting row reduction for each row that is free, besides one for each row.
inline constexpr index kReductionSteps = 4;
// After it, 2-D clouds of n = 128 to 2000 have 55 to 60 % of their rows free, 64-D clouds 5 to 8 %, random costs 1 to 5
// %, integers below 100 33 to 48 %, whose paths are short: more than half of their scans find a tie. So square matrices
// with many free rows and few ties have an auction at once. Others have it after as many steps of paths as it costs.
inline constexpr double kManyFree = 0.25, kManyTies = 0.25;
inline constexpr index kPathSteps = 16;  // for each row
// Rows below which paths alone are as fast.
inline constexpr index kLeastAuction = 32;
// The auction: eps from kFirstEps of the scale of costs, divided by kEpsFactor down to kLastEps. A phase ends with
// kLeftFree of the rows free, or after kMostBids for each row. Scans and twice the steps of paths, 2-D clouds of n =
// 1000 and 2000: 39,000 and 97,000, without an auction 572,000 and 2,281,000; with eps down to 1e-6 44,000 and 105,000;
// with a factor of 16 55,000 and 130,000.
inline constexpr double kFirstEps = 0.03, kLastEps = 1e-4, kEpsFactor = 4, kLeftFree = 0.02;
inline constexpr index kMostBids = 50;
// The scale is the largest cost above the least, but no more than kMedians times the median, of a sample.
inline constexpr index kSample = 1024;
inline constexpr double kMedians = 8;
// A pair is tight where its slack is below 12 units of rounding of |C_ij| + |f_i| + |g_j|: 16 in any order of the sum.
inline constexpr double kTight = 12 * 0x1p-52;
// Rounds that assign rows anew whose pair is not tight.
inline constexpr int kRepairs = 8;

}  // namespace ot::assignment
