// The operations of a backend by their definitions: plain loops and long double sums.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>
#include <vector>

#include "core/backend.hpp"
#include "core/buffer.hpp"
#include "sparse/backend.hpp"

namespace ot {

class ReferenceBackend {
 public:
  using Real = long double;
  static constexpr Real inf = std::numeric_limits<Real>::infinity();

  struct Kernel {
    index n = 0, m = 0;
    std::vector<double> entry;
  };

  explicit ReferenceBackend(int = 1) {}

  template <class T>
  Buffer<T> buffer(index n) {
    return Buffer<T>(n);
  }

  // C_ij - shift. Points are as the caller has them: x (n, d), y (m, d).
  static Real cost(const Geometry& g, index i, index j) {
    return g.dtype == DType::f64 ? cost_of<double>(g, i, j) : cost_of<float>(g, i, j);
  }

  void pass(const Geometry& g, const Pass& p) {
    std::vector<Real> t(size(g.m)), col(size(g.m));
    for (index i = 0; i < g.n; ++i) {
      for (index j = 0; j < g.m; ++j) t[size(j)] = p.h[j] - cost(g, i, j) / p.reg;
      Real sum = 0, work = 0;
      for (index j = 0; j < g.m; ++j)
        if (const Real e = std::exp(p.phi[i] + t[size(j)]); e > 0) {
          sum += e;
          work += e * cost(g, i, j);
        }
      if (p.row) p.row[i] = static_cast<double>(sum);
      if (p.cost) p.cost[i] = static_cast<double>(work);
      if (p.update) p.phi[i] = static_cast<double>(-p.damp * log_sum_exp(t));
      for (index j = 0; j < g.m; ++j) col[size(j)] += p.a[i] * std::exp(p.phi[i] + t[size(j)]);
    }
    if (p.col) std::copy(col.begin(), col.end(), p.col);
    if (p.gradient) g.dtype == DType::f64 ? gradient<double>(g, p) : gradient<float>(g, p);
  }

  void pass(const Geometry& g, const Pass& p, Kept& kept) {
    pass(g, p);
    idx_.clear();
    val_.clear();
    begin_.clear();
    end_.clear();
    for (index i = 0; i < g.n; ++i) {
      begin_.push_back(static_cast<index>(idx_.size()));
      for (index j = 0; j < g.m; ++j)
        if (const Real e = entry(g, p, i, j), T = p.a[i] * e; (p.update ? e : T) > kept.threshold) {
          idx_.push_back(static_cast<std::int32_t>(j));
          val_.push_back(static_cast<double>(T));
        }
      end_.push_back(static_cast<index>(idx_.size()));
    }
    kept.idx = idx_.data();
    kept.val = val_.data();
    kept.begin = begin_.data();
    kept.end = end_.data();
    kept.nnz = static_cast<index>(idx_.size());
    kept.overflow = kept.nnz > kept.limit * g.n;
  }

  void kept_apply(const Kept& T, index n, const double* x, double* out) {
    std::fill(out, out + n, 0.0);
    each(T, n, [&](index i, index k) { out[i] += T.val[k] * x[T.idx[k]]; });
  }
  void kept_apply_transposed(const Kept& T, index n, index m, const double* y, double* out) {
    std::fill(out, out + m, 0.0);
    each(T, n, [&](index i, index k) { out[T.idx[k]] += T.val[k] * y[i]; });
  }
  void kept_diagonal(const Kept& T, index n, index m, const double* w, double* out) {
    std::fill(out, out + m, 0.0);
    each(T, n, [&](index i, index k) { out[T.idx[k]] += T.val[k] * T.val[k] * w[i]; });
  }

  static constexpr index kFactorPays = 150;
  bool kept_factor(const Kept&, index, index, const double*, const double*) { return false; }
  void kept_solve(index, index, const double*, double*) {}

  double kept_largest(const Kept& T, index count) {
    if (count >= T.nnz) return T.threshold;
    auto sorted = val_;
    std::sort(sorted.rbegin(), sorted.rend());
    const double cut = sorted[size(std::max<index>(count, 1)) - 1];
    for (double& v : val_)
      if (v < cut) v = 0;
    return cut;
  }

  void build_kernel(const Geometry& g, double reg, const double* phi, const double* psi, Precision precision,
                    Kernel& K) {
    K.n = g.n;
    K.m = g.m;
    K.entry.clear();
    for (index i = 0; i < g.n; ++i)
      for (index j = 0; j < g.m; ++j) {
        const Real e = std::exp(phi[i] + psi[j] - cost(g, i, j) / reg);
        K.entry.push_back(precision == Precision::f32 ? static_cast<float>(e) : static_cast<double>(e));
      }
  }

