// Terms over all pairs, folded by rows or columns, or written to a matrix.
#pragma once
#include "cuda/kernels/row_sums.hpp"

namespace ot::cuda {

// Terms: a number for a pair (i, j).
template <class Costs>
struct MinTerm {  // C_ij - shift - g_j
  Costs costs;
  double shift;
  const double* g = nullptr;       // (m); null: 0
  const double* f = nullptr;       // (n); null: 0
  const double* weight = nullptr;  // (n); null: 1
  // Rows of zero weight, and those without an allowed pair, take no part in the minima of columns.
  OT_HD bool skip(index i) const { return f && ((weight && weight[i] == 0) || !(f[i] < kInf)); }
  OT_HD double at(index i, index j) const {
    return static_cast<double>(costs.at(i, j)) - shift - (f ? f[i] : 0.0) - (g ? g[j] : 0.0);
  }
};
template <class Costs>
struct CostTerm {  // (C_ij - shift) w_j with 0 * inf = 0
  Costs costs;
  double shift;
  const double* w;
  OT_HD double at(index i, index j) const {
    const double v = w[j];
    return v != 0 ? (static_cast<double>(costs.at(i, j)) - shift) * v : 0.0;
  }
};
template <class Costs>
struct PlanTerm {  // a_i e_ij v_j or a_i e_ij v_i
  Exponent<Costs> exponent;
  const double* phi;
  const double* a = nullptr;             // null: 1
  const double* over_columns = nullptr;  // (m); null: 1
  const double* over_rows = nullptr;     // (n); null: 1
  OT_HD double at(index i, index j) const {
    const double w = (a ? a[i] : 1.0) * (over_columns ? over_columns[j] : 1.0) * (over_rows ? over_rows[i] : 1.0);
    return w != 0 ? w * exponent.entry(phi[i], i, j) : 0.0;
  }
};

template <class TK>
struct StoredTerm {  // K_ij q_j
  Dense<TK> kernel;
  const double* q;
  OT_HD double at(index i, index j) const { return static_cast<double>(kernel.at(i, j)) * q[j]; }
};

// Folds: the sum, and the least.
struct Plus {
  static constexpr double start = 0;
  OT_HD static double fold(double x, double y) { return x + y; }
  template <class Team, class L>
  OT_HD static double over(Team& team, L& local) {
    return team.sum(local)[0];
  }
};
struct Least {
  static constexpr double start = __builtin_huge_val();
  OT_HD static double fold(double x, double y) { return fmin(x, y); }
  template <class Team, class L>
  OT_HD static double over(Team& team, L& local) {
    team.each([&](int t) { local[t][0] = -local[t][0]; });
    return -team.max(local)[0];
  }
};

// out_i = fold_j term(i, j), one team a row. Memory traffic: one read of C.
template <class Term, class Fold>
struct FoldRows {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  Term term;
  index first, last, m;
  double* out;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    typename Team::template Local<Reg<double, 1>> part(team);
    for (index i = first + team.id; i < last; i += team.count) {
      team.each([&](int t) {
        double s = Fold::start;
        for (index j = team.lane(t).thread; j < m; j += team.threads) s = Fold::fold(s, term.at(i, j));
        part[t][0] = s;
      });
      const double total = Fold::over(team, part);
      if (team.leader) out[i] = total;
    }
  }
};

// parts_cj = fold of term(i, j) over the rows of chunk c, a thread a column. Memory traffic: one read of C; threads
// side by side read columns side by side.
template <class Term, class Fold>
struct FoldColumns {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  Term term;
  Rows rows;
  index m;
  index panels;  // of as many columns as a team has threads; team = (chunk, panel)
  double* parts;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    const index chunk = team.id / panels, panel = team.id % panels;
    team.each([&](int t) {
      const index j = panel * team.threads + team.lane(t).thread;
      if (j >= m) return;
      double s = Fold::start;
      for (index i = rows.begin(chunk); i < rows.end(chunk); ++i) {
        if constexpr (requires { term.skip(i); })
          if (term.skip(i)) continue;
        s = Fold::fold(s, term.at(i, j));
      }
      parts[chunk * m + j] = s;
    });
  }
};

// out_j = fold_c parts_cj, in the order of c. Memory traffic: count m numbers.
template <class Fold>
struct AddParts {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  const double* parts;
  index count, m;
  double* out;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    team.each([&](int t) {
      const index j = team.id * team.threads + team.lane(t).thread;
      if (j >= m) return;
      double s = Fold::start;
      for (index c = 0; c < count; ++c) s = Fold::fold(s, parts[c * m + j]);
      out[j] = s;
    });
  }
};

// out_ij = term(i, j) for rows [first, last), 0 in columns [m, width). Memory traffic: one read of C, one write of out.
template <class Term, class T>
struct Fill {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  Term term;
  index first, last, m, width, ld;
  T* out;  // row `first`

  template <class Team>
  OT_HD void operator()(Team& team) const {
    for (index i = first + team.id; i < last; i += team.count)
      team.each([&](int t) {
        for (index j = team.lane(t).thread; j < width; j += team.threads)
          out[(i - first) * ld + j] = j < m ? static_cast<T>(term.at(i, j)) : T(0);
      });
  }
};
template <class Costs>
struct CostOf {
  Costs costs;
  OT_HD auto at(index i, index j) const { return costs.at(i, j); }
};

// out_k = C_ij of pair k.
template <class T>
struct CostOfPair {
  Dense<T> costs;
  const index *i, *j;
  double* out;
  OT_HD void operator()(index k) const { out[k] = static_cast<double>(costs.at(i[k], j[k])); }
};

}  // namespace ot::cuda
