// Options and results of exact transport.
#pragma once
#include "core/array.hpp"
#include "core/monitor.hpp"
#include "core/problem.hpp"

namespace ot {

// The arcs of a basis, at most rows + columns - 1, with the mass that they carry.
struct BasisPlan {
  Array<std::int32_t> row, column;
  Array<double> flow;
  void add(index i, index j, double mass) {
    row.push_back(static_cast<std::int32_t>(i));
    column.push_back(static_cast<std::int32_t>(j));
    flow.push_back(mass);
  }
};

// Pairs by rows, columns sorted: row i has [begin_i, begin_{i+1}).
struct PairList {
  index n = 0, m = 0;
  const index* begin = nullptr;
  const std::int32_t* column = nullptr;
  const double* cost = nullptr;
};

struct ExactOptions {
  // tol: relative gap that is accepted, 0 for a proof of optimality; max_iter: pivots.
  Limits limits{.tol = 0};
  bool warm = false;  // the potentials given are a start
  BasisPlan basis{};  // arcs of a basis to start from; their mass is not read
};

// Rows whose mass the allowed pairs cannot carry, and how much of it. Empty where there is a plan.
struct InfeasibleCut {
  Array<std::int32_t> rows, columns;  // all allowed pairs of these rows lie in these columns
  double excess = 0;                  // mass of the rows beyond that of the columns
};

// Costs are as the geometry has them, without its shift. `dual` is the value of potentials that no pair violates.
struct ExactSolution : Outcome {
  BasisPlan plan;
  InfeasibleCut cut;
  double value = 0;            // <C,P>
  double least = -INFINITY;    // the least reduced cost of all pairs, in a pass at the potentials returned
  bool proved = false;         // no reduced cost is below rounding, or the gap is within tol
  index rounds = 0, arcs = 0;  // passes that priced all pairs; arcs that the simplex had in the end
};

}  // namespace ot