  void kernel_pass(const Kernel& K, const KernelPass& p) {
    std::vector<Real> col(size(K.m));
    for (index i = 0; i < K.n; ++i) {
      const double* k = K.entry.data() + i * K.m;
      Real sum = 0;
      for (index j = 0; j < K.m; ++j) sum += static_cast<Real>(k[j]) * p.q[j];
      if (p.target) p.u[i] = sum > kLeastSum<double> ? static_cast<double>(p.target[i] / sum) : 0;
      const Real weight = static_cast<Real>(p.a[i]) * p.u[i];
      if (p.row) p.row[i] = static_cast<double>(weight * sum);
      for (index j = 0; j < K.m; ++j) col[size(j)] += weight * k[j];
    }
    if (p.col) std::copy(col.begin(), col.end(), p.col);
  }

  void c_transform(const Geometry& g, const double* psi, double* row, const double* weight, double* col) {
    if (psi)
      for (index i = 0; i < g.n; ++i) {
        Real low = inf;
        for (index j = 0; j < g.m; ++j) low = std::min(low, cost(g, i, j) - psi[j]);
        row[i] = static_cast<double>(low);
      }
    if (!col) return;
    for (index j = 0; j < g.m; ++j) {
      Real low = inf;
      for (index i = 0; i < g.n; ++i)
        if (std::isfinite(row[i]) && !(weight && weight[i] == 0)) low = std::min(low, cost(g, i, j) - row[i]);
      col[j] = static_cast<double>(low);
    }
  }

  // By nested bisections: beta_j such that the line sums to b_j, and for each beta_j theta_j.
  void lines(const LineView& L, double* out) {
    std::fill(out, out + L.others, 0.0);
    for (index j = 0; j < L.lines; ++j) {
      const index e0 = L.begin[j], e1 = L.begin[j + 1];
      L.tied_begin[j] = L.above_begin[j] = L.above_end[j] = e0 + LineView::kPad * j;
      if (e0 == e1 || !(L.b[j] > 0)) continue;
      double low = INFINITY;
      for (index e = e0; e < e1; ++e) {
        L.slack[e] = L.alpha[L.idx[e]] - L.cost[e];
        low = std::min(low, -L.slack[e]);
      }
      double high = low + 1;
      while (line_sum(L, j, high) < L.b[j]) high = low + 2 * (high - low);
      bisect(low, high, [&](double x) { return line_sum(L, j, x) < L.b[j]; });
      L.beta[j] = high;
      for (const bool tied : {true, false}) {
        for (index e = e0; e < e1; ++e)
          if (L.t[e] > 0 && (L.t[e] < L.theta[j] / L.reg) == tied) L.support[L.above_end[j]++] = L.idx[e];
        if (tied) L.above_begin[j] = L.above_end[j];
      }
      for (index e = e0; e < e1; ++e) out[L.idx[e]] += L.t[e];
    }
  }

  void line_entries(const LineView&) {}  // lines() has written t

  // By conjugate gradients without preconditioning.
  void line_step(const LineSystem& S) {
    const auto size = static_cast<std::size_t>(8 * S.other_slices);
    std::vector<Real> x(size), r(S.gradient, S.gradient + size), p = r;
    const auto norm = [](const std::vector<Real>& v) {
      Real sum = 0;
      for (const Real e : v) sum += std::fabs(e);
      return sum;
    };
    const auto dot = [](const std::vector<Real>& v, const std::vector<Real>& w) {
      return std::inner_product(v.begin(), v.end(), w.begin(), Real(0));
    };
    const Real goal = S.left * norm(r);
    for (int round = 0; round < 3000 && norm(r) > goal; ++round) {
      const auto y = apply(S, p);
      const Real rr = dot(r, r), length = rr / dot(p, y);
      for (std::size_t i = 0; i < size; ++i) {
        x[i] += length * p[i];
        r[i] -= length * y[i];
      }
      const Real factor = dot(r, r) / rr;
      for (std::size_t i = 0; i < size; ++i) p[i] = r[i] + factor * p[i];
    }
    std::copy(x.begin(), x.end(), S.step);
  }

  void write(index n, const double* from, double* to) { std::copy_n(from, n, to); }
  void read(index n, const double* from, double* to) { std::copy_n(from, n, to); }

  void candidates(const Geometry& g, const double* f, const double* h, double margin, index limit, Candidates& to) {
    std::vector<std::int32_t> idx;
    std::vector<double> found;
    to.begin.reserve(g.n + 1);
    for (index i = 0; i < g.n; ++i) {
      to.begin[i] = static_cast<index>(idx.size());
      for (index j = 0; j < g.m; ++j)
        if (f[i] + (h[j] - static_cast<double>(cost(g, i, j))) > -margin) {
          idx.push_back(static_cast<std::int32_t>(j));
          found.push_back(static_cast<double>(cost(g, i, j)));
        }
    }
    to.begin[g.n] = to.nnz = static_cast<index>(idx.size());
    to.overflow = to.nnz > limit;
    to.idx.reserve(to.nnz);
    to.cost.reserve(to.nnz);
    std::copy(idx.begin(), idx.end(), to.idx.data());
    std::copy(found.begin(), found.end(), to.cost.data());
  }

