// Where a circle is cut so that the monotone coupling of what is left is optimal.
//
// With quantile functions F^-1 and G^-1 on masses of 1, the latter continued by one turn per unit of mass, the cost
//   c(s) = int_0^1 h(F^-1(t) - G^-1(t - s)) dt,   s in [-1, 1],
// is convex and piecewise linear in the shift s (Delon, Salomon and Sobolevski 2010). Its kinks are the shifts at which
// a level of y meets one of x, and there both measures can be cut.
#pragma once
#include "one_dimension/coupling.hpp"

namespace ot {

// The first points behind a cut; that of y stands `turns` turns up.
struct Cut {
  index x = 0, y = 0;
  double turns = 0;
};

class CircleSearch {
 public:
  CircleSearch(const SortedMeasure& x, const SortedMeasure& y, Array<double>& x_levels, Array<double>& y_levels,
               OneDimensionOptions o)
      : x_(x), y_(y), A_(x_levels), B_(y_levels), power_{.p = o.p, .unit = 2 * o.period}, period_(o.period) {
    x.levels(x_levels);
    y.levels(y_levels);
  }

  // The minimum lies in [-1, 1]. The crossing of the tangents at both ends of a bracket is a lower bound and the next
  // shift, in turn with the middle, since tangents alone may take as many steps as there are kinks. O(n + m) a step.
  Cut find() const {
    Value low = at(-1.5), high = at(1.5), best = at(0);
    (best.slope < 0 ? low : high) = best;
    for (int k = 0; k < kMost && high.slope > 0 && high.shift - low.shift > kResolution; ++k) {
      const double ahead = (high.cost - low.cost - high.slope * (high.shift - low.shift)) / (low.slope - high.slope);
      const double bound = low.cost + low.slope * ahead;
      if (best.cost - bound <= kResolution * best.cost) break;
      const bool tangents = k % 2 == 0 && low.shift + ahead > low.shift && low.shift + ahead < high.shift;
      const Value v = at(tangents ? low.shift + ahead : 0.5 * (low.shift + high.shift));
      if (v.cost <= best.cost) best = v;
      (v.slope < 0 ? low : high) = v;
    }
    return nearest(high.slope > 0 ? best.shift : high.shift);
  }

 private:
  static constexpr int kMost = 120;
  static constexpr double kResolution = 0x1p-51;

  struct Value {
    double shift, cost, slope;  // c(s), and its derivative to the right
  };

  // f(i, j, turns, from, a, b) for the steps of the coupling shifted by s: x_i and y_j, `turns` turns up, share the
  // mass from `from` to the smaller of their levels a and b.
  template <class F>
  void for_steps(double s, F&& f) const {
    double turns = std::ceil(-s) - 1, from = 0;  // level 0 of y is level -s - turns in (0, 1] of its turn
    index j = std::lower_bound(B_.begin(), B_.end(), -s - turns) - B_.begin();
    for (index i = 0; i < x_.size();) {
      const double a = A_[i], b = std::max(B_[j] + turns + s, from);
      f(i, j, turns, from, a, b);
      from = std::min(a, b);
      if (a <= b) {
        ++i;
      } else if (++j == y_.size()) {
        j = 0;
        ++turns;
      }
    }
  }

  // Levels of y move with s: a step grows where it ends at one, and shrinks where it begins at one.
  Value at(double s) const {
    Sum cost;
    double slope = 0;
    bool begins_at_y = false;
    for_steps(s, [&](index i, index j, double turns, double from, double a, double b) {
      const double h = power_(std::abs(x_.points()[i] - (y_.points()[j] + turns * period_)));
      const bool ends_at_y = a > b;
      cost.add((std::min(a, b) - from) * h);
      slope += h * (ends_at_y - begins_at_y);
      begins_at_y = ends_at_y;
    });
    return {.shift = s, .cost = cost.value(), .slope = slope};
  }

  // The kink next to s.
  Cut nearest(double s) const {
    Cut cut;
    double least = INFINITY;
    for_steps(s, [&](index i, index j, double turns, double, double a, double b) {
      if (std::abs(a - b) >= least) return;
      least = std::abs(a - b);
      cut = {.x = i + 1, .y = j + 1, .turns = turns};
    });
    if (cut.x == x_.size()) cut.x = 0, --cut.turns;
    if (cut.y == y_.size()) cut.y = 0, ++cut.turns;
    return cut;
  }

  const SortedMeasure &x_, &y_;
  const Array<double>&A_, &B_;  // levels
  Power power_;
  double period_;
};

}  // namespace ot
