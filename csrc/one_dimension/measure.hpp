// A measure on the line with its points in order, and sums of weights that are exact where it matters.
#pragma once
#include <algorithm>
#include <cmath>

#include "algorithms/radix_sort.hpp"
#include "core/array.hpp"
#include "one_dimension/options.hpp"

namespace ot {

// A sum of weights as an unevaluated sum of two numbers (Knuth's exact addition): differences of two levels have a
// relative error of a few roundings, however close they are.
struct Level {
  double high = 0, low = 0;
  void add(double w) {
    const double sum = high + w, part = sum - high;
    low += (high - (sum - part)) + (w - part);
    high = sum;
  }
  double value() const { return high + low; }
};
inline double operator-(Level a, Level b) { return (a.high - b.high) + (a.low - b.low); }

class SortedMeasure {
 public:
  // Allocates. `places`: place() is wanted, which weights need too.
  SortedMeasure(DType dtype, index size, bool places)
      : dtype_(dtype), places_(places), points_(size), weights_(size), order_(places ? size : 0) {
    const index item = dtype == DType::f32 ? (places ? sizeof(PlacedKey<float>) : sizeof(Key<float>))
                                           : (places ? sizeof(PlacedKey<double>) : sizeof(Key<double>));
    items_.resize(2 * size * item / index{sizeof(std::uint64_t)} + 2);
  }

  // Sorts a row of a batch; on a circle, points are reduced to [0, period) first.
  void load(const Measures& from, index row, double period) {
    if (dtype_ == DType::f32) places_ ? sort<float, PlacedKey>(from, row, period) : sort<float, Key>(from, row, period);
    else places_ ? sort<double, PlacedKey>(from, row, period) : sort<double, Key>(from, row, period);
    uniform_ = from.weights == nullptr;
    const double* w = uniform_ ? nullptr : from.weights + row * from.weight_stride;
    total_ = Level();
    for (index k = 0; k < size(); ++k) {
      weights_[k] = uniform_ ? 1.0 / static_cast<double>(size()) : w[place(k)];
      total_.add(weights_[k]);
    }
  }

  // Starts the order at point `first` of a circle; those before it go to its end, one turn up. Then moves all of them.
  void start_at(index first, double period, double by) {
    for (index k = 0; k < size(); ++k) points_[k] += k < first ? by + period : by;
    std::rotate(points_.begin(), points_.begin() + first, points_.end());
    std::rotate(weights_.begin(), weights_.begin() + first, weights_.end());
    if (places_) std::rotate(order_.begin(), order_.begin() + first, order_.end());
  }

  // The sums of the weights up to each point, scaled to end at 1.
  void levels(Array<double>& out) const {
    Level sum;
    for (index k = 0; k < size(); ++k) {
      sum.add(weights_[k]);
      out[k] = sum.value() / total_.value();
    }
    out.back() = 1;
  }

  index size() const { return points_.size(); }
  bool uniform() const { return uniform_; }
  const double* points() const { return points_.data(); }
  const double* weights() const { return weights_.data(); }
  Level total() const { return total_; }
  // The caller's index of the k-th point.
  index place(index k) const { return order_[k]; }

 private:
  template <class T, template <class> class Item>
  void sort(const Measures& from, index row, double period) {
    const T* x = static_cast<const T*>(from.points) + row * from.stride;
    auto* items = reinterpret_cast<Item<T>*>(items_.data());
    for (index i = 0; i < size(); ++i) {
      items[i].key = SortKey<T>::of(period > 0 ? reduced(x[i], static_cast<T>(period)) : x[i]);
      if constexpr (requires { items[i].place; }) items[i].place = static_cast<std::uint32_t>(i);
    }
    items = radix_sort(items, items + size(), size());
    for (index k = 0; k < size(); ++k) {
      points_[k] = SortKey<T>::number(items[k].key);
      if constexpr (requires { items[k].place; }) order_[k] = items[k].place;
    }
  }
  template <class T>
  static T reduced(T x, T period) {
    T r = std::fmod(x, period);
    if (r < 0) r += period;
    return r < period ? r : T{0};
  }

  DType dtype_;
  bool places_, uniform_ = true;
  Array<double> points_, weights_;  // in the order of the line
  Array<std::uint32_t> order_;
  Array<std::uint64_t> items_;
  Level total_;
};

}  // namespace ot