  void cost_apply(const Geometry& g, const double* w, double* out) {
    for (index i = 0; i < g.n; ++i) {
      Real sum = 0;
      for (index j = 0; j < g.m; ++j)
        if (w[j] != 0) sum += cost(g, i, j) * w[j];
      out[i] = static_cast<double>(sum);
    }
  }

  void apply_plan(const Geometry& g, const Pass& p, const double* V, index k, bool columns, double* out) {
    const index from = columns ? g.n : g.m, to = columns ? g.m : g.n;
    for (index c = 0; c < k; ++c)
      for (index r = 0; r < to; ++r) {
        Real sum = 0;
        for (index s = 0; s < from; ++s) {
          const index i = columns ? s : r, j = columns ? r : s;
          sum += p.a[i] * entry(g, p, i, j) * V[c * from + s];
        }
        out[c * to + r] = static_cast<double>(sum);
      }
  }

  template <class F>
  void for_each(index n, F f) {
    for (index i = 0; i < n; ++i) f(i);
  }
  void exp(index n, const double* x, double* out) {
    for (index i = 0; i < n; ++i) out[i] = static_cast<double>(std::exp(static_cast<Real>(x[i])));
  }
  void log(index n, const double* x, double* out) {
    for (index i = 0; i < n; ++i) out[i] = static_cast<double>(std::log(static_cast<Real>(std::max(x[i], 0x1p-1022))));
  }
  template <std::size_t K>
  void dots(index n, const double* w, const double* v, const std::array<const double*, K>& D, int count, double* out) {
    for (int k = 0; k < count; ++k) {
      Real sum = 0;
      for (index j = 0; j < n; ++j) sum += static_cast<Real>(w[j]) * v[j] * D[size(k)][j];
      out[k] = static_cast<double>(sum);
    }
  }
  template <std::size_t K>
  void combine(index n, const double* x, const double* c, const std::array<const double*, K>& D, int count,
               double* out) {
    for (index j = 0; j < n; ++j) {
      Real sum = x[j];
      for (int k = 0; k < count; ++k) sum -= static_cast<Real>(c[k]) * D[size(k)][j];
      out[j] = static_cast<double>(sum);
    }
  }
  template <int N, class F>
  std::array<double, N> sums(index n, F f) {
    std::array<double, N> total{};
    for (index i = 0; i < n; ++i) f(i, total.data());
    return total;
  }

 private:
  // H x
  static std::vector<Real> apply(const LineSystem& S, std::vector<Real> x) {
    std::vector<Real> y(x.size()), q(static_cast<std::size_t>(16 * S.line_slices + 8));
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = S.diagonal[i] * x[i];
    x.resize(x.size() + 8);
    const auto sum = [](const std::int32_t* idx, index first, index last, index lane, const std::vector<Real>& v) {
      Real total = 0;
      for (index s = first; s < last; ++s) total += v[static_cast<std::size_t>(idx[8 * s + lane])];
      return total;
    };
    for (index r = 0; r < 8 * S.line_slices; ++r) {
      const index *at = S.line_slots + r / 8 * 2, lane = r % 8, to = r / 8 * 16 + lane;
      const Real u = sum(S.line_idx, at[0], at[1], lane, x), v = sum(S.line_idx, at[1], at[2], lane, x);
      q[static_cast<std::size_t>(to)] = S.tied_above[r] * u + S.above_above[r] * v;
      q[static_cast<std::size_t>(to + 8)] = S.tied_tied[r] * u + S.tied_above[r] * v;
    }
    for (index i = 0; i < 8 * S.other_slices; ++i)
      y[static_cast<std::size_t>(i)] -= sum(S.other_idx, S.other_slots[i / 8], S.other_slots[i / 8 + 1], i % 8, q);
    return y;
  }

  template <class F>
  static void bisect(double& low, double& high, F below) {
    for (int round = 0; round < 200; ++round) {
      const double middle = 0.5 * (low + high);
      (below(middle) ? low : high) = middle;
    }
  }

