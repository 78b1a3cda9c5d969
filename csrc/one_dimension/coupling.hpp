// The monotone coupling of two measures on the line, which is optimal for every cost h(x - y) with convex h, and what
// is computed from it: the distance, its derivatives, the plan.
#pragma once
#include <algorithm>
#include <cmath>

#include "one_dimension/measure.hpp"

namespace ot {

// f(i, j, t) for the n + m - 1 steps of the staircase: mass t >= 0 goes from the i-th to the j-th point in order. Where
// the sums of the weights differ, those of y are scaled to those of x.
template <class F>
void for_coupling(const SortedMeasure& x, const SortedMeasure& y, F&& f) {
  const double* a = x.weights();
  const double* b = y.weights();
  const double ratio = (x.total() - y.total()) / y.total().value();
  const double same = 0x1p-80 * x.total().value();  // levels closer than this are equal
  Level A, B, from;
  A.add(a[0]);
  B.add(b[0]);
  for (index i = 0, j = 0;;) {
    const bool last_i = i + 1 == x.size(), last_j = j + 1 == y.size();
    if (last_i && last_j) return f(i, j, std::max(x.total() - from, 0.0));
    Level scaled = B;
    scaled.low += ratio * B.high;
    const double ahead = A - scaled;
    const bool next_i = last_j || (!last_i && ahead <= same);
    const Level to = next_i && !(std::abs(ahead) <= same) ? A : scaled;
    f(i, j, std::max(to - from, 0.0));
    from = to;
    if (next_i) A.add(a[++i]);
    else B.add(b[++j]);
  }
}

// A sum of terms >= 0 with an error of some roundings.
class Sum {
 public:
  void add(double v) {
    const double sum = sum_ + v;
    rest_ += sum_ >= v ? (sum_ - sum) + v : (v - sum) + sum_;
    sum_ = sum;
  }
  double value() const { return sum_ + rest_; }

 private:
  double sum_ = 0, rest_ = 0;
};

// h(d) = d^p for d >= 0, and d^(p-1), in units of a length: d is divided by it.
struct Power {
  double p, unit = 1;
  double operator()(double d) const {
    d /= unit;
    return p == 1 ? d : p == 2 ? d * d : std::pow(d, p);
  }
  double slope(double d) const {
    d /= unit;
    return p == 1 ? 1.0 : p == 2 ? d : std::pow(d, p - 1);
  }
};

// W = unit S^(1/p) with S = sum t (|x - y| / unit)^p.
class Distance {
 public:
  Distance(const SortedMeasure& x, const SortedMeasure& y, double p) : x_(x), y_(y), power_{.p = p} {
    if (std::isinf(p)) {
      find_largest();
      return;
    }
    sum_ = sum();
    if (sum_ > kLeast && sum_ < 1 / kLeast) return;
    find_largest();  // powers leave the range of float64: in units of the largest distance
    if (largest_ == 0) return;
    power_.unit = p <= 2 ? std::exp2(std::ilogb(largest_)) : largest_;
    sum_ = sum();
  }

  double value() const {
    if (std::isinf(power_.p)) return largest_ / half_;
    if (sum_ == 0) return 0;
    return power_.unit * root(sum_) / half_;
  }

  // Adds dW/dx_i and dW/dy_j; zero where W is. Of several derivatives, one.
  void add_gradients(double* gx, double* gy) const {
    const double outer = std::isinf(power_.p) ? 1 : sum_ == 0 ? 0 : root(sum_) / sum_;
    bool found = false;
    for_coupling(x_, y_, [&](index i, index j, double t) {
      const double d = difference(i, j), size = std::abs(d);
      if (t == 0 || d == 0) return;
      double g = std::isinf(power_.p) ? (size == largest_ && !found) : outer * t * power_.slope(size);
      found = found || g != 0;
      g = std::copysign(g, d);
      if (gx) gx[x_.place(i)] += g;
      if (gy) gy[y_.place(j)] -= g;
    });
  }

  // dW/da_i and dW/db_j: potentials f_i + g_j = h(x_i - y_j) along the staircase, with <a,f> = <b,g>.
  void weight_gradients(double* ga, double* gb) const {
    double f = 0, g = 0, af = 0, bg = 0;
    index last_i = -1, last_j = -1;
    for_coupling(x_, y_, [&](index i, index j, double) {
      const double h = power_(std::abs(difference(i, j)));
      if (i != last_i) ga[x_.place(i)] = f = h - g, af += x_.weights()[i] * f;
      if (j != last_j) gb[y_.place(j)] = g = h - f, bg += y_.weights()[j] * g;
      last_i = i;
      last_j = j;
    });
    const double shift = (bg - af) / (2 * x_.total().value());
    const double outer = sum_ == 0 ? 0 : power_.unit * (root(sum_) / sum_ / power_.p) / half_;
    for (index i = 0; i < x_.size(); ++i) ga[i] = outer * (ga[i] + shift);
    for (index j = 0; j < y_.size(); ++j) gb[j] = outer * (gb[j] - shift);
  }

 private:
  static constexpr double kLeast = 1e-250;

  double root(double s) const { return power_.p == 1 ? s : power_.p == 2 ? std::sqrt(s) : std::pow(s, 1 / power_.p); }
  double difference(index i, index j) const { return half_ * x_.points()[i] - half_ * y_.points()[j]; }

  double sum() const {
    Sum s;
    if (x_.uniform() && y_.uniform() && x_.size() == y_.size()) {
      for (index i = 0; i < x_.size(); ++i) s.add(power_(std::abs(difference(i, i))));
      return s.value() / static_cast<double>(x_.size());
    }
    for_coupling(x_, y_, [&](index i, index j, double t) { s.add(t * power_(std::abs(difference(i, j)))); });
    return s.value();
  }

  void find_largest() {
    const index n = x_.size(), m = y_.size();
    const double end = std::max({std::abs(x_.points()[0]), std::abs(x_.points()[n - 1]), std::abs(y_.points()[0]),
                                 std::abs(y_.points()[m - 1])});
    if (end > 0x1p1020) half_ = 0.25;  // differences of points overflow
    for_coupling(x_, y_, [&](index i, index j, double t) {
      if (t > 0) largest_ = std::max(largest_, std::abs(difference(i, j)));
    });
  }

  const SortedMeasure &x_, &y_;
  Power power_;
  double half_ = 1;     // factor of the points
  double largest_ = 0;  // distance that mass is moved, of scaled points
  double sum_ = 0;      // S
};

}  // namespace ot
