// A problem as the sparse solvers see it on the host: masses, and the base of the potentials.
#pragma once
#include "core/buffer.hpp"
#include "core/problem.hpp"
#include "sparse/line_dual.hpp"
#include "sparse/options.hpp"

namespace ot {

// Vectors of the host over rows and columns.
struct Sides {
  Buffer<double> rows, columns;
  Sides(index n, index m) : rows(n), columns(m) {}
};

template <SparseBackend B>
class HostProblem {
 public:
  HostProblem(B& backend, const Problem& of, Lines lines)
      : be(backend), p(of), by_rows(lines == Lines::rows), n(of.geo.n), m(of.geo.m), masses(n, m), base(n, m) {
    be.read(n, p.a, masses.rows.data());
    be.read(m, p.b, masses.columns.data());
  }

  LineProblem line_problem() const {
    return {.lines = by_rows ? n : m,
            .others = by_rows ? m : n,
            .a = (by_rows ? masses.columns : masses.rows).data(),
            .b = (by_rows ? masses.rows : masses.columns).data(),
            .reg = p.reg};
  }

  // The base rises by potentials of the others and the lines. f - c and g + c are the same potentials: where f and g
  // have drifted apart, c is such that <a, f> = <b, g>, as large values hold few digits of C.
  void add_to_base(const Array<double>& alpha, const Array<double>& beta) {
    const Array<double>&rows = by_rows ? beta : alpha, &columns = by_rows ? alpha : beta;
    Buffer<double>&f = base.rows, &g = base.columns;
    double sum_f = 0, sum_g = 0;
    for (index i = 0; i < n; ++i) {
      f[i] += rows[i];
      sum_f += masses.rows[i] > 0 ? masses.rows[i] * f[i] : 0.0;
    }
    for (index j = 0; j < m; ++j) {
      g[j] += columns[j];
      sum_g += masses.columns[j] > 0 ? masses.columns[j] * g[j] : 0.0;
    }
    const double shift = 0.5 * (sum_f - sum_g);
    if (!(std::fabs(shift) > p.range)) return;
    for (index i = 0; i < n; ++i) f[i] -= shift;
    for (index j = 0; j < m; ++j) g[j] += shift;
  }

  // The base plus potentials of the others and the lines, to the backend.
  void write_potentials(const Array<double>& alpha, const Array<double>& beta, Potentials to) const {
    const Array<double>&rows = by_rows ? beta : alpha, &columns = by_rows ? alpha : beta;
    Sides sum(n, m);
    for (index i = 0; i < n; ++i) sum.rows[i] = base.rows[i] + rows[i];
    for (index j = 0; j < m; ++j) sum.columns[j] = base.columns[j] + columns[j];
    be.write(n, sum.rows.data(), to.rows);
    be.write(m, sum.columns.data(), to.columns);
  }

  // <a, f> + <b, g> of the base.
  double base_value() const {
    double sum = 0;
    for (index i = 0; i < n; ++i) sum += masses.rows[i] > 0 ? masses.rows[i] * base.rows[i] : 0.0;
    for (index j = 0; j < m; ++j) sum += masses.columns[j] > 0 ? masses.columns[j] * base.columns[j] : 0.0;
    return sum;
  }

  // <C,T> + reg/2 |T|^2 of a plan T by entries of `dual`, with the marginals a and b less its residual. Costs are
  // relative to the base: <C,T> = <a, f> + <b, g> - <residual, base of the others> + <cost, t>.
  double primal(const LineDual& dual) const {
    const auto& of_others = by_rows ? base.columns : base.rows;
    double sum = base_value(), square = 0;
    for (index i = 0; i < dual.problem.others; ++i)
      if (dual.problem.a[i] > 0) sum -= dual.residual.gradient[i] * of_others[i];
    for (index e = 0; e < dual.entries.size(); ++e) {
      const double t = dual.at.t[e];
      if (t > 0) sum += dual.entries.cost[e] * t;
      square += t * t;
    }
    return sum + 0.5 * p.reg * square;
  }

  // The positive entries.
  SparsePlan plan(const LineDual& dual) const {
    SparsePlan plan;
    plan.begin.reserve(dual.problem.lines + 1);
    plan.begin.push_back(0);
    for (index j = 0; j < dual.problem.lines; ++j) {
      for (const index e : dual.entries.of_line(j))
        if (dual.at.t[e] > 0) {
          plan.idx.push_back(dual.entries.idx[e]);
          plan.val.push_back(dual.at.t[e]);
        }
      plan.begin.push_back(plan.idx.size());
    }
    plan.value = primal(dual);
    return plan;
  }

  B& be;
  const Problem p;
  const bool by_rows;  // lines are rows
  const index n, m;
  Sides masses, base;
};

// The residual of the plan t as it is: the gradient is a - row sums of t, the error the larger of the L1 errors of both
// marginals.
inline void measure_plan(LineDual& dual) {
  const LineProblem& p = dual.problem;
  LineResidual& to = dual.residual;
  double of_lines = 0;
  std::copy(p.a, p.a + p.others, to.gradient.begin());
  for (index j = 0; j < p.lines; ++j) {
    double sum = p.b[j];
    for (const index e : dual.entries.of_line(j)) {
      sum -= dual.at.t[e];
      to.gradient[dual.entries.idx[e]] -= dual.at.t[e];
    }
    of_lines += std::fabs(sum);
  }
  to.error = 0;
  for (const double v : to.gradient) to.error += std::fabs(v);
  to.error = std::max(to.error, of_lines);
}

}  // namespace ot
