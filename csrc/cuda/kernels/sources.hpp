// What a sweep reads, and what it makes of a row: costs and exponentials, or a stored kernel.
#pragma once
#include "cuda/costs.hpp"

namespace ot::cuda {

// z_ij = (h_j - (C_ij - shift)/reg) log2(e), so that e_ij = 2^(z_ij + phi_i log2(e)); float64 whatever C is.
template <class Costs>
struct Exponent {
  Costs costs;
  double shift, slope;  // slope = -log2(e)/reg
  const double* h;      // (m) times log2(e)

  OT_HD double of_cost(double c, index j) const { return fma(c - shift, slope, h[j]); }
  OT_HD double at(index i, index j) const { return of_cost(static_cast<double>(costs.at(i, j)), j); }
  // e_ij
  OT_HD double entry(double phi, index i, index j) const { return exp2_of(fma(phi, kLog2e, at(i, j)), double{}); }
};

// Bounds of a row sum. Outside of them exponentials may have overflowed or become 0, and the row is redone with its
// largest exponent subtracted.
OT_HD inline bool in_range(double s, double) { return s > 1e-200 && s < 1e200; }
OT_HD inline bool in_range(double s, float) { return s > 1e-12 && s < 1e20; }

// Rows [first, last), `rows` a team.
struct Rows {
  index first, last, rows;
  OT_HD index begin(index team) const { return first + team * rows < last ? first + team * rows : last; }
  OT_HD index end(index team) const { return begin(team) + rows < last ? begin(team) + rows : last; }
};

// A pass over C: e_ij = exp(phi_i + h_j - (C_ij - shift)/reg), s_i = sum_j e_ij, with an update phi_i =
// damp (phi_i - log s_i); columns are weighted by a_i, with an update by a_i / s_i.
template <class Costs, class TE>
struct PassSource {
  using Entry = TE;
  using Stored = Costs;
  Exponent<Costs> exponent;
  double* phi;
  const double* a;
  double* row;  // (n) nullable
  bool update;
  double damp;

  OT_HD const Costs& costs() const { return exponent.costs; }
  OT_HD double head(index i) const { return phi[i] * kLog2e; }
  OT_HD double column(index j) const { return exponent.h[j]; }
  OT_HD TE entry(typename Costs::Real c, double head, double column) const {
    return exp2_of(fma(static_cast<double>(c) - exponent.shift, exponent.slope, column + head), TE{});
  }
  OT_HD double term(TE e, double) const { return static_cast<double>(e); }  // of the row sum

  OT_HD bool redo(double s) const { return update && !in_range(s, TE{}); }
  OT_HD double exponent_at(index i, index j) const { return exponent.at(i, j); }

  // Stores what is known of row i (the leader does) and returns its weight in the column sums. s is its sum, `first`
  // the sum before the row was redone.
  OT_HD double finish(index i, double head, double s, double first, bool leader) const {
    const double weight = a[i];
    if (leader && row) row[i] = first;
    if (!update) return weight;
    const double exact = s > 0 ? head * kLn2 - log(s) : 0.0;
    if (leader) phi[i] = damp * exact;
    if (damp != 1 && s > 0) return weight * exp(damp * exact - head * kLn2);
    return s > 0 ? weight / s : weight;
  }
  // Entries above are kept.
  OT_HD double cut(double threshold, double s, double weight) const {
    return update ? threshold * s : weight > 0 ? threshold / weight : kInf;
  }
};

// A pass over a stored kernel: s_i = sum_j K_ij q_j, u_i = target_i / s_i; columns are weighted by a_i u_i.
template <class TK, class TE>
struct StoredSource {
  using Entry = TE;
  using Stored = Dense<TK>;
  Dense<TK> kernel;
  const double *q, *target, *a;
  double *u, *row;

  OT_HD const Dense<TK>& costs() const { return kernel; }
  OT_HD double head(index i) const { return target ? target[i] : u[i]; }
  OT_HD double column(index j) const { return q[j]; }
  OT_HD TE entry(TK k, double, double) const { return static_cast<TE>(k); }
  OT_HD double term(TE e, double q) const { return static_cast<double>(e * static_cast<TE>(q)); }

  OT_HD bool redo(double) const { return false; }
  OT_HD double exponent_at(index, index) const { return 0; }
  OT_HD double finish(index i, double head, double s, double, bool leader) const {
    const double scaling = !target ? head : s > kLeastSum<TE> ? head / s : 0.0;
    const double weight = a[i] * scaling;
    if (leader && target) u[i] = scaling;
    if (leader && row) row[i] = weight * s;
    return weight;
  }
  OT_HD double cut(double, double, double) const { return kInf; }
};

}  // namespace ot::cuda
