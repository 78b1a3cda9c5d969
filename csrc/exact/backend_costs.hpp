// Costs that a backend reads, stored or computed from points: every question is one pass over them.
#pragma once
#include "entropic/solvers.hpp"
#include "exact/backend.hpp"
#include "exact/candidates.hpp"

namespace ot {

template <ExactBackend B>
class BackendCosts {
 public:
  BackendCosts(B& be, const Problem& p)
      : be_(be), p_(p), geo_(p.geo), rows_(be.template buffer<double>(n())), columns_(be.template buffer<double>(m())) {
    geo_.shift = 0;
  }

  index n() const { return p_.geo.n; }
  index m() const { return p_.geo.m; }

  void read_masses(double* a, double* b) {
    be_.read(n(), p_.a, a);
    be_.read(m(), p_.b, b);
  }
  void read(Potentials from, Duals& to) {
    be_.read(n(), from.rows, to.rows.data());
    be_.read(m(), from.columns, to.columns.data());
  }
  void write(const Duals& from, Potentials to) {
    be_.write(n(), from.rows.data(), to.rows);
    be_.write(m(), from.columns.data(), to.columns);
  }

  // The first potentials of rows: f + reg log a of loosely solved entropic transport; 0 for a small problem.
  void first_rows(const Limits& limits, const Monitor& monitor, const Array<double>& a, double* f) {
    if (whole()) {
      std::fill_n(f, n(), 0.0);
      return;
    }
    Problem p = p_;
    p.reg = exact::kStartReg * (p.range > 0 ? p.range : 1.0);
    be_.write(n(), Array<double>(n(), NAN).data(), rows_.data());
    be_.write(m(), Array<double>(m(), 0.0).data(), columns_.data());
    const SinkhornOptions options{
        .limits = {.tol = exact::kStartTol, .max_iter = exact::kStartPasses, .time_limit = limits.time_limit}};
    EntropicSolvers<B>::approach(be_, p, options, {.poll = monitor.poll, .report = {}},
                                 {.rows = rows_.data(), .columns = columns_.data()});
    be_.read(n(), rows_.data(), f);
    for (index i = 0; i < n(); ++i) f[i] = a[i] > 0 ? p.reg * (f[i] + std::log(a[i])) : -INFINITY;
  }

  // g_j = min_i C_ij - f_i over rows with f_i > -inf.
  void transform_columns(const double* f, double* g) {
    be_.write(n(), f, rows_.data());
    be_.c_transform(geo_, nullptr, rows_.data(), nullptr, columns_.data());
    be_.read(m(), columns_.data(), g);
  }

  // Pairs of a row that `add_candidates` is given: it adds them and as many of every column; all pairs of a small
  // problem.
  index candidates_a_row() const { return whole() ? 1 : std::min(exact::kNearest, m()); }
  void add_candidates(const Duals& at, const NearestPairs& of_rows, Basis& basis) {
    if (!whole()) {
      NearestPairs of_columns;
      const index k = std::min(exact::kNearest, n());
      be_.nearest_in_columns(geo_, {.f = at.rows.data(), .g = at.columns.data(), .k = k, .below = INFINITY},
                             of_columns);
      add_nearest(of_rows, of_columns, n(), m(), basis);
      return;
    }
    Candidates all;
    be_.candidates(geo_, at.rows.data(), at.columns.data(), INFINITY, n() * m(), all);
    basis.reserve(all.nnz);
    for (index i = 0; i < n(); ++i)
      for (index e = all.begin[i]; e < all.begin[i + 1]; ++e) basis.add(i, all.idx[e], all.cost[e]);
  }

  void nearest_in_rows(const NearestQuery& query, NearestPairs& to) { be_.nearest_in_rows(geo_, query, to); }
  void pairs(const Array<std::int32_t>& rows, const Array<std::int32_t>& columns, double* cost) {
    be_.pair_costs(geo_, rows.data(), columns.data(), rows.size(), cost);
  }

 private:
  bool whole() const { return n() * m() <= exact::kWhole; }

  B& be_;
  const Problem p_;
  Geometry geo_;
  Buffer<double> rows_, columns_;
};

}  // namespace ot
