// Linear assignment: every row to a column of its own at the least sum of costs.
#pragma once
#include "core/array.hpp"

namespace ot {

// f_i + g_j <= C_ij for all pairs, with equality where i is assigned to j, and g_j <= 0 where columns are left over,
// with equality for those.
struct AssignmentResult {
  Array<index> column;     // (n) of every row
  Array<double> f, g;      // (n), (m)
  double slack = 0;        // the largest C_ij - f_i - g_j of an assigned pair beyond rounding
  Array<index> stuck;      // rows with fewer allowed columns than there are of them; empty: there is an assignment
  index scans = 0;         // of rows, in all
  bool auctioned = false;  // whether an auction found the first potentials
};

}  // namespace ot
