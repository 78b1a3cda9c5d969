// Dual potentials of exact transport, on the host.
#pragma once
#include <cmath>

#include "core/array.hpp"

namespace ot {

// Reduced costs are C_ij - f_i - g_j. Rows and columns without mass have -inf: no pair of theirs takes part.
struct Duals {
  Array<double> rows, columns;
  Duals(index n, index m) : rows(n), columns(m) {}

  // <a, f> + <b, g>
  double value(const Array<double>& a, const Array<double>& b) const {
    long double sum = 0;
    for (index i = 0; i < a.size(); ++i)
      if (a[i] > 0) sum += static_cast<long double>(a[i]) * rows[i];
    for (index j = 0; j < b.size(); ++j)
      if (b[j] > 0) sum += static_cast<long double>(b[j]) * columns[j];
    return static_cast<double>(sum);
  }

  // <a, |f|> + <b, |g|>
  double size(const Array<double>& a, const Array<double>& b) const {
    double sum = 0;
    for (index i = 0; i < a.size(); ++i) sum += a[i] > 0 ? a[i] * std::fabs(rows[i]) : 0.0;
    for (index j = 0; j < b.size(); ++j) sum += b[j] > 0 ? b[j] * std::fabs(columns[j]) : 0.0;
    return sum;
  }

  // f - c and g + c are the same potentials; c is such that the means of f and g are equal. It has few digits, so that
  // potentials of integer costs stay exact.
  void centre() {
    const double mean_f = mean(rows), mean_g = mean(columns);
    const double c = 0.5 * (mean_f - mean_g);
    if (!(c != 0 && std::isfinite(c))) return;
    const int unit = std::ilogb(std::fabs(mean_f) + std::fabs(mean_g)) - kDigits;
    const double rounded = std::ldexp(std::nearbyint(std::ldexp(c, -unit)), unit);
    for (double& f : rows) f -= rounded;
    for (double& g : columns) g += rounded;
  }

 private:
  static constexpr int kDigits = 6;

  static double mean(const Array<double>& v) {
    double sum = 0;
    index count = 0;
    for (const double x : v)
      if (x > -INFINITY) {
        sum += x;
        ++count;
      }
    return count > 0 ? sum / static_cast<double>(count) : 0.0;
  }
};

}  // namespace ot