  // theta and t of line j at beta_j = x, and its sum.
  static double line_sum(const LineView& L, index j, double x) {
    const index e0 = L.begin[j], e1 = L.begin[j + 1];
    const auto places = [&](double theta) {
      double sum = 0;
      for (index e = e0; e < e1; ++e) sum += std::clamp(((L.slack[e] + x) / theta - 1) * L.reg / L.sigma, 0.0, 1.0);
      return sum;
    };
    double top = 0, low = 0, sum = 0;
    index positive = 0;
    for (index e = e0; e < e1; ++e) {
      positive += L.slack[e] + x > 0;
      top = std::max(top, L.slack[e] + x);
    }
    if (positive > L.k) bisect(low, top, [&](double theta) { return places(theta) > static_cast<double>(L.k); });
    L.theta[j] = low;
    for (index e = e0; e < e1; ++e) {
      const double w = std::max(0.0, L.slack[e] + x), t = w / (L.reg + L.sigma);
      sum += L.t[e] = low > 0 ? std::min(t, std::max(0.0, w - low) / L.sigma) : t;
    }
    return sum;
  }

  static std::size_t size(index n) { return static_cast<std::size_t>(n); }

  template <class F>
  static void each(const Kept& T, index n, F f) {
    for (index i = 0; i < n; ++i)
      for (index k = T.begin[i]; k < T.end[i]; ++k) f(i, k);
  }

  template <class T>
  static Real cost_of(const Geometry& g, index i, index j) {
    if (g.kind == Kind::dense)
      return static_cast<Real>(static_cast<const T*>(g.C)[g.column_major ? j * g.ld + i : i * g.ld + j]) - g.shift;
    const T *x = static_cast<const T*>(g.x) + i * g.d, *y = static_cast<const T*>(g.yt) + j * g.d;
    Real squares = 0, moduli = 0, xy = 0, xx = 0, yy = 0;
    for (index k = 0; k < g.d; ++k) {
      const Real z = static_cast<Real>(x[k]) - y[k];
      squares += z * z;
      moduli += std::fabs(z);
      xy += static_cast<Real>(x[k]) * y[k];
      xx += static_cast<Real>(x[k]) * x[k];
      yy += static_cast<Real>(y[k]) * y[k];
    }
    switch (g.cost) {
      case Cost::sqeuclidean: return squares;
      case Cost::euclidean: return std::sqrt(squares);
      case Cost::cityblock: return moduli;
      case Cost::power: return std::pow(squares, static_cast<Real>(g.p) / 2);
      default: return 1 - xy / std::sqrt(xx * yy);
    }
  }

  // sum_j P_ij dc(x_i, y_j)/dx_i, for the cosine times |x_i|.
  template <class T>
  static void gradient(const Geometry& g, const Pass& p) {
    for (index i = 0; i < g.n; ++i) {
      const T* x = static_cast<const T*>(g.x) + i * g.d;
      std::vector<Real> sum(size(g.d));
      for (index j = 0; j < g.m; ++j) {
        const T* y = static_cast<const T*>(g.yt) + j * g.d;
        const Real P = p.a[i] * entry(g, p, i, j);
        Real s = 0, xy = 0, xx = 0, yy = 0;
        for (index k = 0; k < g.d; ++k) {
          const Real z = static_cast<Real>(x[k]) - y[k];
          s += z * z;
          xy += static_cast<Real>(x[k]) * y[k];
          xx += static_cast<Real>(x[k]) * x[k];
          yy += static_cast<Real>(y[k]) * y[k];
        }
        for (index k = 0; k < g.d; ++k) {
          const Real z = static_cast<Real>(x[k]) - y[k];
          Real d = 0;
          if (g.cost == Cost::sqeuclidean) d = 2 * z;
          else if (g.cost == Cost::euclidean) d = z / std::sqrt(s);
          else if (g.cost == Cost::power) d = g.p * std::pow(s, static_cast<Real>(g.p) / 2 - 1) * z;
          else if (g.cost == Cost::cityblock) d = z > 0 ? 1 : z < 0 ? -1 : 0;
          else d = -(y[k] / std::sqrt(yy) - xy / std::sqrt(xx * yy) * x[k] / std::sqrt(xx));
          sum[size(k)] += P * d;
        }
      }
      for (index k = 0; k < g.d; ++k) p.gradient[i * g.d + k] = static_cast<double>(sum[size(k)]);
    }
  }

  static Real entry(const Geometry& g, const Pass& p, index i, index j) {
    return std::exp(p.phi[i] + p.h[j] - cost(g, i, j) / p.reg);
  }

  // 0 for a row without an allowed pair, as the seam has it.
  static Real log_sum_exp(const std::vector<Real>& t) {
    const Real top = *std::max_element(t.begin(), t.end());
    if (top == -inf) return 0;
    Real sum = 0;
    for (const Real v : t) sum += std::exp(v - top);
    return top + std::log(sum);
  }

  std::vector<std::int32_t> idx_;
  std::vector<double> val_;
  std::vector<index> begin_, end_;
};

static_assert(Backend<ReferenceBackend>);
static_assert(SparseBackend<ReferenceBackend>);

}  // namespace ot
