// Transport between measures on the line or on a circle: what is given, and what is computed.
#pragma once
#include <cmath>
#include <stdexcept>

#include "core/types.hpp"

namespace ot {

// A batch of measures, a row each. Strides are in elements; 0 repeats one row.
struct Measures {
  DType dtype = DType::f64;
  const void* points = nullptr;  // (batch, size)
  index size = 0, stride = 0;
  const double* weights = nullptr;  // (batch, size), >= 0; null: each point has the weight 1/size
  index weight_stride = 0;
};

// Costs are |x - y|^p, p >= 1; infinite p: the largest distance. On a circle, |x - y| is the length of the shorter arc.
struct OneDimensionOptions {
  double p = 1;
  double period = 0;  // circumference of the circle; 0: the line

  bool circle() const { return period > 0; }
  void check() const {
    if (!(p >= 1) || (circle() && std::isinf(p))) throw std::invalid_argument("p must be >= 1, and finite on a circle");
  }
};

// W = (sum_ij P_ij |x_i - y_j|^p)^(1/p) of every row, with its derivatives in points and weights. Null arrays are not
// computed.
struct OneDimensionResult {
  double* distance = nullptr;    // (batch)
  double* gradient_x = nullptr;  // (batch, n)
  double* gradient_y = nullptr;  // (batch, m)
  double* gradient_a = nullptr;  // (batch, n) up to a constant
  double* gradient_b = nullptr;  // (batch, m)
};

// A plan of at most n + m - 1 entries: those of row i are [begin_i, begin_(i+1)), in ascending order of columns.
struct PlanRows {
  index* begin = nullptr;  // (n + 1)
  std::int32_t* column = nullptr;
  double* mass = nullptr;
};

}  // namespace ot
