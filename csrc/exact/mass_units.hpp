// Masses as integers: flows are then sums and differences without rounding, and no flow is nearly zero.
#pragma once
#include <algorithm>
#include <cmath>

#include "core/array.hpp"

namespace ot {

// Masses over a power of two, rounded, so that either side sums to less than 2^62 and both to the same. What rounding
// and unequal sums leave, some 1e-16 of the sum, goes to the largest mass of the lighter side.
class MassUnits {
 public:
  using Mass = std::int64_t;

  MassUnits(const double* a, index n, const double* b, index m) : rows(n), columns(m) {
    double sum = 0;
    for (index i = 0; i < n; ++i) sum += a[i];
    exponent_ = kBits - 1 - std::ilogb(sum);
    const Mass left = load(a, rows) - load(b, columns);
    if (left == 0) return;
    Array<Mass>& lighter = left > 0 ? columns : rows;
    *std::max_element(lighter.begin(), lighter.end()) += left > 0 ? left : -left;
  }

  double mass(Mass units) const { return std::ldexp(static_cast<double>(units), -exponent_); }

  Array<Mass> rows, columns;

 private:
  static constexpr int kBits = 62;

  // A positive mass has one unit at least.
  Mass load(const double* from, Array<Mass>& to) const {
    Mass sum = 0;
    for (index i = 0; i < to.size(); ++i) {
      to[i] = from[i] > 0 ? std::max<Mass>(1, std::llround(std::ldexp(from[i], exponent_))) : 0;
      sum += to[i];
    }
    return sum;
  }

  int exponent_ = 0;
};

}  // namespace ot
