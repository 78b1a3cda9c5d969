// Problems at the sizes around which kernels change their loops, with the geometry of each in a backend's layout.
#pragma once
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "cpu/backend.hpp"
#if defined(OT_TEST_GPU)
#include "gpu_backend.hpp"
#endif
#include "reference_backend.hpp"

namespace ot {

#if defined(OT_TEST_GPU)
template <class T>
using Values = std::vector<T, Managed<T>>;
#else
template <class T>
using Values = std::vector<T>;
#endif
using Vector = Values<double>;
inline constexpr double kInf = std::numeric_limits<double>::infinity();
inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

inline std::size_t size(index n) { return static_cast<std::size_t>(n); }

struct Spec {
  index n, m;
  Kind kind = Kind::dense;
  Cost cost = Cost::sqeuclidean;
  index d = 0;
  index pad = 0;              // stride beyond the length of a row, or of a column
  bool hostile = false;       // forbidden pairs, rows and columns; zero weights
  double reg = 0.2;           // of the mean cost
  bool column_major = false;  // dense

  friend std::ostream& operator<<(std::ostream& to, const Spec& s) {
    static const char* const costs[] = {"sqeuclidean", "euclidean", "cityblock", "cosine", "power"};
    to << s.n << " x " << s.m;
    if (s.kind == Kind::points) return to << ' ' << costs[static_cast<int>(s.cost)] << " d=" << s.d;
    return to << (s.column_major ? " column-major" : " row-major") << ", stride +" << s.pad
              << (s.hostile ? ", hostile" : "") << ", reg " << s.reg;
  }
};

// Around the widths of vectors (2..16), of panels (24, 48) and of a tile (480).
inline const std::vector<index>& sizes() {
  static const std::vector<index> s{1, 2, 7, 8, 9, 15, 16, 17, 47, 48, 49, 63, 64, 65, 479, 480, 481, 960, 1025};
  return s;
}

inline std::vector<Spec> dense_specs() {
  std::vector<Spec> all;
  for (const index m : sizes()) {
    all.push_back({.n = 5, .m = m, .pad = 3});
    all.push_back({.n = 6, .m = m, .hostile = true});
    all.push_back({.n = m, .m = 9, .pad = 1, .hostile = true});
    all.push_back({.n = 7, .m = m, .pad = 7, .reg = 1e-3});
  }
  all.push_back({.n = 130, .m = 481, .pad = 2, .hostile = true});
  const std::size_t row_major = all.size();
  for (std::size_t k = 0; k < row_major; ++k) {
    all.push_back(all[k]);
    all.back().column_major = true;
  }
  for (const index n : {8, 15, 16, 17, 31, 33}) all.push_back({.n = n, .m = 497, .pad = 1, .column_major = true});
  return all;
}

inline Spec cloud(index n, index m, Cost cost, index d) {
  return {.n = n, .m = m, .kind = Kind::points, .cost = cost, .d = d};
}

inline std::vector<Spec> point_specs() {
  std::vector<Spec> all;
  for (const Cost cost : {Cost::sqeuclidean, Cost::euclidean, Cost::cityblock, Cost::cosine, Cost::power})
    for (const index d : {1, 2, 3, 5, 8, 17}) {
      for (const index m : {1, 23, 24, 25, 47, 48, 49, 481}) all.push_back(cloud(5, m, cost, d));
      all.push_back(cloud(67, 49, cost, d));
      all.push_back(cloud(3, 1025, cost, d));
    }
  return all;
}

inline std::vector<Spec> all_specs() {
  std::vector<Spec> all = dense_specs();
  for (const Spec& s : point_specs()) all.push_back(s);
#if defined(OT_TEST_GPU)
  // Rows of clusters of 2, 4 and 8 blocks, and of panels: the emulated device has them at the sizes above.
  for (const index m : {8193, 20000, 65536, 70001}) {
    all.push_back({.n = 3, .m = m, .pad = 1});
    all.push_back({.n = 35, .m = m, .hostile = true});
    for (const index d : {2, 9}) all.push_back(cloud(5, m, Cost::sqeuclidean, d));
  }
#endif
  return all;
}

// y in panels of kPanel bytes a coordinate, as tile_of_points reads it.
template <class T>
Values<T> panels(const Values<T>& y, index m, index d) {
  constexpr index P = cpu::kPanel / static_cast<index>(sizeof(T));
  Values<T> out(size(cpu::round_up(m, P) * d));
  for (index j = 0; j < m; ++j)
    for (index k = 0; k < d; ++k) out[size(j / P * P * d + k * P + j % P)] = y[size(j * d + k)];
  return out;
}

// Vectors have no room beyond their size, and what lies between a row (or column) and the next is NaN: a read of either
// fails the test or the sanitiser.
template <class T>
class Instance {
 public:
  explicit Instance(const Spec& s)
      : spec(s), n(s.n), m(s.m), a(size(n)), b(size(m)), phi(size(n)), psi(size(m)), h(size(m)) {
    plain_.kind = s.kind;
    plain_.cost = s.cost;
    plain_.dtype = sizeof(T) == 4 ? DType::f32 : DType::f64;
    plain_.n = n;
    plain_.m = m;
    plain_.d = s.d;
    plain_.p = 1.5;
    if (s.kind == Kind::dense) make_dense();
    else make_points();
    marginals();
    double total = 0;
    index count = 0;
    for (index i = 0; i < n; ++i)
      for (index j = 0; j < m; ++j)
        if (const auto c = static_cast<double>(ReferenceBackend::cost(plain_, i, j)); std::isfinite(c)) {
          total += c;
          ++count;
          range = std::max(range, c);
        }
    reg = total > 0 ? s.reg * total / static_cast<double>(count) : 1;
    range = std::max(range, 1e-3 * reg);
    for (index j = 0; j < m; ++j) {
      psi[size(j)] = uniform() - 0.5;
      h[size(j)] = psi[size(j)] + std::log(b[size(j)]);
    }
    phi.assign(size(n), kNaN);
    ReferenceBackend().pass(plain_, pass(phi.data(), true));
    for (double& f : phi) f += 0.2 * uniform();
  }
  Instance(const Instance&) = delete;

