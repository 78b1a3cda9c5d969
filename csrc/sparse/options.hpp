// Options and results of the solvers whose plans are sparse.
#pragma once
#include "core/array.hpp"
#include "core/monitor.hpp"
#include "core/problem.hpp"

namespace ot {

// The lines of a plan: its rows or its columns.
enum class Lines { rows, columns };

struct QuadraticOptions {
  Limits limits{};
  Lines lines = Lines::columns;  // eliminated from the dual, and bounded
  bool warm = false;             // the potentials given are a start
};

struct CardinalityOptions : QuadraticOptions {
  index max_nz = 1;       // entries of a line, at most
  bool semi_dual = true;  // the dual value is that of the potentials of lines that maximise it
};

// A plan by lines. Its value is <C - shift, T> + reg/2 |T|^2.
struct SparsePlan {
  Array<index> begin;
  Array<std::int32_t> idx;
  Array<double> val;
  double value = 0;
};

// The dual value is a lower bound of all plans with the entries allowed; costs are less the shift.
struct SparseSolution : Outcome {
  SparsePlan plan;
};

}  // namespace ot