  // The geometry in the layout of backend B.
  template <class B>
  const Geometry& on() const {
    if constexpr (std::is_same_v<B, ReferenceBackend>) return plain_;
    else if constexpr (std::is_same_v<B, cpu::Backend>) return packed_;
    else return transposed_;
  }

  Pass pass(double* to, bool update, Precision precision = Precision::f64) const {
    Pass p;
    p.reg = reg;
    p.h = h.data();
    p.phi = to;
    p.a = a.data();
    p.update = update;
    p.precision = precision;
    return p;
  }

  // Relative rounding error of an entry of the plan: of its exponential, and of its exponent.
  double tolerance(Precision precision) const {
    const double entry = precision == Precision::f32 ? 1e-5 : 1e-13;
    const double rounding = sizeof(T) == 4 && spec.kind == Kind::points ? 0x1p-23 : 0x1p-52;
    return entry + 4 * rounding * static_cast<double>(10 + spec.d) * (range / reg + 10);
  }

  Spec spec;
  index n, m;
  double reg = 0, range = 0;
  Vector a, b, phi, psi, h;  // phi nearly normalises the rows

 private:
  double uniform() { return std::uniform_real_distribution<double>()(random_); }

  void make_dense() {
    const index row = spec.column_major ? 1 : m + spec.pad, column = spec.column_major ? n + spec.pad : 1;
    plain_.column_major = spec.column_major;
    plain_.ld = std::max(row, column);
    plain_.shift = 0.25;
    c_.assign(size((n - 1) * row + (m - 1) * column + 1), std::numeric_limits<T>::quiet_NaN());
    for (index i = 0; i < n; ++i)
      for (index j = 0; j < m; ++j) {
        const bool forbidden = spec.hostile && m > 2 && n > 2 && (i == 1 || j == m - 2 || uniform() < 0.2);
        c_[size(i * row + j * column)] =
            forbidden ? std::numeric_limits<T>::infinity() : static_cast<T>(0.25 + uniform());
      }
    plain_.C = c_.data();
    transposed_ = packed_ = plain_;
  }

  void make_points() {
    const index d = spec.d;
    for (index k = 0; k < n * d; ++k) x_.push_back(static_cast<T>(2 * uniform() - 1));
    for (index k = 0; k < m * d; ++k) y_.push_back(static_cast<T>(2 * uniform() - 0.8));
    plain_.x = x_.data();
    plain_.yt = y_.data();
    packed_ = plain_;
    auto y = y_;
    ready_ = x_;
    if (spec.cost == Cost::cosine) {
      normalise(ready_);
      normalise(y);
    }
    if (spec.cost == Cost::sqeuclidean && d >= 8) {
      xx_ = squares(ready_, 0);
      yy_ = squares(y, cpu::kPad);
      packed_.xx = xx_.data();
      packed_.yy = yy_.data();
    }
    panels_ = panels(y, m, d);
    packed_.x = ready_.data();
    packed_.yt = panels_.data();
    transposed_ = packed_;
    for (index k = 0; k < d; ++k)
      for (index j = 0; j < m; ++j) columns_.push_back(y[size(j * d + k)]);
    transposed_.yt = columns_.data();
  }

  void normalise(Values<T>& points) const {
    for (auto p = points.begin(); p != points.end(); p += spec.d) {
      double s = 0;
      for (index k = 0; k < spec.d; ++k) s += static_cast<double>(p[k]) * p[k];
      for (index k = 0; k < spec.d; ++k) p[k] = static_cast<T>(p[k] / std::sqrt(s));
    }
  }

  Values<T> squares(const Values<T>& points, index pad) const {
    Values<T> out;
    for (auto p = points.begin(); p != points.end(); p += spec.d) {
      double s = 0;
      for (index k = 0; k < spec.d; ++k) s += static_cast<double>(p[k]) * p[k];
      out.push_back(static_cast<T>(s));
    }
    out.resize(out.size() + size(pad), std::numeric_limits<T>::quiet_NaN());
    return out;
  }

  void marginals() {
    for (Vector* v : {&a, &b}) {
      double total = 0;
      for (double& w : *v) {
        w = spec.hostile && v->size() > 4 && uniform() < 0.2 ? 0 : 0.1 + uniform();
        total += w;
      }
      for (double& w : *v) w /= total;
    }
  }

  std::mt19937 random_{12345};
  Values<T> c_, x_, y_, ready_, panels_, columns_, xx_, yy_;
  Geometry plain_, packed_, transposed_;
};

// Every |x - y| <= tol |y| + floor, and infinities equal; reports the worst.
inline void check_close(const Vector& x, const Vector& y, double tol, double floor = 0) {
  REQUIRE(x.size() == y.size());
  double worst = 0;
  std::size_t at = 0;
  for (std::size_t k = 0; k < x.size(); ++k) {
    const double error = x[k] == y[k] ? 0 : std::fabs(x[k] - y[k]) / (tol * std::fabs(y[k]) + floor);
    if (error <= worst) continue;
    worst = error;
    at = k;
    if (std::isnan(error)) break;
  }
  CAPTURE(at);
  CAPTURE(tol);
  CAPTURE(x[at]);
  CAPTURE(y[at]);
  CHECK(worst <= 1);
}

}  // namespace ot
